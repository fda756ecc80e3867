"""The README's smallest manifest and request, exactly as they are printed there, on real flights."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from cluster.settings import from_environment
from cluster_support.place import Place
from demo import flights

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text()


def block(language: str, holding: str) -> str:
    """The README's code block in this language that holds some text."""
    found = [text for text in re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL) if holding in text]
    assert len(found) == 1, f"the README has {len(found)} blocks of {language} with {holding!r}"
    return str(found[0])


def test_the_printed_manifest_is_the_example_and_has_under_thirty_lines() -> None:
    printed = block("yaml", "kind: ModelDeployment")
    assert printed == (REPOSITORY / "examples/smallest.yaml").read_text()
    assert len(printed.splitlines()) < 30


def test_the_printed_manifest_becomes_a_model_that_answers_the_printed_request(place: Place) -> None:
    table = flights.flights(flights.archive(from_environment().cache))
    place.ground.upload("flights", [(f"2013/{name}", content) for name, content in flights.month_files(table, [1, 2, 3])])
    # a path of its own: whoever has followed the README on this cluster has a model at the printed one
    manifest = block("yaml", "kind: ModelDeployment").replace("path: /late", f"path: /{place.namespace}/late")
    place.kubectl.run("apply", "--filename=-", given=manifest)
    place.serving(name="late")
    script = block("sh", "curl -s").replace("-n flights", f"-n {place.namespace}")
    program = Path(place.kubectl.program)
    environment = {**os.environ, "KUBECONFIG": str(place.kubectl.kubeconfig), "PATH": f"{program.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euc", script], capture_output=True, text=True, check=False, env=environment, cwd=REPOSITORY, timeout=60
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    printed = json.loads(block("json", "predictions"))
    assert answer["version"] == printed["version"] == "late-v1"
    assert answer["predictions"][0]["label"] == printed["predictions"][0]["label"]
    assert answer["predictions"][0]["score"] == pytest.approx(printed["predictions"][0]["score"], abs=0.15)
