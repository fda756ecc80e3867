"""The suite runner counts what really ran, and lets nothing be left out silently."""

from __future__ import annotations

from pathlib import Path

import pytest

import suites
from suites import Outcome, Suite, counted, table

ROOT = Path(__file__).resolve().parents[3]


def report(folder: Path, *, tests: int = 3, failures: int = 0, errors: int = 0, skipped: int = 0) -> Path:
    path = folder / "unit.xml"
    path.write_text(
        f'<testsuites><testsuite tests="{tests}" failures="{failures}" errors="{errors}" skipped="{skipped}"/></testsuites>'
    )
    return path


def test_counts_passed_failed_and_skipped(tmp_path: Path) -> None:
    outcome = counted("unit", report(tmp_path, tests=10, failures=2, errors=1, skipped=3), 1, 4.0, strict=False)
    assert (outcome.passed, outcome.failed, outcome.skipped, outcome.failures) == (4, 3, 3, 3)


def test_a_suite_that_ran_nothing_has_failed(tmp_path: Path) -> None:
    outcome = counted("unit", report(tmp_path, tests=0), 5, 1.0, strict=False)
    assert (outcome.problem, outcome.failures) == ("ran no test", 1)


def test_a_suite_without_a_report_has_failed(tmp_path: Path) -> None:
    outcome = counted("unit", tmp_path / "none.xml", 137, 1.0, strict=False)
    assert (outcome.problem, outcome.failures) == ("wrote no report (exit code 137)", 1)


@pytest.mark.parametrize(("strict", "failures"), [(True, 1), (False, 0)])
def test_a_skipped_test_is_a_failure_in_ci(tmp_path: Path, strict: bool, failures: int) -> None:
    assert counted("unit", report(tmp_path, skipped=1), 0, 1.0, strict=strict).failures == failures


def test_a_bad_exit_code_is_a_failure_although_every_test_passed(tmp_path: Path) -> None:
    assert counted("unit", report(tmp_path), 3, 1.0, strict=False).problem == "pytest ended with 3"


def test_the_last_line_is_the_count_alone() -> None:
    lines = table([Outcome("unit", passed=5), Outcome("cluster", problem="did not run")]).splitlines()
    assert lines[-1] == "5 passed, 1 failed"
    assert "did not run" in lines[2]


def test_every_folder_of_tests_belongs_to_a_suite() -> None:
    known = {Path(suite.where).name for suite in suites.SUITES} | {"benchmarks"}
    folders = {path.parent.relative_to(ROOT / "tests").parts[0] for path in (ROOT / "tests").rglob("test_*.py")}
    assert folders <= known


def test_suites_that_need_no_cluster_come_first() -> None:
    order = [suite.on_cluster for suite in suites.SUITES]
    assert order == sorted(order)
    assert Suite("x", "tests/x").timeout == 60
