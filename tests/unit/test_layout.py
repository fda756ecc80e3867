"""Guards over the repository itself: source roots stay source roots, bad input stays proven, nothing half done is committed."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cluster_support import bad_inputs
from perennial import __version__

ROOT = Path(__file__).resolve().parents[2]
REFUSALS = list(range(1, 22))
SEVERAL = {2: 4, 3: 3, 10: 2, 11: 2}
"""Cases of a number that names more than one: secret, bucket, object, column; empty, truncated, wrong-typed; and so on."""
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X{3}|NotImplemented" + r"Error)\b")
SKIPPING = re.compile(r"pytest\.(mark\.)?(skip|skipif|xfail|importor" + r"skip)\b")
GENERATED = {".git", ".venv", ".tools", "build", "dist", "__pycache__"} | {
    f".{name}_cache" for name in ("mypy", "pytest", "ruff", "import_linter")
}
LICENCE_HEADING = "Apache License"


def tracked() -> Iterator[Path]:
    """Files that Git knows, or would add; of a tree without Git, those that nobody generated."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True) if shutil.which("git") else None
    if listed is not None and listed.returncode == 0:
        found = (ROOT / name for name in listed.stdout.splitlines())
    else:
        found = (path for path in ROOT.rglob("*") if GENERATED.isdisjoint(path.relative_to(ROOT).parts))
    yield from (path for path in found if path.is_file())


def numbers(tree: ast.AST, called: str) -> Iterator[int]:
    """The numbers written out in the calls of `cases(...)` or `pytest.mark.refusal(...)` of a test file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called == getattr(node.func, "attr", getattr(node.func, "id", "")):
            for argument in node.args:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, int):
                    yield argument.value


@pytest.mark.parametrize("folder", ["operator", "serving"])
def test_a_source_root_is_never_a_package(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists(), f"{folder}/ is a source root: `operator` is a standard module"


def test_every_case_of_bad_input_is_proven_on_the_cluster_by_its_number() -> None:
    trees = [ast.parse(path.read_text()) for path in (ROOT / "tests" / "cluster").rglob("test_*.py")]
    applied = Counter(case.number for case in bad_inputs.CASES)
    marked = {number for tree in trees for number in numbers(tree, "refusal")}
    looked_at = {number for tree in trees for number in numbers(tree, "cases")}
    assert sorted([*marked, *applied]) == REFUSALS, (
        "a number is marked on a test, or that of cases in bad_inputs.CASES: one of both"
    )
    assert looked_at == set(applied), "a test asks for cases(...) that are not there, or none asks for one that is"
    assert applied == {number: SEVERAL.get(number, 1) for number in applied}


def test_nothing_half_done_is_in_the_source() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked()
        if path.suffix in {".py", ".go", ".yaml", ".tpl"}
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert not found


def test_no_test_is_skipped_or_expected_to_fail() -> None:
    found = [str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("*.py") if SKIPPING.search(path.read_text())]
    assert not found


def test_no_test_patches_what_it_tests() -> None:
    patched = re.compile(r"mock\.pa" + r"tch|mocker\.pa" + r"tch")
    found = [str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("*.py") if patched.search(path.read_text())]
    assert not found


def test_every_source_file_says_what_it_is_for() -> None:
    silent = []
    for folder in ("operator/perennial", "serving/perennial_runtime", "dev"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            if text.strip() and ast.get_docstring(ast.parse(text)) is None:
                silent.append(str(path.relative_to(ROOT)))
    assert not silent


def test_the_operator_s_image_has_what_it_imports_of_the_runtime() -> None:
    copied = set(re.findall(r"serving/perennial_runtime/(\w+)\.py", (ROOT / "operator" / "Dockerfile").read_text()))
    imported = set()
    for path in (ROOT / "operator" / "perennial").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "perennial_runtime":
                imported |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("perennial_runtime."):
                imported.add((node.module or "").split(".")[1])
    assert copied - {"__init__"} == imported


def test_ci_runs_what_make_test_runs() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert "exec make test" in script.read_text()


def test_the_licence_is_apache() -> None:
    assert LICENCE_HEADING in (ROOT / "LICENSE").read_text()[:200]


def test_make_help_lists_every_target_that_is_promised() -> None:
    listed = subprocess.run(["make", "--no-print-directory", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for target in ("demo", "test", "check", "cluster", "cluster-down", "faults", "images", "bench", "crds", "venv"):
        assert f"make {target} " in listed


def test_one_version_of_package_program_and_charts() -> None:
    said = {"pyproject.toml": tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]}
    for file in sorted(ROOT.glob("charts/*/Chart.yaml")):
        chart = yaml.safe_load(file.read_text())
        said |= {f"{file.parent.name}: {key}": chart[key] for key in ("version", "appVersion")}
    assert said == dict.fromkeys(said, __version__)
