"""llm, by its command line."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from scene import BASE_URL, FOLLOW_UP, QUESTION, WEATHER, scene

WEATHER_TOOL = 'def weather(city: str) -> str:\n    """The weather in a city"""\n    return f"Rain in {city}."\n'

with TemporaryDirectory() as folder:
    (Path(folder) / "extra-openai-models.yaml").write_text(
        f"- model_id: librarian\n  model_name: librarian\n  api_base: {BASE_URL}\n  supports_tools: true\n"
    )

    def llm(*arguments: str) -> None:
        command = (str(Path(sys.executable).with_name("llm")), "-m", "librarian", "--key", "none", *arguments)
        subprocess.run(command, env=os.environ | {"LLM_USER_PATH": folder}, check=True, stdout=subprocess.DEVNULL)

    scene("chat")
    llm("--no-stream", QUESTION)
    scene("follow-up")
    llm("-c", "--no-stream", FOLLOW_UP)
    scene("stream")
    llm(QUESTION)
    scene("tools")
    llm("--no-stream", "--functions", WEATHER_TOOL, WEATHER)
    scene("retry")
    llm("--no-stream", QUESTION)
