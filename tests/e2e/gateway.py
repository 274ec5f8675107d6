"""A real process of the gateway's, to be killed without warning."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest


class Gateway:
    """`python -m librarian serve` on a port of its own choosing."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        """`settings`: variables of its environment, without their prefix."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("LIBRARIAN_", "OPENAI_"))}
        chosen = {"DATA_DIR": str(data_dir), "UPSTREAM__DISCOVER": "false"} | settings
        self._env = clean | {f"LIBRARIAN_{name}": value for name, value in chosen.items()}
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "librarian", "serve", "--port", "0"]
        self._process = subprocess.Popen(command, env=self._env, stderr=subprocess.PIPE, text=True)
        for line in self._process.stderr:
            if line.startswith("listens"):
                self.base_url = f"{line.split()[1]}/v1"
                return
        pytest.fail("The gateway did not start.")

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)
        self._process.stderr.close()
