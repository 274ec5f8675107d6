"""Record what real clients ask: install each in an environment of its own, and let it talk to a server that keeps it.

It needs the network, Node.js for some, and up to 3 GB in `.venv-clients`. What is kept goes to tests/clients/recorded.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.clients import recordings
from scripts.clients.server import Recorder

ROOT = Path(__file__).resolve().parents[2]
DRIVERS = Path(__file__).with_name("drivers")
PATIENCE_S = 900


@dataclass(frozen=True, slots=True)
class Client:
    """What to install, and what then speaks for it. The first package is the one whose version is told."""

    driver: str
    packages: tuple[str, ...]

    @property
    def speaks_javascript(self) -> bool:
        return self.driver.endswith(".mjs")


CLIENTS: Mapping[str, Client] = {
    "openai-2": Client("openai_python.py", ("openai<3",)),
    "openai-3": Client("openai_python.py", ("openai>=3",)),
    "langchain-openai": Client("langchain_python.py", ("langchain-openai",)),
    "autogen-ext": Client("autogen.py", ("autogen-ext[openai]", "autogen-agentchat")),
    "openai-agents": Client("openai_agents.py", ("openai-agents",)),
    "pydantic-ai": Client("pydantic_ai_.py", ("pydantic-ai-slim[openai]",)),
    "litellm": Client("litellm_.py", ("litellm",)),
    "llm": Client("llm_.py", ("llm",)),
    "openai-node": Client("openai_node.mjs", ("openai",)),
    "langchain-js": Client("langchain_js.mjs", ("@langchain/openai", "@langchain/core", "zod")),
    "ai-sdk": Client("ai_sdk.mjs", ("ai", "@ai-sdk/openai", "@ai-sdk/openai-compatible", "zod")),
    "aider": Client("aider_.py", ("aider-chat",)),
    "open-webui": Client("open_webui.py", ("open-webui",)),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.clients", description=__doc__)
    parser.add_argument("clients", nargs="*", choices=[[], *CLIENTS], help="all, if none is named")
    parser.add_argument("--environments", type=Path, default=ROOT / ".venv-clients", help="where they are installed")
    asked = parser.parse_args()
    failed = [name for name in asked.clients or CLIENTS if not _record(name, CLIENTS[name], asked.environments)]
    if failed:
        sys.exit(f"Not recorded: {', '.join(failed)}")


def _record(name: str, client: Client, environments: Path) -> bool:
    home = environments / name
    recorder = Recorder()
    try:
        program = _node(home, client) if client.speaks_javascript else _python(home, client)
        version = _npm_version(home, client) if client.speaks_javascript else _pypi_version(home, client)
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("OPENAI_", "PYTHON"))}
        _run(
            (*program, str(DRIVERS / client.driver)),
            cwd=home,
            env=environment | {"RECORDER": recorder.url, "PYTHONDONTWRITEBYTECODE": "1"},
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"{name}: {error}")
        return False
    finally:
        recorder.close()
    file = recordings.write(name, _name(client.packages[0]), version, recorder.heard)
    print(f"{name} {version}: {len(recorder.heard)} requests in {file.relative_to(ROOT)}")
    return True


def _python(home: Path, client: Client) -> Sequence[str]:
    python = home / "bin" / "python"
    if not python.exists():
        _run((sys.executable, "-m", "venv", str(home)))
        _run((str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", *client.packages))
    return (str(python),)


def _node(home: Path, client: Client) -> Sequence[str]:
    if not (home / "node_modules").exists():
        home.mkdir(parents=True, exist_ok=True)
        (home / "package.json").write_text('{"private": true}')
        _run(("npm", "install", "--silent", "--no-audit", "--no-fund", *client.packages), cwd=home)
    return ("node",)


def _pypi_version(home: Path, client: Client) -> str:
    code = f"from importlib.metadata import version; print(version({_name(client.packages[0])!r}))"
    told = subprocess.run((str(home / "bin" / "python"), "-c", code), capture_output=True, text=True, check=True)
    return told.stdout.strip()


def _npm_version(home: Path, client: Client) -> str:
    card = home / "node_modules" / client.packages[0] / "package.json"
    version: str = json.loads(card.read_text())["version"]
    return version


def _name(package: str) -> str:
    return package.split("[", maxsplit=1)[0].split("<", maxsplit=1)[0].split(">", maxsplit=1)[0]


def _run(command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> None:
    subprocess.run(command, cwd=cwd, env=env, timeout=PATIENCE_S, check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
