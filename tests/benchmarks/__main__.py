"""`python -m benchmarks [NAME ...]`: benchmarks on the cluster that is up; shows the figures and updates docs/benchmarks.md.

`simulation` and `data` need no cluster; `simulation` updates docs/statistics.md. Ends with 1 when a target was missed or a
benchmark could not be carried out. `make bench` calls it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import click

from benchmarks import (
    bench_cli,
    bench_data,
    bench_detection,
    bench_healthy,
    bench_overhead,
    bench_reconcile,
    bench_return,
    bench_scale,
    bench_serving,
    bench_simulation,
    bench_watch,
)
from benchmarks.report import Report, replaced, written
from benchmarks.stand import Stand, here
from cluster.errors import ClusterError
from demo.ground import REPOSITORY, GroundError
from demo.kubectl import KubectlError

BENCHMARKS: dict[str, Callable[..., Report]] = {
    "reconcile": bench_reconcile.run,
    "scale": bench_scale.run,
    "serving": bench_serving.run,
    "detection": bench_detection.run,
    "healthy": bench_healthy.run,
    "return": bench_return.run,
    "watch": bench_watch.run,
    "cli": bench_cli.run,
    "overhead": bench_overhead.run,
}
WITHOUT_CLUSTER = ("simulation", "data")
REPEATED = frozenset({"detection", "healthy", "return", "watch", "overhead"})
"""Those that can be tried with fewer runs."""
DOCUMENT = REPOSITORY / "docs" / "benchmarks.md"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, type=click.Choice([*WITHOUT_CLUSTER, *BENCHMARKS]))
@click.option("--date", default="", help="Date to keep beside the figures; none is kept without it.")
@click.option("--runs", type=click.IntRange(1), help="Fewer runs, for a trial, of those that have several; nothing is kept then.")
@click.option("--gigabytes", type=click.FloatRange(0.05), help="Less data, for a trial of `data`; nothing is kept then.")
@click.option("--keep/--no-keep", default=True, help="Whether the documents are updated.")
def main(names: tuple[str, ...], date: str, runs: int | None, gigabytes: float | None, keep: bool) -> None:
    """The benchmarks of Perennial; NAMES choose some of them."""
    began = time.monotonic()
    chosen = names or (*WITHOUT_CLUSTER, *BENCHMARKS)
    stand = None if set(chosen) <= set(WITHOUT_CLUSTER) else _stand()
    machine = (here() if stand is None else stand.machine()) + (f" {date}." if date else "")
    reports: list[Report] = []
    broken: list[str] = []
    for name in chosen:
        click.secho(f"[{time.monotonic() - began:4.0f}s] {name}", bold=True)
        try:
            report = _carried_out(name, stand, runs, gigabytes, keep)
        except (AssertionError, bench_data.CannotMeasure, ClusterError, GroundError, KubectlError) as error:
            broken.append(name)
            click.echo(f"{name} could not be carried out: {error}")
            continue
        click.echo(report.text())
        reports.append(report)
        if keep and runs is None and (gigabytes is None or name != "data"):
            _kept(report, machine)
    missed = [f"{report.name}: {figure.what}" for report in reports for figure in report.missed]
    said = [machine, *(f"MISSED {text}" for text in missed), *(f"DID NOT RUN {text}" for text in broken)]
    click.echo("\n".join(words for words in said if words))
    sys.exit(1 if missed or broken else 0)


def _stand() -> Stand:
    try:
        return Stand.found()
    except (ClusterError, GroundError, KubectlError) as error:
        raise click.ClickException(str(error)) from error


def _carried_out(name: str, stand: Stand | None, runs: int | None, gigabytes: float | None, keep: bool) -> Report:
    if name == "data":
        return bench_data.run() if gigabytes is None else bench_data.run(gigabytes)
    if name == "simulation":
        return bench_simulation.run(bench_simulation.IMAGES if keep else None)
    assert stand is not None, "a cluster was looked for, because a benchmark that needs one was chosen"
    return BENCHMARKS[name](stand) if runs is None or name not in REPEATED else BENCHMARKS[name](stand, runs)


def _kept(report: Report, machine: str) -> None:
    if report.name == "simulation":
        replaced(bench_simulation.DOCUMENT, report, bench_simulation.WORDS)
    else:
        written(DOCUMENT, [report], machine)


if __name__ == "__main__":
    main(prog_name="benchmarks")
