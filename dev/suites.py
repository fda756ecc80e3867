"""`python -m suites`: runs the checks and the test suites, shows how far they are, and counts what really ran.

The Makefile calls it. Suites that need no cluster come first, all in one go; the others run on the cluster that `cluster up`
gives. Those that mostly wait share two processes; tests that take away what the others stand on (the marker `alone`) come after
them, and then the rest, one by one. A suite that did not run, ran nothing, or (in CI, where the variable CI is true) skipped a
test counts as failed: nothing is left out silently. One suite takes the cluster itself down: it comes last and runs in CI alone,
and elsewhere the closing table says so.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import click

from cluster.progress import Progress

ROOT = Path(__file__).resolve().parents[1]
REPORTS = ROOT / "build" / "suites"
FAST_BUDGET = 300.0
"""Seconds that the suites without a cluster may take together, on two cores that do nothing else."""
FAST_TIMEOUT = 60
"""Seconds for one test of those."""
WORKERS = 2
"""Processes that share the tests without a cluster, and the suites that wait. Each imports it all once, not suite by suite."""


@dataclass(frozen=True, slots=True)
class Suite:
    """A folder or file of tests; `timeout` is for one test, in seconds."""

    name: str
    where: str
    on_cluster: bool = False
    timeout: int = FAST_TIMEOUT
    left_out: str = ""
    """Why it runs nowhere but in CI, unless it is asked for by name."""
    waits: bool = False
    """It mostly waits for the cluster: its files share the processes with those of the other suites that do."""
    marked: str = ""
    """Only tests of whose markers this holds, as pytest's -m takes it."""
    shown: bool = False
    """What it prints is shown as it comes: its one fixture takes minutes, or an hour."""


SUITES = (
    # The files with long tests first: so no process is left alone with one at the end
    Suite("charts", "tests/charts"),
    Suite("runtime", "tests/runtime"),
    Suite("shell", "tests/shell"),
    Suite("door", "tests/door"),
    Suite("contract", "tests/contract"),
    Suite("unit", "tests/unit"),
    Suite("training", "tests/training", on_cluster=True, timeout=1800, waits=True, marked="not alone"),
    Suite("cluster", "tests/cluster", on_cluster=True, timeout=1800, waits=True, marked="not alone"),
    Suite("alone", "tests/cluster", on_cluster=True, timeout=1800, marked="alone"),
    Suite("faults", "tests/faults", on_cluster=True, timeout=7200, shown=True),
    Suite(
        "provisioner",
        "tests/cluster/cycle_provisioner.py",
        on_cluster=True,
        timeout=900,
        left_out="it removes the cluster that is up; make cluster-cycle runs it",
    ),
)

CHECKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("lint", ("ruff", "check", ".")),
    ("format", ("ruff", "format", "--check", ".")),
    ("types", ("mypy",)),
    ("layers", ("lint-imports", "--no-logo")),
    ("generated files", ("python", "-m", "perennial.api.crd", "--check")),
    ("generated pages", ("python", "-m", "perennial.cli.reference", "--check")),
    ("generated dashboard", ("python", "-m", "dashboard", "--check")),
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
    """That its tests took. Those of suites that run together overlap."""
    problem: str = ""
    """Why it counts as failed although no test of it failed."""
    left_out: str = ""
    """Why it did not run, where that is as it should be."""

    @property
    def failures(self) -> int:
        """Failed tests, or one for a suite that proves nothing."""
        return self.failed or (1 if self.problem else 0)


def counted(suites: Sequence[Suite], report: Path, code: int, *, strict: bool) -> list[Outcome]:
    """The outcomes of suites that ran together, from their one junit report and pytest's exit code."""
    if not report.is_file():
        return [Outcome(suite.name, problem=f"wrote no report (exit code {code})") for suite in suites]
    tests = list(ElementTree.parse(report).getroot().iter("testcase"))  # noqa: S314 - our own pytest wrote it
    outcomes = [_tally(suite, [test for test in tests if _is_of(test, suite)]) for suite in suites]
    unexplained = code if not any(one.failed for one in outcomes) else 0
    return [replace(one, problem=_problem(one, unexplained, strict=strict)) for one in outcomes]


def _is_of(test: ElementTree.Element, suite: Suite) -> bool:
    """By its module; for a file that could not be imported pytest puts that into the name."""
    module = test.get("classname") or test.get("name", "")
    where = suite.where.removesuffix(".py").replace("/", ".")
    return f"{module}.".startswith(f"{where}.")


def _tally(suite: Suite, tests: Sequence[ElementTree.Element]) -> Outcome:
    """A test whose clean-up failed too stands there twice, and counts as two failures."""
    failed = sum(test.find("failure") is not None or test.find("error") is not None for test in tests)
    skipped = sum(test.find("skipped") is not None for test in tests)
    seconds = sum(float(test.get("time", 0)) for test in tests)
    return Outcome(suite.name, len(tests) - failed - skipped, failed, skipped, seconds)


def _problem(one: Outcome, unexplained: int, *, strict: bool) -> str:
    if not one.passed + one.failed + one.skipped:
        return "ran no test"
    if one.skipped and strict:
        return f"skipped {one.skipped}, and CI allows none"
    return f"pytest ended with {unexplained}" if unexplained else ""


def table(outcomes: Sequence[Outcome]) -> str:
    """The closing table and the closing line."""
    lines = [f"{'suite':<12}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}"]
    for one in outcomes:
        row = f"{one.name:<12}{one.passed:>8}{one.failed:>8}{one.skipped:>9}{one.seconds:>9.0f}"
        words = f"left out: {one.left_out}" if one.left_out else one.problem
        lines.append(f"{row}  {words}".rstrip())
    passed, failed = sum(one.passed for one in outcomes), sum(one.failures for one in outcomes)
    return "\n".join([*lines, "", f"{passed} passed, {failed} failed"])


