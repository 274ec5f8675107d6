"""Make what the house needs before its first turn, as far as it is missing."""

from librarian.application.ports.administration import AgentHost, Report
from librarian.application.ports.memory import AgentKey
from librarian.domain.catalog import TEMPLATE
from librarian.domain.identity import LOCAL, owner_of

FIRST = AgentKey(TEMPLATE, owner_of(LOCAL))
"""The librarian's agent: the default template, for whoever asks without naming anybody."""


class Bootstrap:
    """Safe to run again: what is there is left as it is."""

    def __init__(self, *, host: AgentHost) -> None:
        self._host = host

    async def __call__(self, *, dry_run: bool = False) -> Report:
        """Where something configured is missing, nothing is made. Raises what AgentHost raises."""
        missing = tuple(await self._host.missing())
        if missing:
            return Report(troubles=missing)
        made = await self._host.furnish(FIRST, dry_run=dry_run)
        return made + await self._host.give_tools(dry_run=dry_run)
