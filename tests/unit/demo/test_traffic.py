"""The client of the demo: its tally, and the results file that is read while it grows."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from demo.traffic import UNKNOWN, Client, Tally


def test_an_answer_that_no_version_signed_counts_against_nobody_who_is_excused() -> None:
    tally = Tally()
    tally.add({"version": "delays-v3", "ok": False, "done": 1.0})
    tally.add({"version": None, "ok": False, "done": 2.0})
    assert tally.failures_but("delays-v3") == {UNKNOWN: 1}
    assert tally.requests == 2


def test_first_and_last_failure_do_not_depend_on_the_order_of_the_lines() -> None:
    tally = Tally()
    for done in (5.0, 3.0, 9.0):
        tally.add({"version": "v", "ok": False, "done": done})
    seen = tally.versions["v"]
    assert (seen.first_failure, seen.last_failure, seen.failures) == (3.0, 9.0, 3)


def test_reads_only_whole_lines_of_a_growing_file(tmp_path: Path) -> None:
    results = tmp_path / "answers.jsonl"
    client = Client(["true"], results, tmp_path / "log")
    line = json.dumps({"version": "v1", "ok": True, "done": 1.0}) + "\n"
    results.write_text(line + line[:10])
    assert client.look().requests == 1
    with results.open("a") as file:
        file.write(line[10:])
    assert client.look().requests == 2


def test_an_ended_generator_is_a_problem_told_in_its_own_words(tmp_path: Path) -> None:
    code = "print('cannot reach the gateway'); raise SystemExit(3)"
    with Client([sys.executable, "-c", code], tmp_path / "answers.jsonl", tmp_path / "log") as client:
        client._process.wait()  # type: ignore[union-attr]
        assert client.problem == "the load generator ended with 3: cannot reach the gateway"
        assert client.stop().requests == 0
