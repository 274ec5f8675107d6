"""A few of them through a real server, on connections that several tenants share, as behind a proxy."""

import asyncio
import json

import httpx
import openai
import pytest

from tests.isolation.grid import CELLS, Cell, Kind
from tests.isolation.mansion import Mansion, key, overheard
from tests.unit.edge_house import CHAT, COMPLETIONS, served

pytestmark = [pytest.mark.e2e]

FEW = [cell for cell in CELLS if cell.tenant < 3 and cell.template == "librarian"]


@pytest.fixture
async def mansion(tmp_path):
    mansion = Mansion(tmp_path)
    with overheard(mansion.exhibits):
        yield mansion
    await mansion.aclose()


def body_of(cell: Cell, *said: str, **more):
    messages = [{"role": role, "content": text} for role, text in zip(["user", "assistant"] * 9, said, strict=False)]
    return {"model": cell.template, "messages": messages} | ({"user": cell.person} if cell.person else {}) | more


async def test_one_connection_for_all(mansion):
    """All that comes in on it is one's own; the model, which cannot tell who asks here, is shown one's own."""
    async with served(mansion.door) as url:
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(base_url=url, timeout=20, limits=limits) as client:
            for cell in FEW:
                told = body_of(cell, f"The heirloom is {cell.canary(Kind.SAID)}.", stream=cell.number % 2 == 0)
                await client.post(CHAT, json=told, headers=_signed(cell))
            before = len(mansion.model.prompts[None])
            for cell in FEW:
                asked = body_of(cell, "What is the heirloom?")
                assert 200 == (await client.post(CHAT, json=asked, headers=_signed(cell))).status_code

    prompts = mansion.model.prompts[None][before:]
    assert len(FEW) == len(prompts)
    for cell, prompt in zip(FEW, prompts, strict=True):
        shown = repr(prompt)
        assert cell.canary(Kind.SAID) in shown
        assert [] == [other for other in FEW if other != cell and other.canary(Kind.SAID) in shown]


async def test_one_after_another_in_one_write(mansion):
    """HTTP pipelining: the next request is taken up where the last was ended. Its log line is of whom it is, only."""
    known, stranger = FEW[0], b"POST %b HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer nobody\r\n"
    first = json.dumps(body_of(known, "Hello.")).encode()
    head = b"POST %b HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer %b\r\n"
    rest = b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
    asked = head % (CHAT.encode(), key(known.tenant).encode()) + rest % (len(first), first)
    refused = stranger % COMPLETIONS.encode() + rest % (2, b"{}")
    async with served(mansion.door) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
        writer.write(asked + refused + asked + refused)
        await writer.drain()
        said = b""
        while said.count(b"HTTP/1.1 ") < 4 or not said.endswith(b"}"):
            said += await reader.read(65_536)
        writer.close()
        await writer.wait_closed()

    assert [b"200", b"401"] * 2 == [part[:3] for part in said.split(b"HTTP/1.1 ")[1:]]
    lines = [exhibit.text for exhibit in mansion.exhibits if exhibit.where == "log"]
    ends = [line for line in lines if "request_served" in line]
    assert [True, False] * 2 == [known.principal in line for line in ends]


async def test_the_official_client_finds_nothing_of_others(mansion):
    async with served(mansion.door) as url:
        for cell in FEW[:6]:
            async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key(cell.tenant), max_retries=0) as sdk:
                asked = body_of(cell, f"The heirloom is {cell.canary(Kind.SAID)}.")
                raw = await sdk.chat.completions.with_raw_response.create(**asked)
                own = raw.headers["x-librarian-conversation"]
            other = next(one for one in FEW if one.tenant != cell.tenant)
            for at in (f"{url}/v1", f"{url}/c/{own}/v1"):
                async with openai.AsyncOpenAI(base_url=at, api_key=key(other.tenant), max_retries=0) as sdk:
                    with pytest.raises(openai.NotFoundError):
                        await sdk.chat.completions.create(
                            **body_of(other, "Go on."), extra_headers={"x-librarian-conversation": own}
                        )


def _signed(cell: Cell) -> dict[str, str]:
    return {"authorization": f"Bearer {key(cell.tenant)}"}
