"""What Prometheus' own promtool says of the alerts, the dashboard's queries and the operator's series: each alert fires when it
should, and only then."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import generate_latest

from chart_support import CHARTS, SYSTEM, one, rendered
from cluster import host
from cluster.progress import Progress
from cluster.settings import from_environment
from perennial.api.evidence import MetricEvidence
from perennial.standing import TROUBLES, Standing
from perennial.telemetry import Telemetry

Manifest = dict[str, Any]
SCRAPED = f'namespace="{SYSTEM}",pod="perennial-1"'
SECOND = f'namespace="{SYSTEM}",pod="perennial-2"'
ELSEWHERE = 'namespace="elsewhere",pod="perennial-1"'
MODEL = {"namespace": SYSTEM, "model_namespace": "shop", "model": "delays"}
MINUTES = 60
"""So long every story is."""


def trouble(condition: str, reason: str = "Why", scraped: str = SCRAPED) -> str:
    labels = f'model_namespace="shop",model="delays",condition="{condition}",reason="{reason}"'
    return f"perennial_model_trouble{{{scraped},{labels}}}"


@dataclass(frozen=True)
class Story:
    """Series of an hour, a sample a minute in promtool's notation, and what they set off."""

    alert: str
    fires: Mapping[str, str]
    quiet: Mapping[str, str]
    """Series that look much the same and must not set it off."""
    labels: Mapping[str, str] = field(default_factory=lambda: {"namespace": SYSTEM})
    after: int = MINUTES
    """Minutes until it fires, and not a minute earlier; the default: some time in the hour."""


def of_model(alert: str, condition: str, minutes: int, reason: str = "Why") -> Story:
    """Trouble that lasts; the quiet one goes just before the alert's time, and another operator's is not ours."""
    short = f"1+0x{minutes - 1} stale"
    return Story(
        alert,
        fires={trouble(condition, reason): "1+0x60"},
        quiet={trouble(condition, reason): short, trouble(condition, reason, ELSEWHERE): "1+0x60"},
        labels=MODEL,
        after=minutes,
    )


def waits(growth_within: int, growth_over: int) -> dict[str, str]:
    """A histogram of waits: so many a minute of at most a second, and so many over that."""
    buckets = {
        "1.0": growth_within,
        "2.5": growth_within,
        "5.0": growth_within + growth_over,
        "+Inf": growth_within + growth_over,
    }
    return {f'perennial_queue_seconds_bucket{{{SCRAPED},le="{le}"}}': f"0+{growth}x60" for le, growth in buckets.items()}


def api(failing: int, code: str = "503") -> dict[str, str]:
    """A hundred requests a minute, some of which fail."""
    return {
        f'perennial_api_requests_total{{{SCRAPED},verb="get",code="200"}}': f"0+{100 - failing}x60",
        f'perennial_api_requests_total{{{SCRAPED},verb="get",code="{code}"}}': f"0+{failing}x60",
    }


PASSES = f'perennial_reconcile_total{{{SCRAPED},outcome="%s"}}'
DOOR = f"perennial_door_restarts_total{{{SCRAPED}}}"
STORIES = (
    Story(
        "PerennialDown",
        fires={f"perennial_watches_open{{{ELSEWHERE}}}": "1+0x60"},
        quiet={f"perennial_watches_open{{{SCRAPED}}}": "1+0x30 stale _x2 1+0x10 0+0x3 1+0x12"},
        after=5,
    ),
    Story(
        "PerennialDown",  # it runs, is measured and reopened once: a right to watch was lost
        fires={f"perennial_watches_open{{{SCRAPED}}}": "1+0x9 0+0x50", DOOR: "0+0x9 1+0x50"},
        quiet={f"perennial_watches_open{{{SCRAPED}}}": "0+0x60", f"perennial_watches_open{{{SECOND}}}": "1+0x60"},
        after=15,
    ),
    Story("PerennialWatchesBreak", fires={DOOR: "0+1x60"}, quiet={DOOR: "0+0.3x60"}),
    Story(
        "PerennialPassesFail",
        fires={PASSES % "failed": "0+1x60"},
        quiet={PASSES % "failed": "0+0.5x60", PASSES % "wrote": "0+60x60"},
    ),
    Story("PerennialQueueSlow", fires=waits(95, 5), quiet=waits(9999, 1)),
    Story("PerennialApiErrors", fires=api(6), quiet=api(4)),
    Story("PerennialApiErrors", fires=api(6, "0"), quiet=api(50, "404")),
    replace(of_model("PerennialCRDsOutdated", "CRDsOutdated", 15, "FieldsMissing"), labels={"namespace": SYSTEM}),
    of_model("PerennialModelNotReady", "Ready", 5, "PodsNotReady"),
    Story(
        "PerennialModelNotReady",
        fires={trouble("Ready", "PodsNotReady"): "1+0x20 _x40", trouble("Ready", "RouteNotAccepted"): "_x21 1+0x39"},
        quiet={trouble("Ready", "NoVersionServes"): "1+0x60"},
        labels=MODEL,
    ),
    of_model("PerennialModelNotReady", "Ready", 5, "VersionLost"),
    of_model("PerennialModelStuck", "WritesRefused", 15),
    of_model("PerennialRollbackBlocked", "RollbackBlocked", 1),
    of_model("PerennialRollbackBlocked", "ObjectiveMissed", 1, "NothingToReturnTo"),
    Story(
        "PerennialRollbackBlocked",
        fires={trouble("RollbackBlocked"): "1+0x20 _x40", trouble("ObjectiveMissed", "NothingToReturnTo"): "_x21 1+0x39"},
        quiet={trouble("ObjectiveMissed", "AskingStable"): "1+0x60"},
        labels=MODEL,
    ),
    of_model("PerennialBreachLeftToPerson", "Breached", 1),
    of_model("PerennialRolloutNotMeasured", "Measured", 5),
    of_model("PerennialMetricsNotAnswered", "MetricsAnswered", 10),
    of_model("PerennialRolloutInconclusive", "Inconclusive", 5),
    of_model("PerennialOutage", "Outage", 2),
    of_model("PerennialWishNotCarriedOut", "Accepted", 10),
    of_model("PerennialWishNotCarriedOut", "Pinned", 10),
    of_model("PerennialWishNotCarriedOut", "Quarantined", 10, "InputsQuarantined"),
    of_model("PerennialWishNotCarriedOut", "RequestUnknown", 10),
    of_model("PerennialLedgerNotStored", "LedgerStored", 60, "StoreUnavailable"),
    of_model("PerennialRetrainingStopped", "RetrainingStopped", 1, "StopAfterFailures"),
    of_model("PerennialDataNotPolled", "DataPolled", 30, "StoreUnavailable"),
    of_model("PerennialApprovalNeeded", "Approved", 10),
    replace(of_model("PerennialVersionNotFit", "UpToDate", 1, "Rejected"), labels={**MODEL, "reason": "Rejected"}),
)


