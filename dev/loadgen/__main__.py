"""`python -m loadgen`: the generator on the command line; records go to a file as they come, a summary to stdout."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import TextIO

import click

from loadgen.generator import run
from loadgen.plan import Plan, PlanError, read_bodies
from loadgen.results import Record, Results, writer

FLUSH_SECONDS = 0.2


@click.command()
@click.option("--url", required=True, help="http://host:port/path; on this machine or in the embedded cluster only.")
@click.option("--rate", type=float, default=100.0, show_default=True, help="Requests a second.")
@click.option("--duration", "seconds", type=float, default=60.0, show_default=True, help="Seconds; it stops by itself.")
@click.option(
    "--body-file", type=click.Path(path_type=Path), required=True, help="JSON Lines: instances, or whole bodies; used in turn."
)
@click.option("--out", type=click.Path(path_type=Path), help="JSON Lines, one record for each request, written as they come.")
@click.option("--connections", type=int, default=64, show_default=True, help="Connections kept alive.")
@click.option("--timeout", type=float, default=10.0, show_default=True, help="Seconds until a request counts as unanswered.")
@click.option(
    "--header", "headers", multiple=True, metavar="NAME:VALUE", help="One more header; Host:... for a route's hostname."
)
def cli(
    *,
    url: str,
    rate: float,
    seconds: float,
    body_file: Path,
    out: Path | None,
    connections: int,
    timeout: float,
    headers: tuple[str, ...],
) -> None:
    """Open-loop load: each request is sent at its own time, whatever happened to the others. SIGTERM or Ctrl-C ends it early."""
    try:
        plan = Plan(
            url, read_bodies(body_file), rate, seconds, connections=connections, timeout=timeout, headers=_headers(headers)
        )
        results = asyncio.run(_run(plan, out))
    except PlanError as error:
        raise click.ClickException(str(error)) from None
    _report(results)
    sys.exit(1 if results.failures else 0)


def _headers(given: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition(":") for text in given]
    if any(not separator for _, separator, _ in pairs):
        raise PlanError("--header wants NAME:VALUE")
    return {name.strip(): value.strip() for name, _, value in pairs}


async def _run(plan: Plan, out: Path | None) -> Results:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    results = Results()
    if out is None:
        await run(plan, results.records.append, stop)
        return results
    with out.open("w", encoding="utf-8") as stream:
        flushing = asyncio.ensure_future(_flush(stream))
        write = writer(stream)

        def note(record: Record) -> None:
            results.records.append(record)
            write(record)

        try:
            await run(plan, note, stop)
        finally:
            flushing.cancel()
    return results


async def _flush(stream: TextIO) -> None:
    while True:
        await asyncio.sleep(FLUSH_SECONDS)
        stream.flush()


def _report(results: Results) -> None:
    for version in (*results.versions, None):
        found = results.summary(version)
        click.echo(
            f"{version or 'all'}: {found.requests} requests, {found.failures} failures, "
            f"p50 {found.p50 * 1000:.1f} ms, p99 {found.p99 * 1000:.1f} ms, worst {found.worst * 1000:.1f} ms"
        )
    for record in results.failures[:5]:
        click.echo(f"failure: status {record.status or 'none'} {record.version or ''} {record.error}")


if __name__ == "__main__":
    cli(prog_name="loadgen")
