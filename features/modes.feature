Feature: Modes
  The librarian answers in two manners, and decides silently which one is wanted.

  # Whoever answers, the choice is the same.
  @embedded
  Scenario Outline: The manner follows the request
    When Ada asks "<request>"
    Then the librarian was told to answer as a <manner>

    Examples:
      | request                               | manner  |
      | Extract the names: Ada, Grace.        | worker  |
      | Translate "tea" into French.          | worker  |
      | Imagine it's 1922. What do you hear?  | persona |
      | Tell me a story about the sea.        | persona |

  Scenario: It is left to the librarian where nothing speaks for either
    When Ada asks "Where is Lisbon?"
    Then the librarian was told to decide by itself

  # Whoever answers, the choice is the same.
  @embedded
  Scenario Outline: A name decides
    When Ada asks "Tell me a story about the sea." of "<model>"
    Then the librarian was told to answer as a <manner>

    Examples:
      | model             | manner  |
      | librarian-worker  | worker  |
      | librarian-persona | persona |

  Scenario: Programs are announced
    When Ada asks "Where is Lisbon?"
    Then the librarian was told "[API]"
