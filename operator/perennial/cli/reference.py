"""docs/cli.md, written from the verbs themselves: `python -m perennial.cli.reference` (--check: ends with 1 when it is stale)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from perennial.cli.__main__ import PROGRAM, VERBS, main
from perennial.cli.exits import Exit

PAGE = Path("docs/cli.md")
PICTURES = Path("docs/img")
"""Those that are there are shown; `python -m pictures` makes them."""
HEAD = """# kubectl perennial

Written from the program by `make crds`; change it there.

In a clone, `pip install '.[cli]'` (Python 3.11) puts `kubectl-perennial` on the path, and kubectl knows it as
`kubectl perennial`. The verbs `card`, `sbom` and `history --all` read the store and take `'.[cli,store]'`
([how](rollouts.md#what-was-decided-the-ledger)).
Everything that it does can be done without it, by the manifests and annotations that the other pages name.

Where kubectl's own completion is on (`source <(kubectl completion bash)`), it completes `kubectl perennial` too, by the program
`kubectl_complete-perennial`, which is installed beside it. `kubectl-perennial` typed as one word has [its own](#completion).
"""
PROGRAMS = """## For programs

How a verb ended is its exit code, which its help lists. With `-o json` (or `yaml`) a verb prints one document on standard output,
and what it has to say beside it on standard error:

| verb | document |
|---|---|
"""
DOCUMENTS = {
    "`get`": "A list of ModelDeployments; with NAME: that one, then its ModelVersions, the newest first. All fields are in "
    "[api.md](api.md): times, numbers and states are read here.",
    "`describe`, `explain`": "A list of sections `{head, lines, rows}`: the words that a terminal shows, which change between "
    "releases. `rows` are `status.conditions`, and `status.steps` of a version.",
    "`history`": "`{versions, requests, ledger}`: of each version `version`, `made`, `trigger`, `state`, `servedAt`, "
    "`finishedAt`, `score`, `message`; the others are `status.requests` and `status.ledger`, with `--all` also the entries that "
    "only the store has.",
    "`diff`": "A list of `{field, from, to}`; null: it is not there.",
    "`quarantine list`": "`status.quarantined`.",
    "`promote`, `abort` and all that ask for something": "`name`, `namespace`, `verb`, `argument`, `id` and `requestedBy` of the "
    "request, `outcome` (the operator's answer), `message` (how it ended), and `end`, the exit code in a word: "
    + ", ".join(f"{one.name} ({one.value})" for one in Exit if one <= Exit.REFUSED)
    + ".",
    "`smoke`": "The ModelVersion that was made: gates as numbers in `status.gates`, steps in `status.steps`.",
    "`lint`": "A list of `{file, line, kind, name, path, message}`; line 0: the file as a whole.",
    "`version`": "`{client, api}`.",
}
"""What `-o json` prints."""


def page() -> str:
    """The whole page."""
    context = click.Context(main, info_name=PROGRAM, **main.context_settings)
    parts = [
        HEAD,
        "| verb | |\n|---|---|\n" + "".join(f"| [{verb}](#{verb}) | {words} |\n" for verb, (_, words) in VERBS.items()),
    ]
    parts.append(PROGRAMS + "".join(f"| {verb} | {words} |\n" for verb, words in DOCUMENTS.items()))
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
