"""The Grafana dashboard of the operator: `python -m dashboard` writes it into the chart (--check: ends with 1 when it is stale).

Its panels ask for the series that docs/monitoring.md lists.
"""

from __future__ import annotations

import string
import sys
from itertools import count
from pathlib import Path

import click
from grafana_foundation_sdk.builders.common import ScaleDistributionConfig as Scale
from grafana_foundation_sdk.builders.common import StackingConfig
from grafana_foundation_sdk.builders.dashboard import Dashboard, DatasourceVariable, QueryVariable, Row
from grafana_foundation_sdk.builders.prometheus import Dataquery as Query
from grafana_foundation_sdk.builders.table import Panel as Table
from grafana_foundation_sdk.builders.timeseries import Panel as Graph
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import ScaleDistribution, StackingMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef, DataTransformerConfig, VariableRefresh, VariableSort
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

FILE = Path("charts/perennial/files/dashboard.json")
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
JOB = 'job=~"$job"'
MODEL = f'{JOB}, model_namespace=~"$namespace", model=~"$model"'
NAMED = "{{model_namespace}}/{{model}} {{metric}}"
WIDTH, HEIGHT = 8, 8
"""Three panels beside each other."""


def asked(expression: str, legend: str = "") -> Query:
    """One query of a panel."""
    return Query().datasource(SOURCE).expr(expression).legend_format(legend)


def graph(title: str, unit: str, words: str, *queries: Query) -> Graph:
    """A panel over time."""
    panel = Graph().title(title).description(words).datasource(SOURCE).unit(unit).min(0).span(WIDTH).height(HEIGHT)
    for name, query in zip(string.ascii_uppercase, queries, strict=False):
        panel = panel.with_target(query.ref_id(name))
    return panel


def by_powers(panel: Graph, least: float) -> Graph:
    """The panel with a logarithmic axis, which begins at `least`: it has no zero."""
    return panel.scale_distribution(Scale().type(ScaleDistribution.LOG).log(10)).min(least)


def quantile(share: float, series: str, by: str, span: str) -> str:
    """So much of what a histogram saw in the span was at most this."""
    return f"histogram_quantile({share}, sum by ({by}) (rate({series}_bucket{{{JOB}}}[{span}])))"


def dashboard() -> Dashboard:
    """All of it."""
    page = Dashboard("Perennial").uid("perennial").tags(["perennial", "machine-learning"]).readonly().timezone("browser")
    page = page.time("now-6h", "now").refresh("30s").with_variable(DatasourceVariable("datasource").type("prometheus"))
    for name, label, query in (
        ("job", "Operator", "label_values(perennial_queue_depth, job)"),
        (
            "namespace",
            "Namespace",
            'label_values({__name__=~"perennial_model_trouble|perennial_rollout_evidence"}, model_namespace)',
        ),
        ("model", "Model", 'label_values({__name__=~"perennial_model_trouble|perennial_rollout_evidence"}, model)'),
    ):
        page = page.with_variable(_choice(name, label, query))
    numbers = count(1)
    for row, panels in (("Models", of_models()), ("Rollouts", of_rollouts()), ("The operator", of_the_operator())):
        page = page.with_row(Row(row).id(next(numbers)))
        for panel in panels:
            page = page.with_panel(panel.id(next(numbers)))
    return page


def _choice(name: str, label: str, query: str) -> QueryVariable:
    choice = QueryVariable(name).label(label).datasource(SOURCE).query(query).sort(VariableSort.ALPHABETICAL_ASC)
    return choice.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).multi(True).include_all(True).all_value(".*")


def of_models() -> list[Graph | Table]:
    """How they stand, what is wrong, and how long their versions take."""
    states = graph(
        "Models by state",
        "short",
        "By the first word of their summary.",
        asked(f"sum by (state) (perennial_models{{{JOB}}})", "{{state}}"),
    )
    trouble = Table().title("Trouble").description("Conditions that ask for attention: kubectl describe mdep says more.")
    trouble = trouble.datasource(SOURCE).span(WIDTH).height(HEIGHT).no_value("none")
    by = "model_namespace, model, condition, reason"
    found = asked(f"max by ({by}) (perennial_model_trouble{{{MODEL}}})").instant().format(PromQueryFormat.TABLE).ref_id("A")
    columns = DataTransformerConfig(id_val="organize", options={"excludeByName": {"Time": True, "Value": True}})
    trouble = trouble.with_target(found).with_transformation(columns)
    stays = graph(
        "Time in each state",
        "s",
        "Of versions that left the state in the day before: median, and what 95 % stayed within.",
        asked(quantile(0.5, "perennial_version_state_seconds", "le, state", "1d"), "{{state}}, median"),
        asked(quantile(0.95, "perennial_version_state_seconds", "le, state", "1d"), "{{state}}, 95 %"),
    )
    stacked = StackingConfig().mode(StackingMode.NORMAL)
    return [
        states.stacking(stacked).fill_opacity(40),
        trouble,
        by_powers(stays, 1),
    ]


