"""The conversation that an address names: `/c/{conversation}/v1/...`, below which every endpoint is served, too, or
`?conversation=`. For clients of which nothing but the base URL can be set."""

from urllib.parse import parse_qs, unquote

from starlette.types import Scope

from librarian.domain.errors import InvalidRequest

ROOM = "/c/"
SERVED = "/v1/"


def split_place(scope: Scope) -> tuple[str, str | None]:
    """The path without the conversation in front of it, and the conversation as it stands there, still quoted."""
    path: str = scope["path"]
    if not path.startswith(ROOM):
        return path, None
    raw: str = (scope.get("raw_path") or path.encode()).decode("latin-1")
    conversation, slash, rest = raw.removeprefix(ROOM).partition("/")
    served = unquote(slash + rest)
    return (served, conversation) if conversation and served.startswith(SERVED) else (path, None)


def place_of(quoted: str | None, query: bytes) -> str | None:
    """Raises InvalidRequest where two are named, or one that is not UTF-8."""
    if quoted is None and b"conversation=" not in query:
        return None
    try:
        named = [unquote(quoted, errors="strict")] if quoted is not None else []
        named += parse_qs(query.decode("latin-1"), errors="strict").get("conversation", [])
    except ValueError as error:
        raise InvalidRequest("Invalid 'conversation': it is not UTF-8.", param="conversation") from error
    if len(set(named)) > 1:
        raise InvalidRequest("The address names two conversations.", param="conversation", code="invalid_value")
    return named[0] if named else None
