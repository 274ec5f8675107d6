"""structlog: one JSON line for each event to standard error, or lines for people where that is a terminal."""

import asyncio
import atexit
import logging
import sys
import threading
from contextlib import suppress
from typing import Protocol

import orjson
import structlog

GATHER_S = 0.1


class Sink(Protocol):
    """A file for bytes."""

    def write(self, data: bytes, /) -> object: ...

    def flush(self) -> object: ...


class Gathered:
    """A logger that writes the info lines of `gather_s` at once: a write for each costs more than all the rest.

    A warning pours them at once, and so does the end. Where no loop runs, nothing is held back.
    """

    def __init__(self, file: Sink, gather_s: float = GATHER_S) -> None:
        self._file = file
        self._gather_s = gather_s
        self._lines: list[bytes] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()  # turns log from threads, too

    def info(self, line: bytes) -> None:
        with self._lock:
            self._lines.append(line)
            waiting = self._loop is not None and not self._loop.is_closed()
        if not waiting:
            self._schedule()

    debug = msg = info

    def warning(self, line: bytes) -> None:
        with self._lock:
            self._lines.append(line)
        self.pour()

    warn = error = err = exception = critical = fatal = failure = warning

    def pour(self) -> None:
        with self._lock:
            lines, self._lines, self._loop = self._lines, [], None
            if lines:
                with suppress(OSError, ValueError):  # no turn fails because standard error is closed or full
                    self._file.write(b"\n".join(lines) + b"\n")
                    self._file.flush()

    def _schedule(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.pour()
            return
        self._loop = loop
        loop.call_later(self._gather_s, self.pour)


class Forwarded(logging.Handler):
    """What libraries say through the standard library's logging, as events of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
        say = log.error if record.levelno >= logging.ERROR else log.warning
        say("library_said", logger=record.name, said=record.getMessage(), exc_info=record.exc_info)


def configure_logs(*, level: str = "info", file: Sink | None = None, terminal: bool | None = None) -> None:
    """`level`: debug, info, warning or error. `file` is standard error, unless told otherwise."""
    least = logging.getLevelNamesMapping()[level.upper()]
    for_people = sys.stderr.isatty() if terminal is None else terminal
    logger = Gathered(file or sys.stderr.buffer, 0.0 if for_people else GATHER_S)
    atexit.register(logger.pour)
    structlog.configure(
        cache_logger_on_first_use=True,
        wrapper_class=structlog.make_filtering_bound_logger(least),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            *(_for_people() if for_people else _for_machines()),
        ],
        logger_factory=lambda *_: logger,
    )
    logging.basicConfig(level=max(least, logging.WARNING), handlers=[Forwarded()], force=True)


def _for_machines() -> list[structlog.typing.Processor]:
    return [
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=_json),
    ]


def _for_people() -> list[structlog.typing.Processor]:
    """No values of variables beside a traceback: they would show what people said."""
    console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    return [
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        lambda logger, name, event: console(logger, name, event).encode(),
    ]


def _json(event: object, **_: object) -> bytes:
    return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS)
