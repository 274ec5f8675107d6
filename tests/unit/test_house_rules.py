"""Rules about the files of the project, not about what they do."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "librarian"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# uvicorn is told to use these by their names.
NAMED = {"httptools", "uvloop"}

REGISTRIES = re.compile(
    rb"pypi\.(?:org|python\.org)|pythonhosted\.org|npmjs\.(?:org|com)|yarnpkg\.com"
    rb"|^\s*(?:--(?:extra-)?index-url|--find-links|-i\s|-f\s)|\"resolved\":\s*\"http|https?://[^\s\"']+/simple\b",
    re.MULTILINE,
)
MACHINE_PATHS = re.compile(rb"(?<![\w.~-])/(?:root|work|workspace|Users)/[\w.]|(?<![\w.])/home/(?!librarian\b)\w")
LOCKS = {"uv.lock", "poetry.lock", "Pipfile.lock", "package-lock.json"}


def files_of_the_project():
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout: nobody can say which files are the project's")
    paths = (ROOT / name.decode() for name in listed.stdout.split(b"\0") if name)
    return [path for path in paths if path.is_file() and path != Path(__file__).resolve()]


def imported_modules(file):
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def places(pattern):
    return [
        f"{path.relative_to(ROOT)}: {found.group().decode(errors='replace').strip()}"
        for path in files_of_the_project()
        for found in pattern.finditer(path.read_bytes())
    ]


def test_the_domain_imports_the_standard_library_and_itself():
    strangers = {
        f"{file.relative_to(SOURCE)}: {module}"
        for file in (SOURCE / "domain").rglob("*.py")
        for module in imported_modules(file)
        if module.split(".")[0] not in sys.stdlib_module_names and not f"{module}.".startswith("librarian.domain.")
    }

    assert set() == strangers


def test_no_file_names_a_package_registry():
    assert [] == places(REGISTRIES)


def test_no_file_names_a_place_on_somebodys_machine():
    assert [] == places(MACHINE_PATHS)


def test_no_lock_that_records_where_packages_came_from():
    assert [] == [path.name for path in files_of_the_project() if path.name in LOCKS]


def test_every_dependency_is_in_use():
    distributions = packages_distributions()
    used = {
        canonicalize_name(distribution)
        for file in SOURCE.rglob("*.py")
        for module in imported_modules(file)
        for distribution in distributions.get(module.split(".")[0], ())
    }
    named = {
        node.value
        for file in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.Constant) and node.value in NAMED
    }

    declared = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}

    assert set() == declared - used - named


def test_every_dependency_is_pinned():
    pinned = dict(
        re.findall(r"^([a-z0-9.-]+)==(\S+)", (ROOT / "requirements" / "runtime.txt").read_text(), re.MULTILINE)
    )

    unmet = [
        requirement.name
        for requirement in map(Requirement, PROJECT["dependencies"])
        if not requirement.specifier.contains(pinned.get(canonicalize_name(requirement.name), "0"))
    ]

    assert [] == unmet
