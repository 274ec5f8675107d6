Feature: Conversations
  A client's account of a conversation is the truth about it. The librarian is shown what the
  client sent: nothing twice, and nothing of another chat.

  Rule: The librarian hears every message once

    Scenario: A client repeats the whole history
      Given Ada has told her librarian "My cat is called Bertrand."
      When Ada asks "What is my cat called?", repeating all that went before
      Then the librarian was shown each message of the chat once, in order
      And it is the same conversation

    Scenario: The house was restarted in between
      Given Ada has told her librarian "My cat is called Bertrand."
      And the house was restarted
      When Ada asks "What is my cat called?", repeating all that went before
      Then the librarian was shown each message of the chat once, in order
      And it is the same conversation

    Scenario: Ada edits what she said
      Given Ada has told her librarian "My cat is called Bertrand."
      And Ada has gone on with "He is black."
      When Ada changes that to "He is white."
      Then the librarian was shown each message of the chat once, in order
      And nobody was shown "He is black." after "He is white."

    Scenario: Two chats that began alike
      Given Ada has told her librarian "Good morning."
      And in another chat, Ada has told her librarian "Good morning."
      When Ada asks "What is new?", repeating all that went before
      Then the librarian was shown each message of the chat once, in order

  Rule: A chat that is copied leaves the first alone

    # Which conversation it is, is settled before the backend is asked.
    @embedded
    Scenario: A cloned chat
      Given Ada's client calls the chat "one"
      And Ada has told her librarian "My cat is called Bertrand."
      When Ada's client copies the chat and calls the copy "two"
      And in the copy, Ada asks "What is my cat called?"
      Then the copy is a conversation of its own
      And the librarian was shown each message of the copy once, in order
      When Ada asks "And what is new?", repeating all that went before
      Then the librarian was shown each message of the chat once, in order
      And it is the same conversation

  Rule: A client may show less than all

    # Which conversation it is, is settled before the backend is asked.
    @embedded
    Scenario: A chat whose beginning is no longer sent
      Given Ada's client calls the chat "one"
      And Ada has told her librarian "The code of the gate is 4711."
      And Ada has gone on with "It is a fine day."
      When Ada's client no longer sends how the chat began
      And Ada asks "What is the code of the gate?"
      Then the librarian was shown each message of the chat once, in order
      And the librarian was told "The code of the gate is 4711."
      And it is the same conversation

  Rule: A client may ask for several answers

    # Letta's turns are taken one after the other, each of several seconds: see tests/letta.
    @http @embedded
    Scenario: She goes on from the second
      Given a language model that says "Red."
      And a language model that says "Green."
      And a language model that says "Blue."
      When Ada asks "Which colour?" and wants 3 answers
      And Ada goes on from the second with "Why?"
      Then the librarian was shown each message of the chat once, in order
      And it is the same conversation

  Rule: The client's own instructions reach the librarian

    Scenario: A system message
      Given Ada's client says "Answer like a pirate." before every chat
      When Ada asks "How is the weather?"
      Then the librarian was told "Answer like a pirate."

    Scenario: A system message that changes from request to request
      Given Ada's client says "It is noon." before every chat
      And Ada has told her librarian "Good morning."
      When Ada's client says "It is night." before every chat
      And Ada asks "What time is it?", repeating all that went before
      Then the librarian was told "It is night."
      And the librarian was not told "It is noon."
      And it is the same conversation

    @http
    Scenario: Through a client that knows nothing of the house
      Given Ada has told her librarian "My cat is called Bertrand."
      When Ada asks "What is my cat called?", repeating all that went before
      Then the librarian was shown each message of the chat once, in order
      And it is the same conversation

  Rule: A long conversation goes on

    # Letta makes room by itself.
    @embedded
    Scenario: The oldest part no longer fits
      Given the language model can hold only 4000 tokens at once
      And Ada has talked with her librarian for a long time, beginning with "My cat is called Bertrand."
      When Ada asks "And now?", repeating all that went before
      Then Ada is answered
      And the librarian was told "Bertrand"
      And the librarian was shown "And now?" last
