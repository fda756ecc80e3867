"""`kubectl perennial backtest`: a recorded rollout under another policy."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perennial.cli import asking
from perennial.cli.asking import VersionNumber, Where, cluster_options, output_option
from perennial.cli.exits import Exit

if TYPE_CHECKING:
    from perennial.api.rollout import Rollout
    from perennial.core.tape import Tape


def _policy_options(verb: Callable[..., None]) -> Callable[..., None]:
    """What is another than it was."""

    @functools.wraps(verb)
    def take(rate: float | None, requests: int | None, policy: str | None, **given: object) -> None:
        verb(given_policy=(policy, rate, requests), **given)

    rate = click.option("--false-rollback-rate", "rate", type=click.FloatRange(0.0001, 0.2), help="Instead of the recorded one.")
    least = click.option(
        "--minimum-requests", "requests", type=click.IntRange(1, 10_000_000), help="Instead of the recorded one."
    )
    file = click.option(
        "--policy", metavar="FILE", help="A ModelDeployment, or its spec.rollout alone, in YAML or JSON: the whole other policy."
    )
    return file(rate(least(take)))


@click.command()
@click.argument("name", required=False)
@click.argument("number", type=VersionNumber(), required=False)
@click.option("--file", metavar="FILE", help="A recording in a file, instead of NAME's in the cluster.")
@click.option("--save", metavar="FILE", help="Write NAME's recording to a file, and replay it.")
@_policy_options
@click.option("--sweep/--no-sweep", default=True, help="Find where the verdict changes. It takes a replay for each value tried.")
@cluster_options
@output_option("json", "yaml")
def backtest(  # noqa: PLR0917 - click gives them by name
    name: str | None,
    number: int | None,
    file: str | None,
    save: str | None,
    given_policy: tuple[str | None, float | None, int | None],
    sweep: bool,
    where: Where,
    output: str,
) -> None:
    """Let a recorded rollout happen again, under another policy: would it have ended otherwise, and when.

    Without NUMBER: the newest version of NAME that has a recording. Its rollout is replayed by the operator's own analysis, first
    under the policy that it had, which must come to the recorded verdict in the same pass with the same evidence, then under the
    policy that you give. Two sweeps tell at which falseRollbackRate and at which minimumRequests it had ended otherwise.

    What is told is exact as long as the other policy would have had the same weights at the same time. From where it would have
    had others, the requests are those that were recorded, and that is said: at other weights others would have come. A rollout
    that would have gone on after the end of the recording is undecided.

    The recording is the ConfigMap <version>-recording, kept from a rollout's end until the version is pruned:
    kubectl get cm delays-v3-recording -o jsonpath='{.binaryData.recording\\.jsonl\\.gz}' | base64 -d > v3.jsonl.gz

    \b
    Ends with 0: promoted, under the policy given or else the recorded one
              1: rolled back
              3: undecided at its end, or it would wait for a person
              4: aborted for too little data
              6: the cluster could not be asked, or there is no recording
              7: the recorded verdict was not reproduced: nothing else holds
             64: the command line, the file or the policy is wrong

    \b
    Examples:
      kubectl perennial backtest delays
      kubectl perennial backtest delays v3 --false-rollback-rate 0.001
      kubectl perennial backtest delays v3 --policy deploy/delays.yaml --no-sweep
      kubectl perennial backtest --file v3.jsonl.gz --minimum-requests 2000
    """
    if bool(name) is bool(file):
        raise click.UsageError("give the NAME of a model, or a recording by --file, and not both")
    if file and save:
        raise click.UsageError("--save keeps a recording of the cluster: it is of no use with --file")
    from perennial.cli import backtesting, screen  # noqa: PLC0415 - the analysis, and --help needs none

    tape = _from_file(file) if file else _from_cluster(str(name), number, save, where)
    try:
        report = backtesting.report(tape, _policy(tape, *given_policy), sweep=sweep)
    except backtesting.Refused as error:
        raise click.UsageError(str(error)) from None
    if output == "text":
        screen.sections(backtesting.sections(report))
    else:
        screen.document(backtesting.document(report), output)
    raise SystemExit(int(backtesting.exit_of(report)))


def _from_file(name: str) -> Tape:
    from perennial.core import tape  # noqa: PLC0415

    path = Path(name)
    try:
        if path.is_file() and path.stat().st_size > tape.LARGEST_FILE:
            raise click.UsageError(f"{name}: it has more than {tape.LARGEST_FILE // 1024} KiB: that is no recording")
        return tape.read(path.read_bytes())
    except OSError as error:
        raise click.UsageError(f"{name}: {error.strerror or error}") from None
    except tape.Unreadable as error:
        raise click.UsageError(f"{name}: no recording that can be read: {error}") from None


def _from_cluster(name: str, number: int | None, save: str | None, where: Where) -> Tape:
    """The recording of a version. Ends the program when there is none."""
    from perennial.adapters.kubeconfig import NoAnswer  # noqa: PLC0415
    from perennial.api.recording import RECORDING_KEY, recording_name  # noqa: PLC0415
    from perennial.core import tape  # noqa: PLC0415

    place = asking.cluster(where)
    found = asking.model(place, name)
    versions = [asking.number_or_newest(found, number)] if number is not None else list(found.versions)
    try:
        for version in versions:
            meta = version.manifest["metadata"]
            data = place.owned_file(recording_name(meta["name"]), RECORDING_KEY, str(meta["uid"]))
            if data is not None:
                if save:
                    Path(save).write_bytes(data)
                return tape.read(data)
    except NoAnswer as error:
        asking.fail(Exit.NO_ANSWER, str(error))
    except OSError as error:
        raise click.UsageError(f"{save}: {error.strerror or error}") from None
    except tape.Unreadable as error:
        asking.fail(Exit.NO_ANSWER, f"{name}: its recording cannot be read: {error}")
    whose = f"v{number}" if number is not None else "any version"
    words = (
        "one is kept when a rollout is over, unless the operator was ended just then or the chart's recordings.enabled is false"
    )
    return asking.fail(Exit.NO_ANSWER, f"{name}: there is no recording of {whose}: {words}; a first version has no rollout")


def _policy(tape: Tape, file: str | None, rate: float | None, requests: int | None) -> Rollout | None:
    """The other policy; None where nothing is another. Raises click.UsageError."""
    from perennial.cli import policies  # noqa: PLC0415

    if file is None and rate is None and requests is None:
        return None
    try:
        policy = policies.read(file) if file else tape.header.terms.rollout
    except policies.Unusable as error:
        raise click.UsageError(f"--policy {file}: {error}") from None
    changes = {"false_rollback_rate": rate, "minimum_requests": requests}
    return policy.model_copy(update={key: value for key, value in changes.items() if value is not None})
