"""The suite runner counts what really ran, and leaves nothing out silently."""

from __future__ import annotations

from pathlib import Path

import pytest

import suites
from suites import Outcome, Suite, counted, environment, later, pytest_words, table, together

ROOT = Path(__file__).resolve().parents[3]
UNIT, SHELL = Suite("unit", "tests/unit"), Suite("shell", "tests/shell")
CYCLE = Suite("provisioner", "tests/cluster/cycle_provisioner.py", on_cluster=True)


def report(folder: Path, *cases: tuple[str, str]) -> Path:
    """A junit report: for each test its module and what became of it ('' for passed)."""
    path = folder / "report.xml"
    tests = "".join(
        f'<testcase classname="{module}" name="test_{number}" time="0.5">{f"<{what}/>" if what else ""}</testcase>'
        for number, (module, what) in enumerate(cases)
    )
    path.write_text(f"<testsuites><testsuite>{tests}</testsuite></testsuites>")
    return path


def passed(module: str, count: int = 1) -> list[tuple[str, str]]:
    return [(module, "")] * count


def only(folder: Path, *cases: tuple[str, str], code: int = 1, strict: bool = False) -> Outcome:
    """The outcome of the suite `unit`, run alone."""
    return counted([UNIT], report(folder, *cases), code, strict=strict)[0]


def test_counts_passed_failed_and_skipped(tmp_path: Path) -> None:
    ended = [("tests.unit.b", what) for what in ("failure", "failure", "error", "skipped", "skipped")]
    outcome = only(tmp_path, *passed("tests.unit.core.a", 4), *ended)
    assert (outcome.passed, outcome.failed, outcome.skipped, outcome.failures, outcome.seconds) == (4, 3, 2, 3, 4.5)


def test_suites_that_ran_together_are_counted_apart(tmp_path: Path) -> None:
    cases = [*passed("tests.unit.a", 3), ("tests.shell.test_crash", "failure"), *passed("tests.shell.test_story", 2)]
    unit, shell = counted([UNIT, SHELL], report(tmp_path, *cases), 1, strict=False)
    assert (unit.passed, unit.failures, shell.passed, shell.failures) == (3, 0, 2, 1)


def test_a_class_in_a_module_and_a_suite_of_one_file_are_found(tmp_path: Path) -> None:
    cases = [*passed("tests.cluster.cycle_provisioner.TestDown"), *passed("tests.cluster.cycle_provisioner")]
    assert counted([CYCLE], report(tmp_path, *cases), 0, strict=True)[0].passed == 2


def test_a_folder_whose_name_only_begins_alike_is_another(tmp_path: Path) -> None:
    assert only(tmp_path, *passed("tests.unit_support.a"), code=0).problem == "ran no test"


def test_a_file_that_could_not_be_imported_is_a_failure_of_its_suite(tmp_path: Path) -> None:
    path = tmp_path / "report.xml"
    path.write_text(
        '<testsuites><testsuite><testcase classname="" name="tests.shell.test_x"><error/></testcase></testsuite></testsuites>'
    )
    unit, shell = counted([UNIT, SHELL], path, 2, strict=False)
    assert (unit.problem, shell.failures) == ("ran no test", 1)


def test_a_suite_that_ran_nothing_has_failed(tmp_path: Path) -> None:
    outcome = only(tmp_path, code=5)
    assert (outcome.problem, outcome.failures) == ("ran no test", 1)


def test_suites_without_a_report_have_failed(tmp_path: Path) -> None:
    outcomes = counted([UNIT, SHELL], tmp_path / "none.xml", 137, strict=False)
    assert [(one.problem, one.failures) for one in outcomes] == [("wrote no report (exit code 137)", 1)] * 2


@pytest.mark.parametrize(("strict", "failures"), [(True, 1), (False, 0)])
def test_a_skipped_test_is_a_failure_in_ci(tmp_path: Path, strict: bool, failures: int) -> None:
    assert only(tmp_path, *passed("tests.unit.a"), ("tests.unit.a", "skipped"), code=0, strict=strict).failures == failures


