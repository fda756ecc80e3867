"""The command line of the embedded cluster: `python -m cluster COMMAND`. A failure is a sentence and exit status 1."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from cluster import components, external, lifecycle, processes, project
from cluster.api import Cluster, current
from cluster.errors import ClusterError
from cluster.progress import Progress
from cluster.settings import REGISTRY, Settings, from_environment

F = TypeVar("F", bound=Callable[..., object])

PROGRAM = "PYTHONPATH=dev .venv/bin/python -m cluster"
"""As a person in a clone types it."""

EPILOG = """\b
Environment:
  PERENNIAL_CACHE       where built components and images are kept (default: ~/.cache/perennial)
  PERENNIAL_STATE       where the running cluster lives (default: /var/lib/perennial-dev)
  PERENNIAL_KUBECONFIG  use this cluster of yours instead; with
  PERENNIAL_REGISTRY    the registry to push images to, reachable from it
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
def commands() -> None:
    """A real two-node Kubernetes cluster on this machine, for Perennial's demo and tests.

    No Docker and no image registry is needed: Kubernetes, containerd, Envoy Gateway and the rest are built from Go modules,
    Debian packages and wheels once (about 15 minutes on two cores) and kept in a cache; after that, starting takes a minute.

    \b
    python -m cluster up                  start, or mend what is broken; says how to use it
    python -m cluster push                build and push the project's images, or a folder of yours
    python -m cluster run -- curl ...     a command on the cluster's network
    python -m cluster down                remove it without a trace (the cache stays)
    """


@commands.command()
def up() -> None:
    """Start the cluster, or mend it. On a healthy one this is a check of a second or two."""
    chosen = external.from_environment(os.environ)
    if chosen is not None:
        external.check(chosen)
        click.echo(f"PERENNIAL_KUBECONFIG is set: {chosen.kubeconfig} answers. Nothing was started; it is yours.")
        return
    settings = from_environment()
    progress = Progress()
    changed = lifecycle.up(settings, progress)
    progress.say("the cluster is up" if changed else "the cluster is up and healthy; nothing to do")
    click.echo(usage(settings))


def usage(settings: Settings) -> str:
    cluster = Cluster.embedded(settings)
    return (
        f"\nKubernetes  export KUBECONFIG={settings.kubeconfig} PATH={settings.bin}:$PATH   then: kubectl get nodes\n"
        f"Images      {PROGRAM} push        registry: {REGISTRY}\n"
        f"Gateway     {PROGRAM} run -- curl http://{cluster.gateway_address}/\n"
        f"Remove it   {PROGRAM} down"
    )


@commands.command()
def down() -> None:
    """End the cluster and remove every process, mount, namespace, route and control group of it. The cache stays."""
    if external.from_environment(os.environ) is not None:
        click.echo("PERENNIAL_KUBECONFIG is set: the cluster is yours, so nothing is taken down.")
        return
    progress = Progress()
    left = lifecycle.down(from_environment(), progress)
    if left:
        raise ClusterError("Not everything could be removed:\n  " + "\n  ".join(left))
    progress.say("the cluster is down; checked: no process, mount, network namespace, interface, route or control group is left")


@commands.command()
def status() -> None:
    """Show what runs. Ends with 0 for a healthy cluster, with 3 otherwise."""
    chosen = external.from_environment(os.environ)
    if chosen is not None:
        external.check(chosen)
        click.echo(f"{chosen.kubeconfig} answers (yours, by PERENNIAL_KUBECONFIG)")
        return
    settings = from_environment()
    found = list(processes.marked(settings.state))
    for daemon in lifecycle.daemons(settings):
        pids = [str(one.identity.pid) for one in found if processes.is_daemon(one, daemon)]
        click.echo(f"{daemon.name:12} {'pid ' + ' '.join(pids) if pids else 'not running'}")
    wrong = lifecycle.problems(settings)
    click.echo("\n".join(f"! {line}" for line in wrong) if wrong else usage(settings))
    sys.exit(3 if wrong else 0)


@commands.command()
@click.argument("images", nargs=-1, metavar="[IMAGE|FOLDER]...")
@click.option("--name", metavar="NAME", help="Of the image of one FOLDER; default: own/<its last word>.")
@click.option("--build-arg", "arguments", multiple=True, metavar="NAME=VALUE", help="For the Dockerfile of a FOLDER.")
def push(images: tuple[str, ...], name: str | None, arguments: tuple[str, ...]) -> None:
    """Build images and push them; prints the reference of each, by digest, as a manifest takes it.

    IMAGE is one of the project's: perennial/operator, perennial/runtime or perennial/training; without any, all of them.
    FOLDER is one of yours with a Dockerfile, which is its build context too. Nothing is pulled: the Dockerfile begins with
    ARG BASE_IMAGE=perennial/training (or perennial/runtime) and FROM ${BASE_IMAGE}; with another default, or none, the base is
    Debian with Python 3.11.

    An image whose Dockerfile and files are as they were is neither built nor pushed again.

    \b
    Examples:
      python -m cluster push
      python -m cluster push ./trainer --name team/trainer
    """
    if name is not None and len(images) != 1:
        raise click.UsageError("--name is for one folder: give just one")
    repository, given = from_environment().repository, dict(_argument(text) for text in arguments)
    recipes = [project.asked(repository, image, name, given) for image in images or project.names(repository)]
    cluster = current(Progress())
    for recipe in recipes:
        click.echo(cluster.push_recipe(recipe))


def _argument(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise click.UsageError(f"--build-arg {text!r} is no NAME=VALUE")
    return name, value


@commands.command(context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(command: tuple[str, ...]) -> None:
    """Run a command on the cluster's network, where pods, services and their names are reached: run -- CMD [ARG]..."""
    cluster = current()
    sys.exit(subprocess.run([*cluster.inside(), *command], check=False).returncode)


@commands.command()
def kubeconfig() -> None:
    """Print the path of the administrator's kubeconfig."""
    click.echo(current().kubeconfig)


@commands.command()
def build() -> None:
    """Only fill the cache: what can be fetched and built without starting anything."""
    progress = Progress()
    settings = from_environment()
    lifecycle.build(settings, progress)
    progress.say(f"{len(components.Component)} components are in {settings.components}")


@commands.command()
@click.argument("component", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on printing what is added.")
@click.option("-n", "--lines", default=40, show_default=True, help="How many of the last lines.")
def logs(component: str | None, follow: bool, lines: int) -> None:
    """Print the end of a component's log; without a name, list the components."""
    settings = from_environment()
    files = {path.stem: path for top in (settings.build_logs, settings.logs) for path in sorted(top.glob("*.log"))}
    if component is None:
        click.echo("\n".join(f"{name:14} {path}" for name, path in files.items()) or "nothing has written a log yet")
        return
    if component not in files:
        raise ClusterError(f"No log of {component!r}; there are: {', '.join(files) or 'none yet'}.")
    _tail(files[component], lines, follow)


def _tail(path: Path, lines: int, follow: bool) -> None:
    subprocess.run(["tail", f"--lines={lines}", *(["--follow"] if follow else []), str(path)], check=False)


def main() -> None:
    """Runs the command line; the one place where an error becomes a message."""
    try:
        commands.main(standalone_mode=False, prog_name="python -m cluster")
    except ClusterError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except click.exceptions.Abort:
        click.echo("interrupted; `up` goes on from here, `down` removes what there is", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
