"""`python -m benchmarks [NAME ...]`: benchmarks on the cluster that is up; shows the figures and updates docs/benchmarks.md.

Ends with 1 when a target was missed or a benchmark could not be carried out. `make bench` calls it.
"""

from __future__ import annotations

import sys
import time

import click

from benchmarks import bench_detection, bench_healthy, bench_reconcile, bench_return, bench_scale, bench_serving, bench_watch
from benchmarks.report import Report, written
from benchmarks.stand import Stand
from cluster.errors import ClusterError
from demo.ground import REPOSITORY, GroundError
from demo.kubectl import KubectlError

BENCHMARKS = {
    "reconcile": bench_reconcile.run,
    "scale": bench_scale.run,
    "serving": bench_serving.run,
    "detection": bench_detection.run,
    "healthy": bench_healthy.run,
    "return": bench_return.run,
    "watch": bench_watch.run,
}
REPEATED = frozenset({"detection", "healthy", "return", "watch"})
"""Those that can be tried with fewer runs."""
DOCUMENT = REPOSITORY / "docs" / "benchmarks.md"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHMARKS)))
@click.option("--date", default="", help="Date to keep beside the figures; none is kept without it.")
@click.option("--runs", type=click.IntRange(1), help="Fewer runs, for a trial, of those that have several; nothing is kept then.")
@click.option("--keep/--no-keep", default=True, help="Whether docs/benchmarks.md is updated.")
def main(names: tuple[str, ...], date: str, runs: int | None, keep: bool) -> None:
    """The benchmarks of Perennial; NAMES choose some of them."""
    began = time.monotonic()
    try:
        stand = Stand.found()
    except (ClusterError, GroundError, KubectlError) as error:
        raise click.ClickException(str(error)) from error
    machine = stand.machine() + (f" {date}." if date else "")
    reports: list[Report] = []
    broken: list[str] = []
    for name in names or BENCHMARKS:
        click.secho(f"[{time.monotonic() - began:4.0f}s] {name}", bold=True)
        try:
            report = BENCHMARKS[name](stand) if runs is None or name not in REPEATED else BENCHMARKS[name](stand, runs)
        except (AssertionError, ClusterError, GroundError, KubectlError) as error:
            broken.append(name)
            click.echo(f"{name} could not be carried out: {error}")
            continue
        click.echo(report.text())
        reports.append(report)
        if keep and runs is None:
            written(DOCUMENT, [report], machine)
    missed = [f"{report.name}: {figure.what}" for report in reports for figure in report.missed]
    click.echo("\n".join([machine, *(f"MISSED {text}" for text in missed), *(f"DID NOT RUN {text}" for text in broken)]))
    sys.exit(1 if missed or broken else 0)


if __name__ == "__main__":
    main(prog_name="benchmarks")
