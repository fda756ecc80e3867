"""docs/cli.md, written from the verbs themselves: `python -m perennial.cli.reference` (--check: ends with 1 when it is stale)."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from perennial.cli.__main__ import PROGRAM, VERBS, main

PAGE = Path("docs/cli.md")
HEAD = """# kubectl perennial

Written from the program by `make crds`; change it there.

In a clone, `pip install '.[cli]'` puts `kubectl-perennial` on the path, and kubectl knows it as `kubectl perennial`. Everything
that it does can be done without it, by the manifests and annotations that the other pages name.
"""


def page() -> str:
    """The whole page."""
    context = click.Context(main, info_name=PROGRAM)
    parts = [HEAD, "| verb | |\n|---|---|\n" + "".join(f"| [{verb}](#{verb}) | {words} |\n" for verb, words in VERBS.items())]
    for verb in VERBS:
        command = main.get_command(context, verb)
        if command is not None:
            with click.Context(command, info_name=verb, parent=context, max_content_width=110, terminal_width=110) as inner:
                parts.append(f"## {verb}\n```\n{command.get_help(inner)}\n```\n")
    return "\n".join(parts)


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
