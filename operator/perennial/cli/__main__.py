"""Entry point of `kubectl perennial` (kubectl finds the program kubectl-perennial). Each verb is imported when it is called."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, Final

import click

from perennial.cli.exits import Exit

PROGRAM: Final = "kubectl perennial"
COMPLETE: Final = "_KUBECTL_PERENNIAL_COMPLETE"
"""Set by a shell that asks for completions."""
VERBS: Final = {
    "get": ("get", "Show every model in a line, or the versions of one."),
    "describe": ("describe", "Tell how a model stands, on one screen."),
    "watch": ("watch", "Show live what a model does: shares, evidence, time left."),
    "explain": ("explain", "Tell why a version is what it is, and what would have changed it."),
    "logs": ("logs", "Print what the pods of a step wrote."),
    "history": ("history", "List the versions, why each was made and how it ended."),
    "diff": ("diff", "Show what differs between two versions."),
    "card": ("card", "Print the model card of a version."),
    "sbom": ("sbom", "Print what a version was trained with, as CycloneDX."),
    "reproduce": ("reproduce", "Train a version again from its record, and compare."),
    "promote": ("requesting", "Give a candidate all requests now."),
    "approve": ("requesting", "Say yes to a version that waits for approval."),
    "abort": ("requesting", "Take a candidate back."),
    "rollback": ("requesting", "Return all requests to an older version."),
    "retrain": ("requesting", "Make a new version of the spec as it is."),
    "retry": ("requesting", "Try the newest version once more."),
    "pause": ("requesting", "Start nothing and raise no weight until resume."),
    "resume": ("requesting", "Roll new versions out again."),
    "quarantine": ("quarantine", "List what may not be shipped again, or let one out."),
    "backtest": ("backtest", "Let a recorded rollout happen again under another policy."),
    "smoke": ("smoke", "Train and judge a manifest with fast parameters, and serve nothing."),
    "lint": ("lint", "Say what the API server would refuse in manifests, without one."),
    "version": ("version", "Say which version this is."),
    "completion": ("completion", "Print what completes verbs and options in a shell."),
}
"""Module and words of each verb."""


class Verbs(click.Group):
    """The verbs by name; only the one that is called is imported."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        verb = getattr(importlib.import_module(f"perennial.cli.{VERBS[name][0]}"), name)
        assert isinstance(verb, click.Command)  # noqa: S101 - ours
        return verb

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, words) for verb, (_, words) in VERBS.items()])

    def main(self, *arguments: Any, **options: Any) -> Any:
        """As click's, but for the code of a wrong command line, and for the name, which is what kubectl's users type."""
        named = {} if COMPLETE in os.environ else {"prog_name": PROGRAM}
        try:
            return super().main(*arguments, **{**named, **options, "standalone_mode": False})
        except click.UsageError as error:
            error.show()
            raise SystemExit(int(Exit.USAGE)) from None
        except click.ClickException as error:
            error.show()
            raise SystemExit(error.exit_code) from None
        except click.Abort:
            click.echo("ended", err=True)
            raise SystemExit(130) from None
        except BrokenPipeError:
            sys.stderr.close()  # who reads has gone, and Python would tell so on its way out
            raise SystemExit(141) from None
        except Exception as error:  # noqa: BLE001 - Python's own 1 would be a verdict
            click.echo(f"Error: a fault of this program: {type(error).__name__}: {error}", err=True)
            raise SystemExit(int(Exit.FAULT)) from None


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Ask of Perennial what kubectl alone cannot say in a word."""


if __name__ == "__main__":
    main(prog_name=PROGRAM)
