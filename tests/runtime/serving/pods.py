"""A serving process as its own operating-system process, as in a pod but on free loopback ports."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from perennial_runtime.contract import STEP_VARIABLE, ServeSpec, encode

REPOSITORY = Path(__file__).resolve().parents[3]
SCRIPT = """
import os, sys
from pathlib import Path
from perennial_runtime.answers import conclude
from perennial_runtime.contract import STEP_VARIABLE, ServeSpec, decode
from perennial_runtime.server import Process, serve
port, mirror, management, warm, drain, bento = sys.argv[1:]
process = Process("127.0.0.1", int(port), int(mirror), int(management), float(warm), float(drain), Path(bento))
sys.exit(conclude(lambda: serve(decode(ServeSpec, os.environ[STEP_VARIABLE]), process)))
"""


@dataclass(slots=True)
class Pod:
    """Where it listens, and the process."""

    port: int
    mirror_port: int
    management_port: int
    process: subprocess.Popen[bytes]
    log: Path
    answer: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def mirror(self) -> str:
        return f"http://127.0.0.1:{self.mirror_port}"

    @property
    def management(self) -> str:
        return f"http://127.0.0.1:{self.management_port}"

    def wait_ready(self, seconds: float = 20.0) -> None:
        """Until /readyz answers 200; fails with the log when the process ends before."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            assert self.process.poll() is None, self.log.read_text()
            if self.ready_status() == 200:
                return
            time.sleep(0.05)
        raise AssertionError(f"not ready after {seconds} s: {self.log.read_text()}")

    def ready_status(self) -> int:
        """Status of /readyz; 0 while nobody listens."""
        try:
            return httpx.get(f"{self.management}/readyz").status_code
        except httpx.HTTPError:
            return 0

    def rss_mb(self) -> float:
        """Resident memory of the process."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def end(self, seconds: float = 20.0) -> int:
        """SIGTERM, and its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=seconds)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(spec: ServeSpec, bento: Path, work: Path, warm: float = 0.05, drain: float = 0.5) -> Iterator[Pod]:
    """A started server; killed at the end if it still runs."""
    port, mirror, management = free_port(), free_port(), free_port()
    log, answer = work / "server.log", work / "termination.log"
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(REPOSITORY / "serving"),
        "HOME": str(work),
        "BENTOML_HOME": str(work / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "True",
        "ORT_DISABLE_TELEMETRY": "1",
        "PERENNIAL_TERMINATION_LOG": str(answer),
        # a value that would turn prometheus_client's counters into files
        "PROMETHEUS_MULTIPROC_DIR": str(work),
        STEP_VARIABLE: encode(spec),
    }
    command = [sys.executable, "-c", SCRIPT, str(port), str(mirror), str(management), str(warm), str(drain), str(bento)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, cwd=work)
    try:
        yield Pod(port, mirror, management, process, log, answer)
    finally:
        process.kill()
        process.wait()
