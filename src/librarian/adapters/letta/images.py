"""Pictures as Letta takes them: the bytes, never an address. Letta would fetch what an address names."""

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

from librarian.domain.errors import InvalidRequest
from librarian.domain.transcript import Image

DATA = re.compile(r"data:(?P<type>image/[a-z0-9.+-]+)(?:;[^,;]*)*?(?P<base64>;base64)?,", re.IGNORECASE)


def from_domain(image: Image, param: str) -> dict[str, object]:
    """Raises InvalidRequest for anything but a data URL of a picture."""
    head = DATA.match(image.url[:256])
    if head is None:
        raise InvalidRequest(
            "Pictures by address are not fetched here. Send the picture itself, as a data URL:"
            " `data:image/png;base64,...`.",
            param=param,
            code="unsupported_value",
        )
    body = image.url[head.end() :]
    source = {"type": "base64", "media_type": head["type"].lower(), "data": _base64(body, head["base64"], param)}
    if image.detail is not None:
        source["detail"] = image.detail
    return {"type": "image", "source": source}


def _base64(body: str, encoded: str | None, param: str) -> str:
    if encoded is None:
        return base64.b64encode(unquote_to_bytes(body)).decode()
    try:
        base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest("The picture is no valid base64.", param=param, code="invalid_value") from error
    return "".join(body.split())
