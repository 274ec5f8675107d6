"""Write config.example: every setting, what it is for, and its default, as librarian.settings has them."""

import inspect
import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from librarian.settings import Settings

FILE = Path(__file__).resolve().parent.parent / "config.example"
PREFIX = "LIBRARIAN_"
HEAD = """\
Everything that can be chosen, with its default. Copy this file to `.env` in the folder where the gateway is started, \
and take the `#` from the lines you change; as it is, it changes nothing. The same names in the environment have the \
last word.

Written by scripts/config_example.py."""
PATH = "Empty: the usual place for a program's data, as ~/.local/share/librarian."


def example() -> str:
    """The whole file."""
    own = {name: field for name, field in Settings.model_fields.items() if not _is_group(field)}
    groups = {name: field.annotation for name, field in Settings.model_fields.items() if _is_group(field)}
    blocks = [_comment(HEAD)]
    blocks += [_entry(PREFIX + name.upper(), field) for name, field in own.items()]
    for group, part in groups.items():
        blocks.append(_comment(f"-- {inspect.getdoc(part)}"))
        blocks += [_entry(f"{PREFIX}{group}__{name}".upper(), field) for name, field in part.model_fields.items()]
    return "\n\n".join(blocks) + "\n"


def _is_group(field: FieldInfo) -> bool:
    return inspect.isclass(field.annotation) and issubclass(field.annotation, BaseModel)


def _entry(name: str, field: FieldInfo) -> str:
    return _comment(" ".join([field.description or "", *_more(field.annotation)])) + f"\n#{name}={_default(field)}"


def _more(annotation: object) -> Iterator[str]:
    """What the type says, and the description does not."""
    if annotation is Path:
        yield PATH
    if get_origin(annotation) is Literal:
        yield f"One of {', '.join(get_args(annotation))}."
    for inner in get_args(annotation):
        if inspect.isclass(inner) and issubclass(inner, BaseModel):
            card = {name: _shape(field) for name, field in inner.model_fields.items()}
            yield f"Each is like {json.dumps({'NAME': card})}"


def _shape(field: FieldInfo) -> str:
    return "|".join(get_args(field.annotation)) if get_origin(field.annotation) is Literal else "..."


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    match default:
        case None | SecretStr() | Path():
            return ""
        case bool():
            return str(default).lower()
        case float():
            return f"{default:g}"
        case dict():
            return f"'{json.dumps(default)}'"
    return str(default)


def _comment(text: str) -> str:
    lines = (textwrap.wrap(paragraph, 118, break_long_words=False) or [""] for paragraph in text.splitlines())
    return "\n".join(f"# {line}".rstrip() for paragraph in lines for line in paragraph)


if __name__ == "__main__":
    FILE.write_text(example(), encoding="utf-8")
