"""`python -m suites`: runs the checks and the test suites, shows how far they are, and counts what really ran.

The Makefile calls it. Suites that need no cluster come first; the others run on the cluster that `cluster up` gives. A suite that
did not run, ran nothing, or (in CI, where the variable CI is true) skipped a test counts as failed: nothing is left out silently.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import click

ROOT = Path(__file__).resolve().parents[1]
REPORTS = ROOT / "build" / "suites"
FAST_BUDGET = 120.0
"""Seconds that the suites without a cluster may take together."""


@dataclass(frozen=True, slots=True)
class Suite:
    """A folder of tests; `timeout` is for one test."""

    name: str
    where: str
    on_cluster: bool = False
    timeout: int = 60
    environment: tuple[tuple[str, str], ...] = ()


SUITES = (
    Suite("unit", "tests/unit"),
    Suite("shell", "tests/shell"),
    Suite("door", "tests/door"),
    Suite("runtime", "tests/runtime"),
    Suite("contract", "tests/contract"),
    Suite("charts", "tests/charts"),
    Suite("cluster", "tests/cluster", on_cluster=True, timeout=1800),
)

CHECKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("lint", ("ruff", "check", ".")),
    ("format", ("ruff", "format", "--check", ".")),
    ("types", ("mypy",)),
    ("layers", ("lint-imports", "--no-logo")),
    ("generated files", ("python", "-m", "perennial.api.crd", "--check")),
    ("guards", ("python", "-m", "pytest", "-q", "tests/unit/test_layout.py")),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a suite did."""

    name: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    problem: str = ""
    """Why it counts as failed although no test of it failed."""

    @property
    def failures(self) -> int:
        """Failed tests, or one for a suite that proves nothing."""
        return self.failed or (1 if self.problem else 0)


def counted(name: str, report: Path, code: int, seconds: float, *, strict: bool) -> Outcome:
    """The outcome that a junit report and pytest's exit code tell."""
    if not report.is_file():
        return Outcome(name, seconds=seconds, problem=f"wrote no report (exit code {code})")
    tests = failed = skipped = 0
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):  # noqa: S314 - our own pytest wrote it
        tests += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    passed = max(0, tests - failed - skipped)
    return Outcome(name, passed, failed, skipped, seconds, _problem(code, tests, failed, skipped, strict=strict))


def _problem(code: int, tests: int, failed: int, skipped: int, *, strict: bool) -> str:
    if tests == 0:
        return "ran no test"
    if skipped and strict:
        return f"skipped {skipped}, and CI allows none"
    if code != 0 and failed == 0:
        return f"pytest ended with {code}"
    return ""


def table(outcomes: Sequence[Outcome]) -> str:
    """The closing table and the closing line."""
    lines = [f"{'suite':<12}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}"]
    for one in outcomes:
        row = f"{one.name:<12}{one.passed:>8}{one.failed:>8}{one.skipped:>9}{one.seconds:>9.0f}"
        lines.append(f"{row}  {one.problem}".rstrip())
    passed, failed = sum(one.passed for one in outcomes), sum(one.failures for one in outcomes)
    return "\n".join([*lines, "", f"{passed} passed, {failed} failed"])


def _say(began: float, text: str) -> None:
    click.secho(f"[{time.monotonic() - began:4.0f}s] {text}", bold=True)
    sys.stdout.flush()


def _command(words: Sequence[str], environment: dict[str, str] | None = None) -> int:
    """Runs a program of the virtual environment in the repository's root; its exit code."""
    bin_directory = Path(sys.executable).parent
    path = os.pathsep.join([str(bin_directory), os.environ.get("PATH", "")])
    python_path = os.pathsep.join(str(ROOT / name) for name in ("operator", "serving", "dev"))
    program = sys.executable if words[0] == "python" else str(bin_directory / words[0])
    inherited = {**os.environ, "PATH": path, "PYTHONPATH": python_path, **(environment or {})}
    return subprocess.run([program, *words[1:]], cwd=ROOT, env=inherited, check=False).returncode


