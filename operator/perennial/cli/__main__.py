"""Entry point of `kubectl perennial` (kubectl finds the program kubectl-perennial). Each verb is imported when it is called."""

from __future__ import annotations

import importlib
from typing import Final

import click

PROGRAM: Final = "kubectl perennial"
VERBS: Final = {
    "lint": "Say what the API server would refuse in manifests, without one.",
    "version": "Say which version this is.",
    "completion": "Print what completes verbs and options in a shell.",
}


class Verbs(click.Group):
    """The verbs by name; only the one that is called is imported."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        verb = getattr(importlib.import_module(f"perennial.cli.{name}"), name)
        assert isinstance(verb, click.Command)  # noqa: S101 - ours
        return verb

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Ask of Perennial what kubectl alone cannot say in a word."""


if __name__ == "__main__":
    main(prog_name=PROGRAM)
