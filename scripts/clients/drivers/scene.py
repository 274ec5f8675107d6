"""What every driver in Python begins with: where the server is, and the scenes it is told of."""

import os
from urllib.request import urlopen

ROOT = os.environ["RECORDER"]
BASE_URL = f"{ROOT}/v1"
QUESTION = "What is my cat called?"
FOLLOW_UP = "And where does it sleep?"
WEATHER = "What is the weather in Paris?"


def scene(name: str) -> None:
    with urlopen(f"{ROOT}/scene/{name}"):  # noqa: S310 - the server is ours, on loopback
        pass
