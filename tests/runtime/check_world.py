"""A trainer's outputs made by hand, and `perennial_runtime.check` over them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perennial_runtime import check, check_ground, check_outputs
from perennial_runtime.check_wish import Finding, Wish

ROOT = Path(__file__).parents[2]
COLUMNS = ("hour:feature", "carrier:feature:text", "at:time", "late:label", "flight:id")


def wish(root: Path, *options: str, columns: Sequence[str] = COLUMNS, command: Sequence[str] = ("true",)) -> Wish:
    """As the command line gives it."""
    described = [word for column in columns for word in ("--column", column)]
    return check._wish(check._parser().parse_args(["--root", str(root), *described, *options, "--", *command]))


def levels(findings: Sequence[Finding]) -> dict[str, list[str]]:
    """What each level says, as name: words."""
    found: dict[str, list[str]] = {"ok": [], "note": [], "wrong": []}
    for one in findings:
        found[one.level].append(f"{one.what}: {one.found}" + (f" -> {one.todo}" if one.todo else ""))
    return found


def trained(root: Path, script: Path, *options: str, **environment: str) -> list[Finding]:
    """What is found of the outputs of a script that was run where the inputs lie, by the user who runs this."""
    wanted = wish(root, "--rows", "400", *options)
    with check_ground.ground(wanted, None) as ground:
        paths = os.pathsep.join([str(ROOT / "serving"), os.environ.get("PYTHONPATH", "")])
        given: dict[str, Any] = {**check_ground.environment(wanted, ground), "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, str(script)], env=given | environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return list(check_outputs.findings(wanted, ground))
