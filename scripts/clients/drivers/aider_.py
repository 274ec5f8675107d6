"""aider, by its command line, in a repository of its own."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from scene import BASE_URL, FOLLOW_UP, QUESTION, scene

HISTORY = "# aider chat started at 2026-11-01 10:00:00\n\n" + "".join(
    f"#### Where does cat {number} sleep?\n\nOn chair {number}, by the window, like all the cats before it.\n\n"
    for number in range(40)
)
QUIET = (
    "--model=openai/librarian",
    "--no-show-model-warnings",
    "--no-check-update",
    "--analytics-disable",
    "--no-gitignore",
    "--no-pretty",
    "--yes-always",
    "--map-tokens=0",
)

with TemporaryDirectory() as folder:
    environment = os.environ | {"OPENAI_API_BASE": BASE_URL, "OPENAI_API_KEY": "none", "HOME": folder}

    def run(*command: str) -> None:
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)

    def aider(*arguments: str) -> None:
        run(str(Path(sys.executable).with_name("aider")), *QUIET, *arguments)

    run("git", "init", "--quiet")
    run("git", "config", "user.email", "ada@example.org")
    run("git", "config", "user.name", "Ada")
    file = Path(folder) / "cat.txt"
    file.write_text("Bertrand\n")
    run("git", "add", "cat.txt")
    run("git", "commit", "--quiet", "-m", "Keep a cat")
    scene("chat")
    aider("--no-stream", f"--message={QUESTION}")
    scene("stream")
    aider(f"--message={QUESTION}")
    scene("commit")
    file.write_text("Bertrand, who sleeps on a chair\n")
    aider("--commit")
    scene("summary")
    (Path(folder) / ".aider.chat.history.md").write_text(HISTORY)
    aider("--no-stream", "--restore-chat-history", "--max-chat-history-tokens=200", f"--message={FOLLOW_UP}")
    scene("retry")
    aider("--no-stream", f"--message={QUESTION}")
