"""What is asked, how often at once, and what is read from it."""

import json
from collections.abc import Callable
from dataclasses import dataclass

WORDS = "Does ~~~~~~~~ bear on ~~~~~~~~ if ~~~~~~~~ is there?"
"""Each ~~~~~~~~ is made a word of its own, so that no two requests are alike."""

LONG_BEFORE = [
    {
        "role": ("user", "assistant")[i % 2],
        "content": f"Message {i}. " + "The quick brown fox jumps over the dog. " * 50,
    }
    for i in range(100)
]
TOKEN_BYTES = 6


@dataclass(frozen=True, slots=True)
class Workload:
    """`delay_us` lies between two tokens, `first_us` before the first; with no delay an answer comes in one piece."""

    name: str
    connections: int
    seconds: float
    tokens: int = 16
    delay_us: int = 0
    first_us: int = 0
    stream: bool = False
    long: bool = False
    turns: int = 1
    requests: int = 1_000_000
    ramp_s: float = 0.0
    recall: bool = False
    once: bool = False

    @property
    def model(self) -> str:
        return f"mock-t{self.tokens}-d{self.delay_us}-f{self.first_us}"

    @property
    def message(self) -> str:
        return json.dumps({"role": "user", "content": WORDS})

    def head(self, model: str) -> str:
        """The body of a request, up to its last message."""
        fields = {"model": model, "stream": self.stream, "temperature": 0.2, "max_tokens": 1024}
        before = [{"role": "system", "content": "You are a helpful assistant."}, *(LONG_BEFORE if self.long else ())]
        return json.dumps(fields)[:-1] + ', "messages": ' + json.dumps(before)[:-1] + ", "

    tail = "]}"


WARMING_MODEL = "mock-t16"
WORKLOADS = (
    Workload("idle_200", 200, 2.0, 25, 200_000, stream=True, requests=200, ramp_s=1.0, once=True),
    Workload("json_c1", 1, 1.2, recall=True),
    Workload("json_c32", 32, 1.8, recall=True),
    Workload("json_talk", 32, 1.5, turns=8),
    Workload("json_200k", 8, 1.5, long=True),
    Workload("sse_burst", 16, 1.5, 64, stream=True),
    Workload("sse_ttft", 4, 1.6, 10, 20_000, 2_000, stream=True),
    Workload("sse_flood", 32, 1.6, 200, 2_000, stream=True),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One server under one workload in one round."""

    server: str
    workload: str
    round: int
    requests: int
    tokens: int
    errors: int
    error: str
    elapsed_s: float
    cpu_s: float
    latency_ms: float
    first_ms: float
    memory_kib: float

    @property
    def cpu_ms(self) -> float:
        """CPU for one request."""
        return self.cpu_s * 1e3 / self.requests

    @property
    def cpu_us_a_token(self) -> float:
        """By the tokens that the model spoke, however they were passed on."""
        return self.cpu_s * 1e6 / self.tokens

    @property
    def memory_kib_each(self) -> float:
        return self.memory_kib / self.requests


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table. `added`: what is over `direct` in the same round."""

    workload: str
    what: str
    read: Callable[[Cell], float]
    added: bool = False
    at_most: float | None = None


ROWS = (
    Row("json_c1", "added latency, p50 ms", lambda cell: cell.latency_ms, added=True, at_most=1.1),
    Row("json_c1", "CPU a turn, ms", lambda cell: cell.cpu_ms),
    Row("json_c32", "CPU a turn, ms", lambda cell: cell.cpu_ms, at_most=0.4),
    Row("json_c32", "turns a second", lambda cell: cell.requests / cell.elapsed_s),
    Row("json_talk", "CPU a turn, ms", lambda cell: cell.cpu_ms),
    Row("json_200k", "CPU a turn, ms", lambda cell: cell.cpu_ms),
    Row("sse_burst", "CPU a stream, ms", lambda cell: cell.cpu_ms, at_most=0.35),
    Row("sse_burst", "CPU a token, us", lambda cell: cell.cpu_us_a_token),
    Row("sse_ttft", "added first token, p50 ms", lambda cell: cell.first_ms, added=True),
    Row("sse_flood", "CPU a token, us", lambda cell: cell.cpu_us_a_token),
    Row("idle_200", "memory a stream, KiB", lambda cell: cell.memory_kib_each),
)
"""`at_most` is the gate: the gateway's share of what the pass-through takes."""
