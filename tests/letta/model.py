"""The scripted model, as a Letta server wants it."""

from tests.scripted.server import ScriptedServer

WINDOW_TOKENS = 128_000


class LettaModel(ScriptedServer):
    """Letta calls its chat model `openai-proxy/gpt-4o-mini`, and its embeddings `openai/text-embedding-3-small`.

    By other names it would ask for `/responses`, or not know how many numbers an embedding has.
    """

    embedding = "openai/text-embedding-3-small"
    """By Letta's first choice, texts would go to a service of its makers'."""

    def __init__(self, *, port: int = 0) -> None:
        super().__init__(port=port)
        sizes = {"context_window": WINDOW_TOKENS, "max_model_len": WINDOW_TOKENS}
        self.listed = {
            "object": "list",
            "data": [
                {"id": name, "object": "model", "created": 1, "owned_by": "scripted", **sizes}
                for name in ("gpt-4o-mini", "text-embedding-3-small")
            ],
        }

    def forget(self) -> None:
        """What was asked of it, and what it was told to answer."""
        self.requests.clear()
        self._answers.clear()
        self._rules.clear()
