Feature: Tools
  A client may bring tools of its own. The librarian's own tools are its own affair.

  Scenario: A tool of the client's
    Given a language model that calls the client's tool "get_weather" with "Paris"
    When Ada asks "How is the weather in Paris?", with the tool "get_weather"
    Then Ada's client is asked to call "get_weather" with "Paris"
    When the tool answers "sunny", and the model says "It is sunny."
    Then the answer speaks of "sunny"
    And the librarian was shown each message of the chat once, in order

  @http
  Scenario: Through a client that knows nothing of the house
    Given a language model that calls the client's tool "get_weather" with "Paris"
    When Ada asks "How is the weather in Paris?", with the tool "get_weather"
    Then Ada's client is asked to call "get_weather" with "Paris"
    When the tool answers "sunny", and the model says "It is sunny."
    Then the answer speaks of "sunny"

  Scenario: The house's tools are not shown
    Given Ada has told her librarian "Remember that my cat is called Bertrand."
    Then Ada's client was asked to call nothing

  Scenario: Both at once
    Given a language model that notes "Ada is in Paris" and calls the client's tool "get_weather" with "Paris"
    When Ada asks "I am in Paris. How is the weather?", with the tool "get_weather"
    Then Ada's client is asked to call "get_weather" with "Paris"
    And the librarian has noted "Ada is in Paris"
    When the tool answers "sunny", and the model says "It is sunny."
    Then the answer speaks of "sunny"

  # Their order is settled before the backend is asked.
  @embedded
  Scenario: Results in any order
    Given a language model that asks the client's tool "get_weather" about "Paris" and about "Oslo"
    When Ada asks "How is the weather in Paris and in Oslo?", with the tool "get_weather"
    And the tools answer "rain" and then "sunny", the last call first, and the model says "It differs."
    Then the answer speaks of "differs"
    And the librarian knows what came of each call
    When Ada's client has put the results in order
    And Ada asks "Are you sure?", with the tool "get_weather"
    Then the librarian knows what came of each call
    And it is the same conversation
