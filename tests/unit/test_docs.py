"""What the documentation says, held against what is there. `python -m tests.unit.test_docs` writes the table."""

import re
from pathlib import Path

import msgspec
import pytest
from pydantic import BaseModel

from librarian.container import House
from librarian.entrypoints.http.app import OTHERS
from librarian.entrypoints.http.front_door import PUBLIC
from librarian.entrypoints.http.openai.errors import ROWS
from librarian.entrypoints.http.openai.schema import REQUESTS
from librarian.entrypoints.http.openai.wire.chat import ChatRequest
from librarian.entrypoints.http.openai.wire.completions import CompletionRequest
from librarian.entrypoints.http.openai.wire.embeddings import EmbeddingRequest
from librarian.settings import Settings
from scripts.config_example import example

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md")))

FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
TABLE = re.compile(r"^\| setting \|.*?(?=\n\n)", re.MULTILINE | re.DOTALL)
MACHINE_PATH = re.compile(r"(?<![\w.~:/-])/(?:root|work|workspace|home|Users|tmp)(?:/|\b)")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def words(name):
    return (DOCS / name).read_text(encoding="utf-8")


def anchors(page):
    """As GitHub makes them of headings."""
    headings = HEADING.findall(FENCED.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def settings_of(part, prefix="LIBRARIAN_"):
    for name, field in part.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings_of(field.annotation, f"{prefix}{name.upper()}__")
        else:
            yield prefix + name.upper()


def settings_table():
    """config.example as a table."""
    rows = ["| setting | default | what it is |", "| --- | --- | --- |"]
    for block in example().split("\n\n"):
        *told, last = block.splitlines()
        if setting := re.fullmatch(r"#(LIBRARIAN_\w+)=(.*)", last):
            name, default = setting.groups()
            meaning = " ".join(line.removeprefix("# ") for line in told)
            meaning = re.sub(r"\{.*\}", lambda found: f"`{found.group()}`", meaning)
            shown = f"`{default}`" if default else ""
            rows.append(f"| `{name}` | {shown} | {meaning} |".replace("auto|worker|persona", r"auto\|worker\|persona"))
    return "\n".join(re.sub(" {2,}", " ", row) for row in rows)


@every_page
def test_every_relative_link_leads_somewhere(page):
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    lost = []
    for target in LINK.findall(text):
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        if ":" not in target and not (there.exists() and (not anchor or anchor in anchors(there))):
            lost.append(target)

    assert [] == lost


@every_page
def test_no_page_names_a_place_on_somebodys_machine(page):
    assert [] == MACHINE_PATH.findall(page.read_text(encoding="utf-8"))


def test_every_setting_is_documented():
    text = words("configuration.md")

    assert [] == [name for name in settings_of(Settings) if f"`{name}`" not in text]


def test_the_table_of_settings_is_config_example():
    assert [settings_table()] == TABLE.findall(words("configuration.md")), "python -m tests.unit.test_docs writes it"


def test_every_error_is_documented_with_its_status_and_code():
    text = words("api.md")
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| (?:`(\w+)`|-) \|", text, re.MULTILINE)

    assert {(str(row.status), row.type, row.code or "") for row in ROWS.values()} <= set(rows)


@pytest.mark.parametrize("shape", [ChatRequest, CompletionRequest, EmbeddingRequest])
def test_every_parameter_is_documented(shape):
    text = words("api.md")

    assert [] == [field.name for field in msgspec.structs.fields(shape) if f"`{field.name}`" not in text]


def test_every_metric_is_documented(tmp_path):
    house = House(settings=Settings(_env_file=None, data_dir=tmp_path))
    house.meter()
    families = [family for family in house.registry().collect() if family.type != "unknown"]
    named = [family.name + ("_total" if family.type == "counter" else "") for family in families]
    text = words("api.md")

    assert [] == [name for name in named if f"`{name}`" not in text]


def test_every_endpoint_is_documented():
    text = words("api.md")
    paths = ("/", *REQUESTS, *OTHERS, *PUBLIC, "/metrics")

    assert [] == [path for path in paths if f" {path}`" not in text]


if __name__ == "__main__":
    PAGE = DOCS / "configuration.md"
    PAGE.write_text(TABLE.sub(lambda _: settings_table(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
