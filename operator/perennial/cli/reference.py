"""docs/cli.md, written from the verbs themselves: `python -m perennial.cli.reference` (--check: ends with 1 when it is stale)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from perennial.cli.__main__ import PROGRAM, VERBS, main

PAGE = Path("docs/cli.md")
PICTURES = Path("docs/img")
"""Those that are there are shown; `python -m pictures` makes them."""
HEAD = """# kubectl perennial

Written from the program by `make crds`; change it there.

In a clone, `pip install '.[cli]'` puts `kubectl-perennial` on the path, and kubectl knows it as `kubectl perennial`. Everything
that it does can be done without it, by the manifests and annotations that the other pages name.
"""


def page() -> str:
    """The whole page."""
    context = click.Context(main, info_name=PROGRAM)
    parts = [
        HEAD,
        "| verb | |\n|---|---|\n" + "".join(f"| [{verb}](#{verb}) | {words} |\n" for verb, (_, words) in VERBS.items()),
    ]
    for verb in VERBS:
        command = main.get_command(context, verb)
        if command is not None:
            parts.extend(_chapters(command, verb, context, "##"))
        if (PICTURES / f"{verb}.svg").is_file():
            parts.append(f"![kubectl perennial {verb}, of a rollout that really happened](img/{verb}.svg)\n")
    return "\n".join(parts)


def _chapters(command: click.Command, name: str, parent: click.Context, level: str) -> Iterator[str]:
    """A verb's help, and that of the verbs under it."""
    with click.Context(command, info_name=name, parent=parent, max_content_width=110, terminal_width=110) as context:
        yield f"{level} {name}\n```\n{command.get_help(context)}\n```\n"
        if isinstance(command, click.Group):
            for inner, verb in command.commands.items():
                yield from _chapters(verb, inner, context, f"{level}#")


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; end with 1 when the page is stale.")
def write(check: bool) -> None:
    """Write docs/cli.md."""
    stale = not PAGE.is_file() or PAGE.read_text() != page()
    if stale and check:
        click.echo(f"{PAGE} is stale: run `make crds` and commit the result")
    elif stale:
        PAGE.write_text(page())
        click.echo(f"{PAGE} written")
    sys.exit(1 if stale and check else 0)


if __name__ == "__main__":
    write()
