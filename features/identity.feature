# Settled before the backend is asked.
@embedded
Feature: Identity
  Memory belongs to one person. Not everything that a client asks is a chat.

  Rule: Whose memory it is, only those may say who are believed

    Scenario: A key that may not speak for others
      Given Ada has told her librarian "Remember that my cat is called Bertrand."
      When somebody whose key may not speak for others asks as Ada "What is my cat called?"
      Then the answer does not speak of "Bertrand"
      And nothing of Ada's was shown to the librarian

  Rule: Memory can be left out

    Scenario: Without memory
      Given Ada has told her librarian "Remember that my cat is called Bertrand."
      When without memory, Ada asks "Remember that my dog is called Rex. What is my cat called?"
      Then the answer does not speak of "Bertrand"
      And nothing of "Rex" is remembered of Ada

    Scenario: Only reading it
      Given Ada has told her librarian "Remember that my cat is called Bertrand."
      When only reading memory, Ada asks "What is my cat called?"
      Then the librarian was told "Bertrand"
      When only reading memory, Ada asks "Remember that my dog is called Rex."
      Then nothing of "Rex" is remembered of Ada

  Rule: A client's own jobs are no chats

    Scenario: A title is made while the chat begins
      When Ada asks "How are parrots taught to speak?", and her client wants a title for the chat at once
      Then both are answered
      And the title has no conversation and was asked of nobody who remembers
      And nothing of "concise title" is remembered of Ada
      When Ada asks "And crows?", repeating all that went before
      Then the librarian was shown each message of the chat once, in order
      And it is the same conversation
