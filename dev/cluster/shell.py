"""Runs programs for the other modules: output kept for the error message, retries for what goes over the network."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from cluster.errors import ClusterError, CommandFailed

T = TypeVar("T")
NETWORK_ATTEMPTS = 4
# A killed `up` takes its builds along: orphans would race with those of the next one
DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")


def run(
    argv: Sequence[str | Path],
    *,
    what: str | None = None,
    log: Path | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float | None = None,
    interruptible: bool = True,
) -> str:
    """The standard output of a program that must succeed; with `log` both streams go there and '' is returned.

    `env` is added to this process's environment. `interruptible` programs end when this process is killed (only the package
    manager must not). Raises CommandFailed with the last lines of what was printed.
    """
    words = [str(word) for word in argv]
    title = what or " ".join(words[:4])
    environment = {**os.environ, **(env or {})}
    environment["PATH"] = f"{environment.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"  # `su` leaves out where `ip` is
    if shutil.which(words[0], path=environment["PATH"]) is None:
        raise CommandFailed(f"{title}: the program {words[0]} is not installed")
    command = [*DIES_WITH_US, *words] if interruptible else words
    try:
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("a") as out:
                done = subprocess.run(
                    command,
                    cwd=cwd,
                    env=environment,
                    input=stdin,
                    stdout=out,
                    stderr=out,
                    text=True,
                    timeout=timeout,
                    check=False,
                )
            if done.returncode:
                raise CommandFailed(f"{title} failed with exit status {done.returncode}", log=log)
            return ""
        done = subprocess.run(
            command, cwd=cwd, env=environment, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as late:
        raise CommandFailed(f"{title} did not end within {timeout:.0f} s", log=log) from late
    if done.returncode:
        raise CommandFailed(f"{title} failed with exit status {done.returncode}", output=done.stderr + done.stdout)
    return done.stdout


def succeeds(argv: Sequence[str | Path], timeout: float = 30) -> bool:
    """Whether a program ends well; a program that is missing or hangs does not."""
    try:
        run(argv, timeout=timeout)
    except ClusterError:
        return False
    return True


def retried(action: Callable[[], T], attempts: int = NETWORK_ATTEMPTS, pause: float = 3.0) -> T:
    """Downloads fail now and then: tries again a few times, a little later each time, and then tells the last failure."""
    for attempt in range(1, attempts):
        try:
            return action()
        except CommandFailed:
            time.sleep(pause * attempt)
    return action()


def wait_until(probe: Callable[[], bool], seconds: float, what: str, pause: float = 0.2) -> None:
    """Polls until `probe` holds. A probe may raise ClusterError itself when waiting has become pointless."""
    deadline = time.monotonic() + seconds
    while not probe():
        if time.monotonic() > deadline:
            raise CommandFailed(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(pause)


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """A file that a killed `up` leaves either as it was or complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    draft.touch(mode=mode)
    draft.write_text(text)
    draft.rename(path)
