Feature: Memory
  What a reader tells the librarian in one chat, it knows in every other.

  Rule: What was said in one chat is known in the next

    Scenario: A fact to remember
      Given Ada has told her librarian "Remember that my cat is called Bertrand."
      When in a new chat, Ada asks "What is my cat called?"
      Then the answer speaks of "Bertrand"

    Scenario: The house was restarted in between
      Given Ada has told her librarian "Remember that my cat is called Bertrand."
      And the house was restarted
      When in a new chat, Ada asks "What is my cat called?"
      Then the answer speaks of "Bertrand"

    @http
    Scenario: Through a client that knows nothing of the house
      Given Ada has told her librarian "Remember that my cat is called Bertrand."
      And the house was restarted
      When in a new chat, Ada asks "What is my cat called?"
      Then the answer speaks of "Bertrand"

    Scenario: A model that never calls a tool
      Given a language model that knows no tools
      And Ada has told her librarian "The code of the gate is 4711."
      When in a new chat, Ada asks "What is the code of the gate?"
      Then the librarian was told "The code of the gate is 4711."

    Scenario: A lasting wish
      Given Ada has told her librarian "From now on, answer in one sentence."
      Then the archive holds "answer in one sentence" as a pattern

  Rule: Memory belongs to one person

    Scenario: Somebody else asks
      Given Ada has told her librarian "Remember that my cat is called Bertrand."
      When Grace asks "What is my cat called?"
      Then the answer does not speak of "Bertrand"
      And nothing of Ada's was shown to the librarian

  Rule: What a turn did not finish, it did not remember

    Scenario: The model breaks off after it put something by
      Given a language model that notes "Ada likes tea" and then breaks off
      When Ada asks "Do you know that I like tea?"
      Then Ada is told that it went wrong
      And the librarian has nothing noted

    # For Letta see tests/letta/test_turns.py: it takes a quarter of a minute.
    @embedded
    Scenario: Many at once
      When Ada tells 16 chats at once a fact each to remember
      Then the librarian has noted all 16 facts
