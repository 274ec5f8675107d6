Feature: Refusals
  What cannot be done is said plainly, changes nothing, and can be told apart.

  # Letta leaves it to the model.
  @embedded
  Scenario: A message that cannot fit
    Given the language model can hold only 4000 tokens at once
    When Ada sends a message of 20000 words
    Then Ada is refused with "context_length_exceeded"
    And no language model was asked

  # Letta asks some models again by itself: see tests/letta/test_faults.py.
  @http @embedded
  Scenario Outline: The language model fails
    Given a language model that answers with <trouble>
    When Ada asks "Are you there?"
    Then Ada is refused with "<code>"
    And the turn can simply be taken again

    Examples:
      | trouble        | code             |
      | a wrong key    | upstream_refused |
      | no quota       | upstream_busy    |
      | an error       | upstream_refused |
      | garbage        | upstream_refused |
      | nothing at all | upstream_refused |

  Scenario: Every seat is taken
    Given the house has one seat, and it is taken
    When Ada asks "Are you there?"
    Then Ada is told that every agent is engaged

  Scenario: An answer to a call that was never made
    When Ada's client sends the result of a call that was never made
    Then Ada is refused, and told where the mistake is
