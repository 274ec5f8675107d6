"""Meter for Prometheus. A child is looked up once and kept; there are never many."""

from collections.abc import Callable
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase

from librarian.domain.mode import Mode
from librarian.domain.pool import AgentPool
from librarian.domain.turn import StopReason, Usage

MOST_CHILDREN = 100
OTHER = "other"

TURN_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
FIRST_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
REQUEST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300, 600)
WAIT_S = (0.001, 0.01, 0.1, 0.5, 1, 5, 10, 30)
RECALL_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1)

_M = TypeVar("_M", bound=MetricWrapperBase)


class Children(dict[tuple[str, ...], _M], Generic[_M]):
    """A metric's children by their labels; past `MOST_CHILDREN`, all others are one."""

    def __init__(self, metric: _M, labels: int) -> None:
        super().__init__()
        self._metric = metric
        self._others = (OTHER,) * labels

    def __missing__(self, labels: tuple[str, ...]) -> _M:
        if len(self) >= MOST_CHILDREN and labels != self._others:
            return self[self._others]
        child: _M = self._metric.labels(*labels)
        self[labels] = child
        return child


class PrometheusMeter:
    """`pool` None: no gauges of seats."""

    def __init__(self, registry: CollectorRegistry, pool: AgentPool | None = None) -> None:
        def count(name: str, text: str, *labels: str) -> Children[Counter]:
            return Children(Counter(f"librarian_{name}", text, labels, registry=registry), len(labels))

        def time(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"librarian_{name}_seconds", text, buckets=buckets, registry=registry)

        names = ("client", "conversation_by", "person_by", "purpose")
        self._identities = count("identity_resolution", "How requests said who asks, where and what for.", *names)
        self._withheld = count("memory_withheld", "Requests that ran without memory, by the reason why.", "why")
        self._plans = count("plan", "Turns that began, by plan and mode.", "plan", "mode")
        self._turns = count("turns", "Turns that ended, by the reason why.", "reason")
        self._failures = count("turns_failed", "Turns that failed, by the error.", "error")
        self._tokens = count("tokens", "Tokens spent, by kind.", "kind")
        self._memory = count("memory_changes", "Edits of memory, by what was changed.", "what")
        self._recalls = count("recalls", "Attempts to recall, by outcome.", "outcome")
        self._recalled = Counter("librarian_recalled_entries", "Entries put in view.", registry=registry)
        self._compactions = count("compactions", "Histories summarised, by whom.", "by")
        self._requests = count("requests", "Requests served, by endpoint and status.", "endpoint", "status")
        self._wait_s = time("lease_wait", "From being understood to holding a seat.", WAIT_S)
        self._first_s = time("first_event", "From being understood to the first thing said.", FIRST_S)
        self._turn_s = time("turn", "Of a turn, from being understood to its end.", TURN_S)
        self._recall_s = time("recall", "Of recalling.", RECALL_S)
        self._request_s = time("request", "Of a request, from its first byte to its last.", REQUEST_S)
        if pool is not None:
            _watch("seats_taken", "Turns that hold a seat now.", registry, lambda: pool.taken)
            _watch("turns_waiting", "Turns that wait for a seat now.", registry, lambda: pool.waiting)

    def identified(self, client: str, conversation_by: str, person_by: str, purpose: str) -> None:
        self._identities[client, conversation_by or "none", person_by or "none", purpose].inc()

    def memory_withheld(self, why: str) -> None:
        self._withheld[(why,)].inc()

    def turn_began(self, plan: str, mode: Mode | None, waited_s: float) -> None:
        self._plans[plan, mode or "none"].inc()
        self._wait_s.observe(waited_s)

    def turn_spoke(self, after_s: float) -> None:
        self._first_s.observe(after_s)

    def turn_ended(self, reason: StopReason, usage: Usage, duration_s: float) -> None:
        self._turns[(reason,)].inc()
        self._tokens[("input",)].inc(usage.input_tokens)
        self._tokens[("output",)].inc(usage.output_tokens)
        self._tokens[("cached",)].inc(usage.cached_tokens)
        self._tokens[("reasoning",)].inc(usage.reasoning_tokens)
        self._turn_s.observe(duration_s)

    def turn_failed(self, error: str) -> None:
        self._failures[(error,)].inc()

    def memory_changed(self, what: str) -> None:
        self._memory[(what,)].inc()

    def recalled(self, entries: int, duration_s: float, outcome: str) -> None:
        self._recalls[(outcome,)].inc()
        self._recalled.inc(entries)
        self._recall_s.observe(duration_s)

    def compacted(self, by: str) -> None:
        self._compactions[(by,)].inc()

    def request_served(self, endpoint: str, status: int, duration_s: float) -> None:
        self._requests[endpoint, str(status)].inc()
        self._request_s.observe(duration_s)


def render(registry: CollectorRegistry) -> bytes:
    """The text format, version 0.0.4."""
    return generate_latest(registry)


def _watch(name: str, text: str, registry: CollectorRegistry, read: Callable[[], float]) -> None:
    Gauge(f"librarian_{name}", text, registry=registry).set_function(read)
