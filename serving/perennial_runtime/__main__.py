"""`python -m perennial_runtime <command>`: what every container of ours starts.

Reads the command's spec from the environment (`contract.STEP_VARIABLE`), imports the one module that carries it out (so that
a serving pod never pays for polars) and lets `answers.conclude` turn its end into a termination message and an exit code; then
`log_tail` keeps the end of what a step wrote.
Every module of the table has `main(spec) -> Result | None`.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from typing import Any, NoReturn

import click

from perennial_runtime import contract, log_tail
from perennial_runtime.answers import conclude
from perennial_runtime.contract import Answer, Command
from perennial_runtime.cpus import cpu_limit

COMMANDS: dict[Command, tuple[str, type[Any]]] = {
    Command.PREPARE: ("prepare", contract.PrepareSpec),
    Command.FETCH: ("fetch", contract.TrainSpec),
    Command.REPORTER: ("reporter", contract.TrainSpec),
    Command.RECIPE: ("recipes.train", contract.TrainSpec),
    Command.SCORE: ("score", contract.EvaluateSpec),
    Command.EVALUATE: ("evaluate", contract.EvaluateSpec),
    Command.COMPARE: ("compare", contract.CompareSpec),
    Command.FETCH_BENTO: ("fetch_bento", contract.ServeSpec),
    Command.SERVE: ("server", contract.ServeSpec),
    Command.LEDGER: ("ledger", contract.LedgerSpec),
    Command.POLL: ("poll", contract.PollSpec),
}
"""Command -> module of this package, kind of its spec."""

WAITING = (Command.REPORTER, Command.COMPARE)
"""They begin their work when SIGTERM comes."""

THREAD_VARIABLES = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Read when their libraries are imported; unset, each would start one thread for every core of the host."""


def carry_out(command: Command) -> Answer | None:
    """Decode the spec, import the command's module and run it."""
    for variable in THREAD_VARIABLES:
        os.environ.setdefault(variable, str(cpu_limit()))
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin at a barrier eat the CPU limit of those that work
    if command in WAITING:  # a trainer may end while this is still importing; the signal must not be lost
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    module, kind = COMMANDS[command]
    spec = contract.decode(kind, os.environ.get(contract.STEP_VARIABLE, ""))
    result: Answer | None = importlib.import_module(f"perennial_runtime.{module}").main(spec)
    return result


@click.command()
@click.argument("command", type=click.Choice([command.value for command in Command]))
def cli(command: str) -> None:
    """Carry out one step of a version's life; the operator writes the spec into the environment."""
    wanted = Command(command)
    recorded = log_tail.record(wanted)
    code = conclude(lambda: carry_out(wanted))
    kept = log_tail.keep(wanted, recorded, os.environ.get(contract.STEP_VARIABLE, ""))
    if kept and threading.active_count() == 1:
        sys.exit(code)
    _leave(code)


def _leave(code: int) -> NoReturn:
    """At once: a thread inside the store's library would abort an interpreter that is ending, and the code with it; for one that
    fetches a large file the interpreter would wait."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    cli(prog_name="perennial_runtime")
