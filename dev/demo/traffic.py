"""The client of the demo: an open-loop load generator in the cluster's network, and the tally of what it saw.

`Client` starts `python -m loadgen` inside the cluster's network namespace, where it may only reach the cluster's own addresses;
it writes one JSON line for each answer, which `Tally` adds up by the version that answered. The client stops by itself.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

UNKNOWN = "(no version)"
"""An answer that no version signed: the gateway's own error, or none at all."""


@dataclass(slots=True)
class Seen:
    """What a client saw of one version."""

    requests: int = 0
    failures: int = 0
    first_failure: float | None = None
    last_failure: float | None = None
    first_problem: str = ""
    """Of the first failure: what went wrong, or the status of the answer."""


@dataclass(slots=True)
class Tally:
    """All answers so far, by version."""

    versions: dict[str, Seen] = field(default_factory=dict)

    def add(self, record: dict[str, Any]) -> None:
        """One answer of the load generator: version, ok, done (seconds), status, error."""
        seen = self.versions.setdefault(record.get("version") or UNKNOWN, Seen())
        seen.requests += 1
        if record["ok"]:
            return
        seen.failures += 1
        seen.first_problem = seen.first_problem or str(record.get("error") or f"status {record.get('status')}")
        seen.first_failure = record["done"] if seen.first_failure is None else min(seen.first_failure, record["done"])
        seen.last_failure = record["done"] if seen.last_failure is None else max(seen.last_failure, record["done"])

    @property
    def requests(self) -> int:
        return sum(seen.requests for seen in self.versions.values())

    def failures_but(self, *blamed: str) -> dict[str, int]:
        """Failures by version, without those of the versions that are known to fail."""
        return {name: seen.failures for name, seen in self.versions.items() if seen.failures and name not in blamed}


class Client:
    """A running load generator. Its results file is read as it grows."""

    def __init__(self, command: Sequence[str], results: Path, log: Path) -> None:
        self.tally = Tally()
        self._command, self._results, self._log = list(command), results, log
        self._process: subprocess.Popen[bytes] | None = None
        self._position = 0
        self._rest = b""

    def __enter__(self) -> Self:
        self._results.unlink(missing_ok=True)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, start_new_session=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def look(self) -> Tally:
        """The tally with all that was written since the last look."""
        if self._results.exists():
            with self._results.open("rb") as file:
                file.seek(self._position)
                fresh = file.read()
            self._position += len(fresh)
            *lines, self._rest = (self._rest + fresh).split(b"\n")
            for text in lines:
                if text.strip():
                    self._add(json.loads(text))
        return self.tally

    def _add(self, record: dict[str, Any]) -> None:
        if "ok" in record:
            self.tally.add(record)

    @property
    def problem(self) -> str:
        """Why there is no traffic: the generator's last words when it has ended, else nothing."""
        if self._process is None or self._process.poll() is None:
            return ""
        words = self._log.read_text(errors="replace").strip().splitlines()[-5:]
        return f"the load generator ended with {self._process.returncode}: " + " / ".join(words)

    def stop(self) -> Tally:
        """End it, wait for its last lines, and return the final tally."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        return self.look()