def _say(began: float, text: str) -> None:
    click.secho(f"[{time.monotonic() - began:4.0f}s] {text}", bold=True)
    sys.stdout.flush()


def _command(words: Sequence[str]) -> int:
    """Runs a program of the virtual environment in the repository's root; its exit code."""
    program = sys.executable if words[0] == "python" else str(Path(sys.executable).parent / words[0])
    return subprocess.run([program, *words[1:]], cwd=ROOT, env=environment(os.environ), check=False).returncode


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Of what is run: the virtual environment's programs, our packages, and compiled modules that are kept. Tests start Python
    hundreds of times, and what is compiled anew each time takes half of a start's CPU."""
    path = os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", "")])
    python_path = os.pathsep.join(str(ROOT / name) for name in ("operator", "serving", "dev"))
    kept = {name: value for name, value in inherited.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PATH": path, "PYTHONPATH": python_path}


def pytest_words(suites: Sequence[Suite], report: Path) -> list[str]:
    """The command that runs suites together. A file of tests stays in one process: its tests may share what is dear to make."""
    words = ["python", "-m", "pytest", *(suite.where for suite in suites), f"--junit-xml={report}"]
    words.append(f"--timeout={max(suite.timeout for suite in suites)}")
    words += [f"-m={mark}" for mark in {suite.marked for suite in suites} if mark]
    if all(suite.waits or not suite.on_cluster for suite in suites):
        words += [f"--numprocesses={WORKERS}", "--dist=loadfile", "--no-loadscope-reorder"]
    if not any(suite.on_cluster for suite in suites):
        return [*words, "-q", "--durations=5"]
    return [*words, "-v", "--durations=10", *(["--capture=no"] if all(suite.shown for suite in suites) else [])]


def _run(suites: Sequence[Suite], began: float) -> list[Outcome]:
    """Runs suites together; their outcomes."""
    names = ", ".join(suite.name for suite in suites)
    _say(began, f"{'suites' if len(suites) > 1 else 'suite'} {names}")
    report = REPORTS / f"{'-'.join(suite.name for suite in suites)}.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    code = _command(pytest_words(suites, report))
    outcomes = counted(suites, report, code, strict=_in_ci())
    for one in outcomes:
        _say(began, f"suite {one.name}: {one.passed} passed, {one.failed} failed {one.problem}".rstrip())
    return outcomes


def together(suites: Sequence[Suite]) -> list[list[Suite]]:
    """Those without a cluster in one go, then those that wait for it, and the others one by one."""
    without = [suite for suite in suites if not suite.on_cluster]
    waiting = [suite for suite in suites if suite.waits]
    rest = [[suite] for suite in suites if suite.on_cluster and not suite.waits]
    return [group for group in (without, waiting, *rest) if group]


def _run_all(suites: Sequence[Suite], began: float) -> list[Outcome]:
    return [outcome for group in together(suites) for outcome in _run(group, began)]


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


def _fast(began: float, *, deferred: Set[str]) -> list[Outcome]:
    start = time.monotonic()
    outcomes = _run_all([suite for suite in SUITES if not suite.on_cluster and suite.name not in deferred], began)
    took = time.monotonic() - start
    over = "OVER THE BUDGET: " if took > FAST_BUDGET else ""
    _say(began, f"{over}the suites without a cluster took {took:.0f} s; the budget is {FAST_BUDGET:.0f} s")
    return outcomes


def later(deferred: Set[str], *, ci: bool) -> tuple[list[Suite], list[Outcome]]:
    """Suites that need the cluster (those put off until it is built among them), and outcomes for those that are left out."""
    suites = [suite for suite in SUITES if suite.on_cluster or suite.name in deferred]
    omitted = [suite for suite in suites if suite.left_out and not ci]
    return [suite for suite in suites if suite not in omitted], [Outcome(one.name, left_out=one.left_out) for one in omitted]


def _on_cluster(began: float, suites: Sequence[Suite]) -> list[Outcome]:
    steps: tuple[tuple[str, Callable[[], bool]], ...] = (
        ("cluster up", lambda: _command(("python", "-m", "cluster", "up")) == 0),
        ("ground", _ground_is_there),
        ("images", lambda: _command(("python", "-m", "cluster", "push")) == 0),
    )
    for what, carried_out in steps:
        _say(began, what)
        if not carried_out():
            return [Outcome(suite.name, problem=f"did not run: {what} failed") for suite in suites]
    return _run_all(suites, began)


def _ground_is_there() -> bool:
    """Whether the cluster can carry the suites; a user's may lack pieces, which is told before images are built for it."""
    from demo.ground import ClusterError, Ground, GroundError  # noqa: PLC0415 - only for the cluster suites
    from demo.kubectl import KubectlError  # noqa: PLC0415

    try:
        Ground.found(Progress())
    except (ClusterError, GroundError, KubectlError) as error:
        click.echo(error)
        return False
    return True


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
    outcomes = _run_all([suite for suite in SUITES if suite.name in only], began) if only else _all(began, fast=fast)
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
    suites, left_out = later(deferred, ci=_in_ci())
    if any(one.failures for one in outcomes):
        reason = "did not run: fix the suites before it first"
        return outcomes + [Outcome(suite.name, problem=reason) for suite in suites] + left_out
    return outcomes + _on_cluster(began, suites) + left_out


if __name__ == "__main__":
    main()
