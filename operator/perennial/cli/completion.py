"""`kubectl perennial completion`: what a shell needs to complete verbs and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
PLUGIN = "kubectl-perennial"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what completes the verbs and options of kubectl-perennial in SHELL.

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
