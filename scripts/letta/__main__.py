"""Start a Letta server on this machine, with all that it needs, until it is stopped with Ctrl-C.

What its agents learn is kept in `.letta`. Without a model of your own, one that echoes stands behind it.
"""

import argparse
import os
import shutil
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from scripts.letta import environment
from scripts.letta.keeper import Unavailable
from scripts.letta.postgres import Postgres
from scripts.letta.server import LettaServer
from tests.letta.model import LettaModel

STATE = environment.ROOT / ".letta"


def main() -> None:
    asked = _arguments()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit())
    try:
        environment.make()
        if not asked.prepare:
            _serve(asked)
    except Unavailable as why:
        sys.exit(str(why))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.letta", description=__doc__)
    parser.add_argument("--port", type=int, default=8283, help="its port on 127.0.0.1 (%(default)s)")
    parser.add_argument("--password", help="what clients have to show as their bearer token")
    parser.add_argument("--model", metavar="URL", help="your own model's base URL; it is sent OPENAI_API_KEY")
    parser.add_argument("--echo-port", type=int, default=8284, help="the port of the model that echoes (%(default)s)")
    parser.add_argument("--fresh", action="store_true", help="forget what was kept")
    parser.add_argument("--for-tests", action="store_true", help="keep nothing; the live tests stand in for the model")
    parser.add_argument("--prepare", action="store_true", help="make the environment and start nothing")
    return parser.parse_args()


def _serve(asked: argparse.Namespace) -> None:
    data = None if asked.for_tests else _kept(fresh=asked.fresh)
    with ExitStack() as running:
        echo = ExitStack()
        if asked.model is None:
            running.enter_context(echo).enter_context(LettaModel(port=asked.echo_port))
        postgres = running.enter_context(Postgres(environment.packages(), data))
        server = LettaServer(
            postgres,
            asked.model or f"http://127.0.0.1:{asked.echo_port}/v1",
            api_key=os.environ.get("OPENAI_API_KEY", "unused") if asked.model else "unused",
            port=asked.port,
            password=asked.password,
        )
        print("Starting Letta, which takes it about ten seconds ...")
        running.enter_context(server)
        print(f"Letta listens on {server.base_url}; Ctrl-C stops it.")
        if asked.for_tests:
            echo.close()
            print("For the live tests:", *_for_tests(asked, server))
        while server.runs:
            time.sleep(0.5)
        raise Unavailable(f"Letta ended by itself:\n{server.log()[-2000:]}")


def _kept(*, fresh: bool) -> Path:
    if fresh:
        shutil.rmtree(STATE, ignore_errors=True)
    STATE.mkdir(exist_ok=True)
    return STATE / "data"


def _for_tests(asked: argparse.Namespace, server: LettaServer) -> list[str]:
    password = [f"LETTA_TEST_PASSWORD={asked.password}"] if asked.password else []
    return [f"LETTA_TEST_URL={server.base_url}", f"LETTA_TEST_MODEL_PORT={asked.echo_port}", *password]


if __name__ == "__main__":
    main()
