"""Answers that clients may ask for again: keep them, find them, label and delete them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from librarian.application.ports.answers import AnswerStore, KeptAnswer
from librarian.domain.errors import UnknownAnswer
from librarian.domain.identity import Principal, may_see

PAGE_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Whoever:
    """Who asks, and whom they speak for, if they say so."""

    principal: Principal
    person: str | None = None


class KeepAnswers:
    """Somebody else's is as unknown as one that never was. Every method raises UnknownAnswer and StoreUnavailable."""

    def __init__(self, *, answers: AnswerStore) -> None:
        self._answers = answers

    async def keep(self, answer: KeptAnswer) -> None:
        await self._answers.keep(answer)

    async def find(self, id_: str, kind: str, asker: Whoever) -> KeptAnswer:
        answer = await self._answers.find(id_, kind)
        if answer is None or not may_see(asker.principal, asker.person, answer.owner):
            raise UnknownAnswer(id_, kind)
        return answer

    async def list(
        self,
        kind: str,
        asker: Whoever,
        *,
        after: str | None = None,
        limit: int = 20,
        newest_first: bool = False,
        model: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> tuple[Sequence[KeptAnswer], bool]:
        """And whether there are more. Those with that model, and those labels among theirs."""
        beyond = (await self.find(after, kind, asker)).number if after else 0
        found: list[KeptAnswer] = []
        while True:
            page = await self._answers.listed(
                asker.principal.id, kind, after=beyond, limit=PAGE_LIMIT, newest_first=newest_first
            )
            for answer in page:
                fits = model in (None, answer.model) and (metadata or {}).items() <= answer.metadata.items()
                if fits and may_see(asker.principal, asker.person, answer.owner):
                    found.append(answer)
                if len(found) > limit:
                    return found[:limit], True
            if len(page) < PAGE_LIMIT:
                return found, False
            beyond = page[-1].number

    async def label(self, id_: str, kind: str, asker: Whoever, metadata: Mapping[str, str], body: bytes) -> KeptAnswer:
        """`body`: the answer with these labels in it."""
        answer = replace(await self.find(id_, kind, asker), metadata=metadata, body=body)
        await self._answers.keep(answer)
        return answer

    async def delete(self, id_: str, kind: str, asker: Whoever) -> None:
        """The answer; its turn stays in the conversation."""
        await self.find(id_, kind, asker)
        await self._answers.delete(id_)