@pytest.fixture(scope="module")
def promtool() -> Path:
    return host.promtool(from_environment(), Progress())


@pytest.fixture(scope="module")
def rules() -> Manifest:
    found: Manifest = one(rendered(alerts={"enabled": True}), "PrometheusRule")["spec"]
    return found


def alerts(rules: Manifest) -> dict[str, Manifest]:
    return {rule["alert"]: rule for rule in rules["groups"][0]["rules"]}


def told(rule: Manifest, labels: Mapping[str, str]) -> dict[str, str]:
    """The annotations with the labels' values in them, as Prometheus sends them."""
    return {
        name: re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels[found[1]], words)
        for name, words in rule["annotations"].items()
    }


def rounds() -> list[list[Story]]:
    """The stories, in rounds of at most one for each alert: those of a round share one run."""
    each = Counter[str]()
    found: dict[int, list[Story]] = {}
    for story in STORIES:
        found.setdefault(each[story.alert], []).append(story)
        each[story.alert] += 1
    return list(found.values())


def checks(story: Story, rule: Manifest, *, fires: bool) -> list[Manifest]:
    """That it fires in time, or in none of the minutes."""
    if not fires:
        return [{"eval_time": f"{minute}m", "alertname": story.alert, "exp_alerts": []} for minute in range(MINUTES + 1)]
    labels = {**story.labels, **rule["labels"]}
    expected = {"exp_labels": labels, "exp_annotations": told(rule, labels)}
    firing = [{"eval_time": f"{story.after}m", "alertname": story.alert, "exp_alerts": [expected]}]
    before = [{"eval_time": f"{story.after - 1}m", "alertname": story.alert, "exp_alerts": []}]
    return firing if story.after == MINUTES else [*before, *firing]


def case(stories: list[Story], known: Mapping[str, Manifest], *, fires: bool) -> Manifest:
    """One test of promtool's: an hour of these series."""
    series = {name: values for story in stories for name, values in (story.fires if fires else story.quiet).items()}
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [check for story in stories for check in checks(story, known[story.alert], fires=fires)],
    }


def run(promtool: Path, *words: str, given: str = "") -> str:
    done = subprocess.run([promtool, *words], input=given, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_finds_the_rules_well_formed(promtool: Path, rules: Manifest, tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(rules))
    assert f"SUCCESS: {len(rules['groups'][0]['rules'])} rules found" in run(promtool, "check", "rules", str(file))


def test_every_alert_fires_when_it_should_and_only_then(promtool: Path, rules: Manifest, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    tests = [case(stories, alerts(rules), fires=fires) for stories in rounds() for fires in (True, False)]
    file = tmp_path / "tests.yaml"
    file.write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}))
    run(promtool, "test", "rules", str(file))


def test_promtool_understands_every_query_of_the_dashboard(promtool: Path, tmp_path: Path) -> None:
    panels = json.loads((CHARTS / "perennial" / "files" / "dashboard.json").read_text())["panels"]
    queries = [target["expr"].replace("$__rate_interval", "5m") for panel in panels for target in panel.get("targets") or ()]
    assert len(queries) > 12
    recorded = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": recorded}]}))
    assert f"SUCCESS: {len(queries)} rules found" in run(promtool, "check", "rules", str(file))


def test_promtool_finds_the_operators_series_named_by_the_conventions(promtool: Path) -> None:
    telemetry = Telemetry(lambda: 0.0)
    telemetry.request("get", 200)
    telemetry.passed("quiet")
    evidence = MetricEvidence(name="errors", e=1.0, threshold=200.0)
    telemetry.model(("shop", "delays"), Standing("Canary", (("Measured", "PodsUnreachable"),), (evidence,), 3))
    run(promtool, "check", "metrics", given=generate_latest(telemetry.registry).decode())


def test_every_alert_has_a_story(rules: Manifest) -> None:
    assert {story.alert for story in STORIES} == alerts(rules).keys()


def test_every_kind_of_trouble_sets_off_an_alert(rules: Manifest) -> None:
    expressions = " ".join(rule["expr"] for rule in alerts(rules).values())
    selected = {name for found in re.findall(r'condition=~?"([^"]+)"', expressions) for name in found.split("|")}
    assert selected == TROUBLES.keys()


def test_every_alert_says_what_it_means_and_what_to_do(rules: Manifest) -> None:
    for name, rule in alerts(rules).items():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}, name
        assert 10 < len(rule["annotations"]["summary"]) < 110, name
        assert len(rule["annotations"]["description"]) > 100, name
