"""What is logged and counted, and in what form."""

import asyncio
import io
import json
import logging

import pytest
import structlog
from prometheus_client import CollectorRegistry

from librarian.adapters.telemetry.logs import Gathered, configure_logs
from librarian.adapters.telemetry.metrics import MOST_CHILDREN, PrometheusMeter, render
from librarian.domain.identity import PrincipalId
from librarian.domain.mode import Mode
from librarian.domain.pool import AgentPool
from librarian.domain.turn import StopReason, Usage


class Tape(io.BytesIO):
    """Counts how often it is written to."""

    writes = 0

    def write(self, data):
        self.writes += 1
        return super().write(data)

    @property
    def lines(self):
        return self.getvalue().splitlines()


@pytest.fixture
def tape():
    return Tape()


@pytest.fixture
def configured():
    """As it was before, afterwards."""
    before = structlog.get_config()
    handlers, level = logging.root.handlers[:], logging.root.level
    yield configure_logs
    structlog.configure(**before)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


async def test_info_is_gathered_and_written_at_once(tape):
    log = Gathered(tape, gather_s=0.001)
    for line in (b"a", b"b", b"c"):
        log.info(line)

    assert 0 == tape.writes
    await asyncio.sleep(0.01)
    assert (1, [b"a", b"b", b"c"]) == (tape.writes, tape.lines)

    log.info(b"d")
    await asyncio.sleep(0.01)
    assert [b"a", b"b", b"c", b"d"] == tape.lines


async def test_a_warning_waits_for_nothing(tape):
    log = Gathered(tape, gather_s=60)
    log.info(b"a")
    log.warning(b"b")

    assert [b"a", b"b"] == tape.lines


def test_without_a_loop_nothing_is_held_back(tape):
    log = Gathered(tape, gather_s=60)
    log.info(b"a")

    assert [b"a"] == tape.lines


def test_the_end_of_a_loop_loses_nothing(tape):
    log = Gathered(tape, gather_s=60)

    async def speak():
        log.info(b"a")

    asyncio.run(speak())
    log.info(b"b")

    assert [b"a", b"b"] == tape.lines


async def test_a_thread_may_speak_too(tape):
    log = Gathered(tape, gather_s=60)

    await asyncio.to_thread(log.info, b"a")

    assert [b"a"] == tape.lines


def test_an_event_is_a_line_of_json(tape, configured):
    configured(file=tape, terminal=False)
    with structlog.contextvars.bound_contextvars(request_id="req_1"):
        structlog.get_logger().info("turn_ended", steps=2, mode=Mode.WORKER)
    structlog.get_logger().debug("not_heard")

    (line,) = map(json.loads, tape.lines)
    assert ("turn_ended", "info", "req_1", 2, "worker") == tuple(
        line[name] for name in ("event", "level", "request_id", "steps", "mode")
    )


@pytest.mark.parametrize("terminal", [False, True])
def test_a_traceback_shows_no_values(tape, configured, terminal):
    configured(file=tape, terminal=terminal)
    confided = "sada fo terces a"[::-1]
    try:
        int(confided[:0])
    except ValueError:
        structlog.get_logger().exception("request_failed")

    assert b"ValueError" in tape.getvalue()
    assert confided.encode() not in tape.getvalue()


def test_libraries_are_heard_from_a_warning_on(tape, configured):
    configured(level="debug", file=tape, terminal=False)
    logging.getLogger("some.library").info("chatter")
    logging.getLogger("some.library").warning("It is %s.", "late")

    (line,) = map(json.loads, tape.lines)
    assert ("library_said", "some.library", "It is late.") == (line["event"], line["logger"], line["said"])


def test_a_terminal_is_spoken_to_in_lines_for_people(tape, configured):
    configured(file=tape, terminal=True)
    structlog.get_logger().info("turn_ended", steps=2)

    assert b"turn_ended" in tape.getvalue()
    assert not tape.getvalue().startswith(b"{")


def samples(registry):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def test_everything_reported_is_counted():
    registry = CollectorRegistry()
    pool = AgentPool(seats=1, places=1, patience_s=1)
    meter = PrometheusMeter(registry, pool)
    pool.ask(PrincipalId("ada"), None, 0)
    pool.ask(PrincipalId("ada"), None, 0)

    meter.identified("open-webui", "x-openwebui-chat-id", "", "chat")
    meter.memory_withheld("unknown")
    meter.turn_began("Start", Mode.WORKER, 0.5)
    meter.turn_began("Task", None, 0.0)
    meter.turn_spoke(0.1)
    meter.turn_ended(StopReason.LENGTH, Usage(5, 3, 2, 1), 1.0)
    meter.turn_failed("TurnFailed")
    meter.memory_changed("block")
    meter.recalled(3, 0.01, "found")
    meter.compacted("model")
    meter.request_served("/v1/models", 200, 0.01)

    counted = samples(registry)
    for name, value in {
        ("librarian_identity_resolution_total", "open-webui", "x-openwebui-chat-id", "none", "chat"): 1,
        ("librarian_memory_withheld_total", "unknown"): 1,
        ("librarian_plan_total", "Start", "worker"): 1,
        ("librarian_plan_total", "Task", "none"): 1,
        ("librarian_lease_wait_seconds_count",): 2,
        ("librarian_first_event_seconds_count",): 1,
        ("librarian_turns_total", "length"): 1,
        ("librarian_tokens_total", "input"): 5,
        ("librarian_tokens_total", "output"): 3,
        ("librarian_tokens_total", "cached"): 2,
        ("librarian_tokens_total", "reasoning"): 1,
        ("librarian_turns_failed_total", "TurnFailed"): 1,
        ("librarian_memory_changes_total", "block"): 1,
        ("librarian_recalls_total", "found"): 1,
        ("librarian_recalled_entries_total",): 3,
        ("librarian_compactions_total", "model"): 1,
        ("librarian_requests_total", "/v1/models", "200"): 1,
        ("librarian_seats_taken",): 1,
        ("librarian_turns_waiting",): 1,
    }.items():
        assert value == counted[name], name
    assert b"librarian_turns_total" in render(registry)


def test_labels_do_not_grow_without_bound():
    registry = CollectorRegistry()
    meter = PrometheusMeter(registry)
    for number in range(3 * MOST_CHILDREN):
        meter.turn_failed(f"Error{number}")

    counted = samples(registry)
    failures = [name for name in counted if name[0] == "librarian_turns_failed_total"]
    assert MOST_CHILDREN + 1 == len(failures)
    assert 2 * MOST_CHILDREN == counted["librarian_turns_failed_total", "other"]
