Feature: Models
  Each name in the catalog is the same librarian, in a manner or through a model of its own.

  # Letta's models have names of its own.
  @embedded
  Scenario: What can be asked for
    Given the upstream lists the models "small" and "large"
    When Ada looks at the catalog
    Then it holds "librarian", "librarian-worker", "librarian-persona", "small", "large"

  # Letta's models have names of its own.
  @embedded
  Scenario: Another model, the same memory
    Given the upstream lists the models "small" and "large"
    And Ada has told her librarian "Remember that my cat is called Bertrand."
    When in a new chat, Ada asks "What is my cat called?" of "large"
    Then the answer was spoken by the model "large"
    And the librarian was told "Bertrand"

  # Letta's models have names of its own.
  @embedded
  Scenario: Another model in the middle of a chat
    Given the upstream lists the models "small" and "large"
    And Ada has told her librarian "Good morning."
    When Ada asks "What is new?" of "large", repeating all that went before
    Then it is the same conversation

  Scenario: A name of the original
    When Ada asks "Where is Lisbon?" of "gpt-4"
    Then Ada is answered

  @http
  Scenario: A name that nobody knows
    When Ada asks "Where is Lisbon?" of "nobody"
    Then Ada is refused with "model_not_found"