def test_a_bad_exit_code_that_no_failed_test_explains_is_a_failure_of_all(tmp_path: Path) -> None:
    cases = [*passed("tests.unit.a"), *passed("tests.shell.a")]
    outcomes = counted([UNIT, SHELL], report(tmp_path, *cases), 3, strict=False)
    assert [one.problem for one in outcomes] == ["pytest ended with 3"] * 2


def test_the_last_line_is_the_count_alone() -> None:
    lines = table([Outcome("unit", passed=5), Outcome("cluster", problem="did not run")]).splitlines()
    assert lines[-1] == "5 passed, 1 failed"
    assert "did not run" in lines[2]


def test_every_folder_of_tests_belongs_to_a_suite() -> None:
    known = {Path(suite.where).name for suite in suites.SUITES}
    folders = {path.parent.relative_to(ROOT / "tests").parts[0] for path in (ROOT / "tests").rglob("test_*.py")}
    assert folders <= known


def test_every_suite_is_there() -> None:
    assert [suite.where for suite in suites.SUITES if not (ROOT / suite.where).exists()] == []


def test_suites_that_need_no_cluster_come_first() -> None:
    order = [suite.on_cluster for suite in suites.SUITES]
    assert order == sorted(order)
    assert Suite("x", "tests/x").timeout == 60


def test_in_ci_the_cycle_of_the_cluster_is_required_and_comes_last() -> None:
    required, left_out = later(frozenset(), ci=True)
    assert [suite.name for suite in required] == ["training", "cluster", "alone", "faults", "provisioner"]
    assert left_out == []


def test_elsewhere_the_cluster_that_is_up_stays_and_the_table_says_why() -> None:
    required, left_out = later(frozenset({"charts"}), ci=False)
    assert [suite.name for suite in required] == ["charts", "training", "cluster", "alone", "faults"]
    lines = table([Outcome("unit", passed=3), *left_out]).splitlines()
    assert lines[2].split(maxsplit=5)[5] == "left out: it removes the cluster that is up; make cluster-cycle runs it"
    assert lines[-1] == "3 passed, 0 failed"


def test_suites_without_a_cluster_run_in_one_go_and_share_whole_files(tmp_path: Path) -> None:
    assert together([UNIT, SHELL, CYCLE]) == [[UNIT, SHELL], [CYCLE]]
    words = pytest_words([UNIT, SHELL], tmp_path)
    assert {"tests/unit", "tests/shell", "--numprocesses=2", "--dist=loadfile"} <= set(words)


def test_suites_on_the_cluster_run_alone_and_in_one_process(tmp_path: Path) -> None:
    assert together([CYCLE, CYCLE]) == [[CYCLE], [CYCLE]]
    assert not [word for word in pytest_words([CYCLE], tmp_path) if word.startswith(("--num", "--dist", "-m="))]


def test_suites_that_wait_share_the_processes_and_what_takes_the_ground_away_comes_after_them(tmp_path: Path) -> None:
    one, other, alone = (suite for suite in suites.SUITES if suite.where in {"tests/training", "tests/cluster"})
    assert together([one, other, alone, CYCLE]) == [[one, other], [alone], [CYCLE]]
    words = pytest_words([one, other], tmp_path)
    assert {"tests/training", "tests/cluster", "-m=not alone", "--numprocesses=2", "--dist=loadfile"} <= set(words)
    assert "-m=alone" in pytest_words([alone], tmp_path)
    assert not [word for word in pytest_words([alone], tmp_path) if word.startswith("--num")]


def test_programs_keep_the_modules_that_they_compiled_whatever_the_shell_says() -> None:
    found = environment({"PYTHONDONTWRITEBYTECODE": "1", "PATH": "/bin", "CI": "true"})
    assert "PYTHONDONTWRITEBYTECODE" not in found
    assert found["CI"] == "true"
    assert found["PATH"].endswith(":/bin")
