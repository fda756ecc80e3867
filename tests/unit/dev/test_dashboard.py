"""The Grafana dashboard: what the file in the chart has to be, and that its queries can be answered."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from prometheus_client.metrics_core import Metric

import dashboard
from perennial.api.evidence import MetricEvidence
from perennial.standing import Standing
from perennial.telemetry import Telemetry

ROOT = Path(__file__).resolve().parents[3]
SERIES = re.compile(r"\b((?:perennial|process)_\w+)")
ALERTS = ROOT / "charts" / "perennial" / "templates" / "alerts.yaml"
PAGE = ROOT / "docs" / "monitoring.md"
WANTED = {
    "Models by state",
    "Trouble",
    "Time in each state",
    "Rollouts by outcome",
    "Evidence against its threshold",
    "Alpha used",
    "Passes",
    "Duration of a pass",
    "Queue",
    "API requests",
    "API errors",
    "Memory",
}


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(dashboard.text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def families() -> list[Metric]:
    """Every family with a sample: of an operator that has seen something of everything."""
    telemetry = Telemetry(lambda: 0.0)
    telemetry.request("get", 200)
    telemetry.passed("quiet")
    evidence = MetricEvidence(name="errors", e=1.0, threshold=200.0)
    telemetry.model(("shop", "delays"), Standing("Canary", (("Measured", "PodsUnreachable"),), (evidence,), 3))
    found = list(telemetry.registry.collect())
    assert all(family.samples for family in found)
    return found


def exported() -> set[str]:
    """Names of series as Prometheus keeps them; of the operator's own process those too."""
    return {name for family in families() for name in names(family)}


def names(family: Metric) -> set[str]:
    match family.type:
        case "counter":
            return {f"{family.name}_total"}
        case "histogram":
            return {f"{family.name}_{part}" for part in ("bucket", "sum", "count")}
        case _:
            return {family.name}


def test_the_file_in_the_chart_is_what_the_program_writes() -> None:
    assert (ROOT / dashboard.FILE).read_text() == dashboard.text()


def test_everything_that_is_to_be_seen_has_a_panel_that_asks_and_says_what_it_is() -> None:
    assert {panel["title"] for panel in panels()} >= WANTED
    for panel in panels():
        assert panel["description"], panel["title"]
        assert panel["targets"], panel["title"]
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters), panel["title"]


def test_no_panel_lies_over_another() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in panels():
        where = panel["gridPos"]
        for x in range(where["x"], where["x"] + where["w"]):
            for y in range(where["y"], where["y"] + where["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
                assert x < 24


def test_every_panel_asks_only_for_series_that_the_operator_has_and_only_of_the_chosen_operator() -> None:
    for panel in panels():
        for target in panel["targets"]:
            named = set(SERIES.findall(target["expr"]))
            assert named, panel["title"]
            assert named <= exported(), panel["title"]
            assert target["expr"].count("{") == target["expr"].count('{job=~"$job"'), panel["title"]


def test_the_choices_are_made_of_series_that_the_operator_has() -> None:
    for variable in json.loads(dashboard.text())["templating"]["list"][1:]:
        assert set(SERIES.findall(variable["query"])) <= exported()


def test_every_alert_speaks_of_series_that_the_operator_has() -> None:
    expressions = re.findall(r"^ +(?:expr: .*|[^:\n]*perennial_.*)$", ALERTS.read_text(), re.MULTILINE)
    named = set(SERIES.findall("\n".join(expressions)))
    assert len(named) > 4
    assert named <= exported()


def test_every_series_of_the_operator_is_documented_and_no_other() -> None:
    documented = set(re.findall(r"^\| `((?:perennial|process)_\w+)", PAGE.read_text(), re.MULTILINE))
    own = {f"{family.name}_total" if family.type == "counter" else family.name for family in families()}
    assert documented == own


def test_labels_of_series_are_documented() -> None:
    text = PAGE.read_text()
    for family in families():
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        documented = re.search(rf"^\| `{family.name}(?:_total)?(?:\{{([\w,]+)\}})?`", text, re.MULTILINE)
        assert documented, family.name
        assert labels <= set((documented[1] or "").split(",")), family.name


def test_every_alert_is_documented_with_its_severity() -> None:
    documented = dict(re.findall(r"^\| `(Perennial\w+)` \| (\w+) \|", PAGE.read_text(), re.MULTILINE))
    written = re.findall(r"alert: (\w+)\n(?:.*\n)*?\s+labels: \{severity: (\w+)[,}]", ALERTS.read_text())
    assert documented == dict(written)
