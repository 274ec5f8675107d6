Feature: Streaming
  Words reach the reader as they are spoken.

  @http
  Scenario: An answer in pieces
    Given a language model that says "In", "deed", "."
    When Ada listens to the answer to "Is it so?"
    Then Ada heard "Indeed." in more than one piece
    And the answer came to its end

  @http
  Scenario: Thoughts are not words
    Given a language model that thinks "Hmm." and says "Yes."
    When Ada listens to the answer to "Is it so?"
    Then Ada heard "Yes."

  @http
  Scenario: How much it took
    Given a language model that says "In", "deed", "."
    When Ada listens to the answer to "Is it so?", and wants to know what it took
    Then Ada is told how many tokens it took

  @http
  Scenario: The model breaks off
    Given a language model that says "In" and breaks off
    When Ada listens to the answer to "Is it so?"
    Then Ada is told that it went wrong
    And the turn can simply be taken again