def _run_suite(suite: Suite, began: float) -> Outcome:
    _say(began, f"suite {suite.name}: {suite.where}")
    report = REPORTS / f"{suite.name}.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    start = time.monotonic()
    words = ["python", "-m", "pytest", suite.where, f"--junit-xml={report}", f"--timeout={suite.timeout}"]
    words += ["-v", "--durations=10"] if suite.on_cluster else ["-q", "--durations=3"]
    code = _command(words, dict(suite.environment))
    outcome = counted(suite.name, report, code, time.monotonic() - start, strict=_in_ci())
    _say(began, f"suite {suite.name}: {outcome.passed} passed, {outcome.failed} failed {outcome.problem}".rstrip())
    return outcome


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def _helm_is_there() -> bool:
    from cluster.settings import from_environment  # noqa: PLC0415 - the charts need only its path

    return (from_environment().bin / "helm").exists()


def _check(began: float) -> list[str]:
    """Names of the checks that failed."""
    failed = []
    for name, words in CHECKS:
        _say(began, f"check {name}: {' '.join(words)}")
        if _command(words) != 0:
            failed.append(name)
    return failed


def _fast(began: float, *, deferred: set[str]) -> list[Outcome]:
    start = time.monotonic()
    outcomes = [_run_suite(suite, began) for suite in SUITES if not suite.on_cluster and suite.name not in deferred]
    took = time.monotonic() - start
    if took > FAST_BUDGET:
        _say(began, f"the suites without a cluster took {took:.0f} s; the budget is {FAST_BUDGET:.0f} s")
    return outcomes


def _on_cluster(began: float, *, deferred: set[str]) -> list[Outcome]:
    suites = [suite for suite in SUITES if suite.on_cluster or suite.name in deferred]
    for what, words in (("cluster up", ("up",)), ("images", ("push",))):
        _say(began, f"{what}: python -m cluster {words[0]}")
        if _command(("python", "-m", "cluster", *words)) != 0:
            return [Outcome(suite.name, problem=f"did not run: {what} failed") for suite in suites]
    return [_run_suite(suite, began) for suite in suites]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Checks and test suites of this repository."""


@main.command()
def check() -> None:
    """Lint, format, types, layers, generated files, guards: everything of CI that is no test suite."""
    failed = _check(time.monotonic())
    click.echo(f"checks failed: {', '.join(failed)}" if failed else "all checks passed")
    sys.exit(1 if failed else 0)


@main.command()
@click.option("--fast", is_flag=True, help="Only the checks and the suites that need no cluster.")
@click.option("--only", multiple=True, type=click.Choice([suite.name for suite in SUITES]), help="Only this suite; repeatable.")
def test(fast: bool, only: tuple[str, ...]) -> None:
    """The checks, the suites that need no cluster, then the cluster and its suites; ends with the counts."""
    began = time.monotonic()
    outcomes = [_run_suite(suite, began) for suite in SUITES if suite.name in only] if only else _all(began, fast=fast)
    click.echo("\n" + table(outcomes))
    sys.exit(1 if any(one.failures for one in outcomes) else 0)


def _all(began: float, *, fast: bool) -> list[Outcome]:
    failed = _check(began)
    outcomes = [Outcome("check", len(CHECKS) - len(failed), len(failed), seconds=time.monotonic() - began)]
    # Helm is built with the cluster: on a bare machine the charts wait for it.
    deferred = set() if fast or _helm_is_there() else {"charts"}
    outcomes += _fast(began, deferred=deferred)
    if fast:
        return outcomes
    if any(one.failures for one in outcomes):
        reason = "did not run: fix the suites before it first"
        waiting = [suite.name for suite in SUITES if suite.on_cluster or suite.name in deferred]
        return outcomes + [Outcome(name, problem=reason) for name in waiting]
    return outcomes + _on_cluster(began, deferred=deferred)


if __name__ == "__main__":
    main()
