"""One visit of one client: its request id, and the canonical line at its end."""

from typing import Self

import structlog

from librarian.application.ports.clock import Clock
from librarian.application.ports.meter import Meter

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

LEFT = 499
"""What is logged of a client that left before there was a status."""


class Visit:
    """Says `request_served` once, however the visit ends. `endpoint` is one of a few names, never a user's text."""

    __slots__ = ("_began_s", "_clock", "_meter", "_method", "endpoint", "error", "id", "status")

    def __init__(self, id_: str, method: str, endpoint: str, *, clock: Clock, meter: Meter) -> None:
        self.id = id_
        self.endpoint = endpoint
        self.status = LEFT
        self.error: str | None = None
        self._method = method
        self._clock = clock
        self._meter = meter
        self._began_s = clock.elapsed_s()

    @property
    def request_id(self) -> str:
        return f"req_{self.id}"

    def __enter__(self) -> Self:
        structlog.contextvars.unbind_contextvars("principal_id", "model")  # whoever came before on this connection
        structlog.contextvars.bind_contextvars(request_id=self.request_id)
        return self

    def __exit__(self, *_: object) -> None:
        duration_s = self._clock.elapsed_s() - self._began_s
        self._meter.request_served(self.endpoint, self.status, duration_s)
        log.info(
            "request_served",
            method=self._method,
            endpoint=self.endpoint,
            status=self.status,
            error=self.error,
            duration_ms=round(duration_s * 1000, 2),
        )
