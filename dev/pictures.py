"""Pictures of `kubectl perennial` for the documentation, from a rollout that really happened.

    python -m pictures capture delays -n flights     records the objects each time that they change, until the rollout's end
    python -m pictures render                        draws what watch, describe and explain showed of them, as docs/img/*.svg

A recording is JSON: [{"at": <RFC 3339>, "model": <ModelDeployment>, "versions": [<ModelVersion>, ...]}, ...]. The moment of
`watch` and `describe` is the one with the most evidence; `explain` is of the end.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console, RenderableType
from rich.terminal_theme import MONOKAI

from perennial.cli import asking, description, explanation, screen
from perennial.cli.asking import Duration, Model
from perennial.cli.frame import Track, evidence, frame, level
from perennial.cli.watch import end
from perennial.core.inputs import moment, stamp

RECORDING = Path("build/pictures/rollout.json")
PICTURES = Path("docs/img")
UNDER_WAY = ("Accepted", "Deploying", "Canary")
"""States of a version whose model may have come to the end already: its own status is written after the model's."""
WIDTH = 130
"""Columns of a picture."""


@dataclass(frozen=True, slots=True)
class Look:
    """The objects at a time."""

    at: datetime
    model: Model


def recorded(looks: Iterator[Model], now: Callable[[], datetime]) -> Iterator[dict[str, Any]]:
    """What has changed since the look before, until the newest version has come to its end."""
    last: list[dict[str, Any]] = []
    for found in looks:
        manifests = [_plain(found.manifest), *(_plain(one.manifest) for one in found.versions)]
        if manifests != last:
            last = manifests
            yield {"at": stamp(now()), "model": manifests[0], "versions": manifests[1:]}
        if (
            end(found) is not None and found.versions[0].status.state not in UNDER_WAY
        ):  # a version's status comes after the model's
            return


def _plain(manifest: dict[str, Any]) -> dict[str, Any]:
    """Without what only the API server reads."""
    kept = {key: value for key, value in manifest["metadata"].items() if key not in ("managedFields", "resourceVersion")}
    return {**manifest, "metadata": kept}


def looks_of(recording: str) -> list[Look]:
    """The looks of a recording. Raises ClickException for one of another release, or without a rollout in it."""
    try:
        found = [Look(moment(one["at"]), asking.read(one["model"], one["versions"])) for one in json.loads(recording)]
    except (asking.Unreadable, ValueError, KeyError, TypeError) as error:
        raise click.ClickException(f"no recording that this release can draw: {error}; capture it anew") from None
    if not any(one.model.status.rollout for one in found):
        raise click.ClickException("no rollout is under way in the recording: capture begins before its first step")
    return found


def pictures(looks: Sequence[Look]) -> dict[str, str]:
    """SVG by verb."""
    under_way = [index for index, one in enumerate(looks) if one.model.status.rollout]
    best = max(under_way, key=lambda index: (_strength(looks[index]), index))
    track = Track()
    for one in looks[: best + 1]:
        track.see(one.model)
    shown, last = looks[best], looks[-1].model
    rollout = shown.model.status.rollout
    candidate = rollout.candidate if rollout else None
    then, judged = shown.model.version(candidate), last.version(candidate)
    drawn = {"watch": _svg(f"kubectl perennial watch {last.name}", frame(shown.model, track, shown.at))}
    drawn["describe"] = _svg(
        f"kubectl perennial describe {last.name}", screen.rendered(description.described(shown.model, then, shown.at))
    )
    if judged is not None:
        words = f"kubectl perennial explain {last.name} v{judged.number}"
        drawn["explain"] = _svg(words, screen.rendered(explanation.explained(last, judged)))
    return drawn


def _strength(look: Look) -> float:
    return max((level(one) for one in evidence(look.model) if one.threshold), default=-1.0)


def _svg(title: str, picture: RenderableType) -> str:
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(picture)
    return console.export_svg(title=title, theme=MONOKAI, unique_id=title.split()[2])


@click.group()
def main() -> None:
    """Pictures for the documentation, from a rollout that really happened."""


@main.command()
@click.argument("name")
@click.option("--kubeconfig", metavar="FILE", help="Default: KUBECONFIG, else ~/.kube/config.")
@click.option("-n", "--namespace", metavar="NAME", help="Default: the context's, else default.")
@click.option("--timeout", type=Duration(), default=3600.0, help="How long at most: 90s, 2h. Default: 1h.")
@click.option("--recording", type=click.Path(path_type=Path), default=RECORDING, show_default=True)
def capture(name: str, kubeconfig: str | None, namespace: str | None, timeout: float, recording: Path) -> None:
    """Record a model each time that it changes, until its newest version has come to its end."""
    place = asking.cluster(asking.Where(kubeconfig, None, namespace))
    found = []
    for one in recorded(asking.looks(place, name, timeout), lambda: datetime.now(UTC)):
        found.append(one)
        click.echo(f"{one['at']} {one['model'].get('status', {}).get('summary', '')}")
    recording.parent.mkdir(parents=True, exist_ok=True)
    recording.write_text(json.dumps(found, indent=1) + "\n")
    click.echo(f"{recording}: {len(found)} looks")


@main.command()
@click.option("--recording", type=click.Path(path_type=Path, exists=True), default=RECORDING, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=PICTURES, show_default=True)
def render(recording: Path, out: Path) -> None:
    """Draw a recording."""
    out.mkdir(parents=True, exist_ok=True)
    for verb, svg in pictures(looks_of(recording.read_text())).items():
        (out / f"{verb}.svg").write_text(svg)
        click.echo(f"{out / verb}.svg written")


if __name__ == "__main__":
    main()
