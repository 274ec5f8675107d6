"""What agents are made after, and what they are given to work with."""

from collections.abc import Mapping
from dataclasses import dataclass

from librarian.domain.catalog import TEMPLATE
from librarian.domain.identity import LOCAL, Owner, owner_of

ITSELF = owner_of(LOCAL)
"""Whoever asks on this machine without naming anybody."""


@dataclass(frozen=True, slots=True)
class ToolServer:
    """A server of tools that speaks MCP. `config` is said to whoever is to reach it; it may hold secrets."""

    name: str
    config: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Template:
    """`agent`: one on the server, which serves its `owner` itself; everybody else is given one made after it.

    `tools`: files of Python, a function in each. `rules`: in which order tools are run, in the server's own words.
    """

    name: str = TEMPLATE
    agent: str | None = None
    owner: Owner = ITSELF
    tools: tuple[str, ...] = ()
    servers: tuple[ToolServer, ...] = ()
    rules: tuple[Mapping[str, object], ...] = ()