def of_rollouts() -> list[Graph | Table]:
    """How they end, and what is known of those under way."""
    ends = graph(
        "Rollouts by outcome",
        "short",
        "That ended in the hour before.",
        asked(f"sum by (outcome) (increase(perennial_rollouts_total{{{JOB}}}[1h]))", "{{outcome}}"),
    )
    evidence = graph(
        "Evidence against its threshold",
        "short",
        "E of each metric while its rollout lasts; 1 is none. At the threshold the candidate is taken back.",
        asked(f"perennial_rollout_evidence{{{MODEL}}}", NAMED),
        asked(f"perennial_rollout_evidence_threshold{{{MODEL}}}", f"{NAMED}, threshold"),
    )
    used = graph(
        "Alpha used",
        "percentunit",
        "The part of its share of falseRollbackRate that the evidence of a metric is worth.",
        asked(f"perennial_rollout_alpha_used_ratio{{{MODEL}}}", NAMED),
    )
    return [ends, by_powers(evidence, 0.01), used.max(1)]


def of_the_operator() -> list[Graph | Table]:
    """Its loop, what it asks of the API server, what it takes."""
    rate = "[$__rate_interval]"
    api = f"sum by (verb) (rate(perennial_api_requests_total{{{JOB}}}{rate}))"
    errors = f'sum by (verb, code) (rate(perennial_api_requests_total{{{JOB}, code!~"2.."}}{rate}))'
    passes = f"sum by (outcome) (rate(perennial_reconcile_total{{{JOB}}}{rate}))"
    lasts = [
        asked(quantile(one, "perennial_reconcile_seconds", "le", "$__rate_interval"), f"{one * 100:.0f} %") for one in (0.5, 0.99)
    ]
    waits = [
        asked(quantile(one, "perennial_queue_seconds", "le", "$__rate_interval"), f"{one * 100:.0f} %") for one in (0.5, 0.99)
    ]
    mine = f"and on (job, instance) perennial_queue_depth{{{JOB}}}"
    return [
        graph("Passes", "ops", "A pass looks at one model.", asked(passes, "{{outcome}}")),
        graph("Duration of a pass", "s", "Median and 99 %.", *lasts),
        graph("Queue", "short", "Models that wait for a worker.", asked(f"perennial_queue_depth{{{JOB}}}", "{{instance}}")),
        graph("Wait for a worker", "s", "Median and 99 %.", *waits),
        graph("API requests", "reqps", "To the API server, by verb.", asked(api, "{{verb}}")),
        graph("API errors", "reqps", "Answers that are no success; code 0: there was none.", asked(errors, "{{verb}} {{code}}")),
        graph("Memory", "bytes", "Resident.", asked(f"process_resident_memory_bytes{{{JOB}}} {mine}", "{{instance}}")),
        graph("CPU", "short", "Cores.", asked(f"rate(process_cpu_seconds_total{{{JOB}}}{rate}) {mine}", "{{instance}}")),
        graph(
            "Watches reopened",
            "short",
            "In the hour before.",
            asked(f"increase(perennial_door_restarts_total{{{JOB}}}[1h])", "{{instance}}"),
        ),
    ]


def text() -> str:
    """The file as it is to be."""
    return JSONEncoder(sort_keys=True, indent=2).encode(dashboard().build()) + "\n"


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; end with 1 when the file is stale.")
def write(check: bool) -> None:
    """Write the dashboard into the chart."""
    stale = not FILE.is_file() or FILE.read_text() != text()
    if stale and check:
        click.echo(f"{FILE} is stale: run `make crds` and commit the result")
    elif stale:
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(text())
        click.echo(f"{FILE} written")
    sys.exit(1 if stale and check else 0)


if __name__ == "__main__":
    write()
