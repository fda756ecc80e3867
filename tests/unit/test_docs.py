"""docs/pains.md names tests that are there, and every relative link of the documentation leads somewhere."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAINS = (REPOSITORY / "docs/pains.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAINS)
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"), *(REPOSITORY / "examples").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s#]+)(?:#([^)\s]+))?\)")
INSTALLED = re.compile(r"pip install '[./\w]+\[([\w,]+)\]'")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def anchors(path: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", CODE.sub(lambda found: found[0].strip("`"), path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.strip().lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_test_that_answers_a_pain_is_there(file: str, name: str) -> None:
    path = REPOSITORY / file
    assert path.is_file()
    assert not name or name in functions(path)


def test_every_pain_is_answered() -> None:
    rows = re.findall(r"^\| (\d+) \|.*$", PAINS, re.MULTILINE)
    assert rows == [str(number) for number in range(1, 9)]
    assert all("`tests/" in line for line in PAINS.splitlines() if re.match(r"^\| \d+ \|", line))


def test_every_command_that_installs_perennial_names_extras_that_there_are() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    told = [(path.name, found) for path in DOCUMENTS for found in INSTALLED.findall(path.read_text())]
    assert {name for name, _ in told} >= {"README.md", "cli.md", "smoke.md", "trainers.md"}
    assert [(name, found) for name, found in told if not set(found.split(",")) <= extras.keys()] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_lead_somewhere(path: Path) -> None:
    astray = []
    for target, anchor in LINK.findall(CODE.sub("", path.read_text())):
        found = (path.parent / target).resolve()
        if not found.exists() or (anchor and found.suffix == ".md" and anchor not in anchors(found)):
            astray.append(f"{target}#{anchor}" if anchor else target)
    assert astray == []
