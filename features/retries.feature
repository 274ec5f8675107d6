# Settled before the backend is asked.
@embedded
Feature: Retries
  A turn happens once. A client that did not hear the answer asks again, and is told the same.

  Rule: What did not reach the client is told again

    Scenario: The connection broke and the client asked again
      Given the connection broke before Ada heard the answer to "My cat is called Bertrand."
      When her client asks the same again
      Then Ada is told the answer that she did not hear
      And the librarian has heard it once

    Scenario: The house was restarted, and the client says that it asks again
      Given the connection broke before Ada heard the answer to "My cat is called Bertrand."
      And the house was restarted
      When her client asks the same again, and says that it is a retry
      Then Ada is told the answer that she did not hear
      And the librarian has heard it once

    Scenario: The chat goes on from it
      Given the connection broke before Ada heard the answer to "My cat is called Bertrand."
      When her client asks the same again
      And Ada goes on with "What is my cat called?"
      Then the librarian was shown each message of the chat once, in order
      And it is the same conversation

    Scenario: A client that gives its requests keys
      Given Ada's client has asked "My cat is called Bertrand." under the key "one"
      When her client asks the same again under the key "one"
      Then Ada is told the same answer
      And the librarian has heard it once

    Scenario: A key that was used for something else
      Given Ada's client has asked "My cat is called Bertrand." under the key "one"
      When Ada's client asks "My dog is called Rex." under the key "one"
      Then Ada is refused with "IdempotencyMismatch"

  Rule: What was heard, or came to nothing, is answered anew

    Scenario: Somebody says the same twice
      Given Ada has heard the answer to "Good morning."
      When her client asks the same again
      Then Ada is told another answer
      And the librarian has heard it twice

    # Letta asks some models again by itself: see tests/letta/test_faults.py.
    @embedded
    Scenario: The model broke off
      Given the model broke off in the middle of the answer to "Good morning."
      When her client asks the same again
      Then Ada is told another answer
      And the librarian has heard it twice
