"""`kubectl perennial completion`: what a shell needs to complete verbs and options."""

from __future__ import annotations

import sys

import click
from click.shell_completion import ShellComplete, get_completion_class

SHELLS = ("bash", "zsh", "fish")
PLUGIN = "kubectl-perennial"
ANY, NO_FILES = ":0", ":4"
"""What kubectl reads in the last line: whether names of files may come too."""


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what completes the verbs and options of kubectl-perennial in SHELL.

    `kubectl perennial` is completed by kubectl itself, which asks the program kubectl_complete-perennial, installed beside
    this one.

    \b
    Examples:
      source <(kubectl perennial completion bash)
      kubectl perennial completion zsh > "${fpath[1]}/_kubectl-perennial"
      kubectl perennial completion fish \\
        > ~/.config/fish/completions/kubectl-perennial.fish
    """
    found = get_completion_class(shell)
    if found is None:
        raise click.ClickException(f"{shell} is not known to this version of click")
    click.echo(found(context.find_root().command, {}, PLUGIN, "_KUBECTL_PERENNIAL_COMPLETE").source())


def complete() -> None:
    """The program kubectl_complete-perennial: prints what may come after the words of its command line, the last of which is
    begun, as kubectl wants it of a plugin."""
    from perennial.cli.__main__ import PROGRAM, main  # noqa: PLC0415 - which imports this module when it is asked for

    *given, begun = sys.argv[1:] or [""]
    found = ShellComplete(main, {}, PROGRAM, "").get_completions(given, begun)
    for one in found:
        if one.type == "plain":
            click.echo("\t".join(part for part in (one.value, one.help) if part))
    click.echo(ANY if any(one.type != "plain" for one in found) else NO_FILES)
