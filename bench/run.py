"""Measure what the gateway costs, beside a plain pass-through, in front of a model that costs almost nothing.

All servers run at once and idle. A round measures workload by workload, server after server, in a turning order; ratios
are formed within a round, and medians over the rounds are shown. docs/performance.md says what the rows mean.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from servers import HERE, NotReady, Server, between_s, memory_kib, running, spent_ns
from workloads import ROWS, TOKEN_BYTES, WARMING_MODEL, WORKLOADS, Cell, Row, Workload

FLOOR, YARDSTICK, OURS, RECALL = SERVERS = ("direct", "fastapi_httpx", "librarian", "librarian_recall")
PACKAGES = ("librarian-gateway", "fastapi", "uvicorn", "httpx", "aiohttp")
AIM = "json_c32 aims at 0.5 ms of CPU a turn or less on such a machine; the gate is the ratio."
TIMEOUT_S = 30.0
TRAILING_S = 0.2
"""Work that a server puts off until after its answer is counted, too."""


def main() -> int:
    asked = _arguments()
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None or not Path("/proc/self/schedstat").exists():
        print("The benchmark needs a C compiler (cc) and Linux's /proc.", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are ended
    workloads = [load for load in WORKLOADS if load.name in asked.workloads and not (asked.quick and load.once)]
    if asked.quick:
        workloads = [replace(load, seconds=load.seconds * 0.4) for load in workloads]
    with tempfile.TemporaryDirectory(prefix="librarian-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _compile(compiler, folder)
        try:
            cells = [
                cell
                for rounds, once in ((1, True), (asked.rounds, False))  # each on servers that are fresh
                for cell in _rounds(rounds, [load for load in workloads if load.once is once], asked.servers, folder)
            ]
        except NotReady as error:
            print(error, file=sys.stderr)
            return 2
    machine = _machine()
    if asked.json:
        asked.json.write_text(json.dumps(_summary(machine, asked.rounds, cells), indent=1) + "\n")
    print(f"\n{', '.join(f'{what} {value}' for what, value in machine.items())}; {asked.rounds} rounds\n")
    _print_table(cells, [name for name in asked.servers if name != RECALL])
    if RECALL in asked.servers:
        remembered = sum(cell.requests for cell in cells if cell.server == RECALL)
        print(f"\nWith recall, its memory growing to about {remembered} turns in the run:\n")
        _print_table(cells, [name for name in (OURS, RECALL) if name in asked.servers], base=OURS)
    failed = _print_errors(cells)
    return 1 if failed or (asked.check and not _print_gates(cells)) else 0


def _arguments() -> argparse.Namespace:
    def some_of(all_names: Sequence[str]) -> Any:  # noqa: ANN401 - argparse takes any callable
        def names(text: str) -> list[str]:
            if unknown := set(text.split(",")) - set(all_names):
                raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))} (of {', '.join(all_names)})")
            return [name for name in all_names if name in text.split(",")]

        return names

    every = [load.name for load in WORKLOADS]
    parser = argparse.ArgumentParser(prog="bench/run.py", description="Measure the gateway beside a pass-through.")
    parser.add_argument("--quick", action="store_true", help="2 short rounds, under a minute; rough")
    parser.add_argument("--rounds", type=int, choices=range(1, 21), metavar="1..20", help="5; with --quick 2")
    parser.add_argument("--servers", type=some_of(SERVERS), default=list(SERVERS), help=",".join(SERVERS))
    parser.add_argument("--workloads", type=some_of(every), default=every, help=",".join(every))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    parser.add_argument("--check", action="store_true", help="exit 1 when a gate is passed over")
    asked = parser.parse_args()
    asked.rounds = asked.rounds or (2 if asked.quick else 5)
    return asked


def _compile(compiler: str, folder: Path) -> None:
    for tool in ("mock", "load"):
        command = [compiler, "-O2", "-o", str(folder / tool), str(HERE / "native" / f"{tool}.c")]
        subprocess.run(command, check=True, timeout=120)


# Measuring


def _rounds(rounds: int, workloads: Sequence[Workload], names: Sequence[str], folder: Path) -> list[Cell]:
    """Starts servers, measures, ends them. Raises NotReady."""
    cells: list[Cell] = []
    if not workloads:
        return cells
    models = sorted({load.model for load in workloads} | {WARMING_MODEL})
    with (
        tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as homes,
        running(names, folder / "mock", models, Path(homes)) as servers,
    ):
        for number in range(rounds):
            turn = number % len(servers)
            order = [server for server in (*servers[turn:], *servers[:turn]) if server.name in names]
            for load in workloads:
                measured = [server for server in order if load.recall or server.name != RECALL]
                cells += [_measure(server, load, number, folder) for server in measured]
            print(f"round {number + 1} of {rounds} measured: {', '.join(load.name for load in workloads)}", flush=True)
    return cells


def _measure(server: Server, load: Workload, number: int, folder: Path) -> Cell:
    seed = 1000 * number + 10 * WORKLOADS.index(next(known for known in WORKLOADS if known.name == load.name))
    warming = replace(load, connections=min(load.connections, 16), seconds=3.0, ramp_s=0.0, tokens=16, requests=50)
    _load(server, warming, WARMING_MODEL, seed, folder)
    memory_before, cpu_before = memory_kib(server), spent_ns(server)
    told, memory = _load(server, load, load.model, seed + 1, folder)
    time.sleep(TRAILING_S)
    spent_s = between_s(cpu_before, spent_ns(server))
    return Cell(
        server=server.name,
        workload=load.name,
        round=number,
        requests=told["requests"],
        tokens=told["requests"] * load.tokens,
        errors=told["errors"],
        error=told["error"],
        elapsed_s=told["elapsed_s"],
        cpu_s=spent_s,
        latency_ms=told["latency_ms"]["p50"],
        first_ms=told["first_ms"]["p50"],
        memory_kib=max(0, memory - memory_before),
    )


def _load(server: Server, load: Workload, model: str, seed: int, folder: Path) -> tuple[dict[str, Any], int]:
    """What the clients saw, and the most memory that the server held meanwhile (looked at where it is asked for)."""
    head = folder / "head.json"
    head.write_text(load.head(model))
    options = {
        "port": server.port,
        "head": head,
        "message": load.message,
        "tail": load.tail,
        "connections": load.connections,
        "seconds": load.seconds,
        "requests": load.requests,
        "ramp": load.ramp_s,
        "turns": load.turns,
        "text": load.tokens * TOKEN_BYTES,
        "timeout": TIMEOUT_S,
        "seed": seed,
    }
    command = [str(folder / "load"), *(word for name, value in options.items() for word in (f"--{name}", str(value)))]
    give_up_at = time.monotonic() + load.seconds + TIMEOUT_S + 10
    memory = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as clients:
        try:
            while load.once and clients.poll() is None and time.monotonic() < give_up_at:
                memory = max(memory, memory_kib(server))
                time.sleep(0.1)
            said, _ = clients.communicate(timeout=max(1.0, give_up_at - time.monotonic()))
        except BaseException:
            clients.kill()
            raise
    return json.loads(said), memory


# Telling


def _values(cells: Sequence[Cell], row: Row, server: str) -> dict[int, float]:
    """By round. A cell with errors has no value."""
    mine = {cell.round: cell for cell in cells if cell.workload == row.workload and cell.server == server}
    values = {number: row.read(cell) for number, cell in mine.items() if cell.requests and not cell.errors}
    if not row.added:
        return values
    floor = _values(cells, replace(row, added=False), FLOOR)
    return {number: value - floor[number] for number, value in values.items() if number in floor}


def _ratio(cells: Sequence[Cell], row: Row, server: str, base: str) -> float | None:
    ours, theirs = _values(cells, row, server), _values(cells, row, base)
    shares = [value / theirs[number] for number, value in ours.items() if theirs.get(number, 0) > 0]
    return median(shares) if shares else None


def _print_table(cells: Sequence[Cell], names: Sequence[str], base: str = YARDSTICK) -> None:
    compared = [name for name in names if name == names[-1] and base in names and name != base]
    heads = [f"{name} / {base}" for name in compared]
    print(f"{'workload':<10} {'what':<24}", *(f"{name:>16}" for name in names), *(f"{head:>28}" for head in heads))
    for row in ROWS:
        values = [_values(cells, row, name) for name in names]
        if not values[-1]:
            continue
        figures = [f"{_figure(median(value.values()) if value else None):>16}" for value in values]
        ratios = [f"{_figure(_ratio(cells, row, name, base)):>28}" for name in compared]
        print(f"{row.workload:<10} {row.what:<24}", *figures, *ratios)


def _figure(value: float | None) -> str:
    """Four digits, or all that stand before the point."""
    return "-" if value is None else f"{value:.{max(0, 4 - len(f'{value:.0f}'))}f}"


def _print_errors(cells: Sequence[Cell]) -> bool:
    failed = [cell for cell in cells if cell.errors]
    for cell in failed:
        print(f"ERROR  {cell.workload} {cell.server}, round {cell.round + 1}: {cell.error}")
    return bool(failed)


def _print_gates(cells: Sequence[Cell]) -> bool:
    """Whether all were kept. One that was not measured is not kept."""
    kept = True
    print()
    for row in ROWS:
        if row.at_most is not None:
            ratio = _ratio(cells, row, OURS, YARDSTICK)
            ok = ratio is not None and ratio <= row.at_most
            kept = kept and ok
            print(
                f"{'ok    ' if ok else 'FAILED'} {row.workload}, {row.what}: {_figure(ratio)} of {YARDSTICK}'s,"
                f" at most {row.at_most}"
            )
    turns = _values(cells, next(row for row in ROWS if row.workload == "json_c32"), OURS)
    print(f"       {AIM} Here: {_figure(median(turns.values()) if turns else None)} ms.")
    return kept


def _machine() -> dict[str, str]:
    facts = {"Python": platform.python_version(), "CPUs": str(os.cpu_count()), "load": f"{os.getloadavg()[0]:.1f}"}
    for package in PACKAGES:
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            facts[package] = "absent"
    return facts


def _summary(machine: dict[str, str], rounds: int, cells: Sequence[Cell]) -> dict[str, Any]:
    rows = [
        {
            "workload": row.workload,
            "what": row.what,
            "medians": {name: median(value.values()) for name in SERVERS if (value := _values(cells, row, name))},
            "ratio": _ratio(cells, row, OURS, YARDSTICK),
            "at_most": row.at_most,
        }
        for row in ROWS
    ]
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        "when": when,
        "machine": machine,
        "rounds": rounds,
        "rows": rows,
        "cells": [asdict(cell) for cell in cells],
    }


if __name__ == "__main__":
    sys.exit(main())
