"""How the house marks, on a server that others use, too, what is its own."""

from hashlib import sha256

from librarian.application.ports.memory import AgentKey

TAG = "librarian"
EQUIPPED = "librarian-tools"
"""Of agents that are not the house's and were given tools by it: so that they are found again, to take them back."""


def tags_of(key: AgentKey) -> list[str]:
    """No names of people: they would stand where other users of the server read them."""
    return [TAG, f"template:{key.template}", f"owner:{key.owner.id.hex()}"]


def mark(value: str) -> dict[str, str]:
    """Kept with a block: what the house wrote last. Another value under it was written by somebody else."""
    return {TAG: sha256(value.encode()).hexdigest()}
