"""The operator of this checkout as a process of the test's own: started, killed and looked at exactly when the test wants it.

It runs on the cluster's network (so that it reaches pods) with the rights of the installed operator's ServiceAccount, and works
only on ModelDeployments that carry its name in the label `perennial.dev/operator`, beside whatever operator is installed.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

import yaml

from demo.ground import REPOSITORY, STORE_URI, SYSTEM, Ground, Images
from perennial.manifests.common import OPERATOR_LABEL

TOKEN_HOURS = "4h"
START_SECONDS = 60.0
_numbers = itertools.count(1)


class LocalOperator:
    """One named operator; at most one process of it at a time."""

    def __init__(
        self,
        ground: Ground,
        images: Images,
        folder: Path,
        *,
        level: str = "info",
        module: str = "perennial",
        account: tuple[str, str] = (SYSTEM, "perennial"),
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`module` is what is run, for suites that start the operator in a way of their own; `account` is the namespace and the
        name of the ServiceAccount whose rights it has; `more` goes to its environment."""
        self.name = f"test-{os.getpid()}-{next(_numbers)}"
        self.log = folder / f"{self.name}.log"
        self.starts = 0
        self._ground = ground
        self._module = module
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = {
            "KUBECONFIG": str(kubeconfig_of(ground, *account, folder / f"{self.name}.kubeconfig")),
            "PYTHONPATH": f"{REPOSITORY / 'operator'}:{REPOSITORY / 'serving'}",
            "PATH": os.environ.get("PATH", ""),
            "PYTHONMALLOC": "malloc",  # as in its image
            "MALLOC_ARENA_MAX": "2",
            "HOME": str(folder),
            "PERENNIAL_OPERATOR": self.name,
            "PERENNIAL_SERVING_IMAGE": images.runtime,
            "PERENNIAL_TRAINING_IMAGE": images.training,
            "PERENNIAL_STORE_URI": STORE_URI,
            "PERENNIAL_METRICS_PORT": str(self._port),
            "PERENNIAL_LOG_LEVEL": level,
            "PERENNIAL_LOG_FORMAT": "text",
            **more,
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def given(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """The ModelDeployment, labelled as this operator's."""
        meta = manifest["metadata"]
        return {**manifest, "metadata": {**meta, "labels": {**meta.get("labels", {}), OPERATOR_LABEL: self.name}}}

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        if self._process is None:
            raise AssertionError(f"the operator {self.name} does not run")
        return self._process.pid

    def start(self) -> None:
        """Starts it, without waiting for anything."""
        self.starts += 1
        with self.log.open("ab") as log:
            self._process = self._ground.cluster.popen(
                [sys.executable, "-m", self._module], env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self) -> None:
        """kill -9, whatever it is at; returns when it is gone."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """SIGTERM, as a node's drain does it."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    @property
    def ended(self) -> bool:
        """Whether a process that was started has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def problem(self) -> str:
        """Why it does not run although nobody ended it; empty when it runs."""
        if self._process is None or self._process.poll() is None:
            return ""
        return f"the operator ended with {self._process.returncode}:\n{self.words()}"

    def words(self, lines: int = 40) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def wait_ready(self) -> None:
        """Until /readyz answers 200: the cache is filled and the workers run."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if trouble := self.problem():
                raise AssertionError(trouble)
            with contextlib.suppress(Exception):
                self.scrape("readyz")
                return
            time.sleep(0.05)
        raise AssertionError(f"the operator was not ready within {START_SECONDS:.0f} s:\n{self.words()}")

    def scrape(self, path: str = "metrics") -> str:
        """An answer of its metrics port; raises when it is not 200."""
        url = f"http://127.0.0.1:{self._port}/{path}"
        command = [
            sys.executable,
            "-c",
            "import sys,urllib.request as u;print(u.urlopen(sys.argv[1],timeout=2).read().decode())",
            url,
        ]
        if not self._ground.cluster.netns:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return str(answer.read().decode())
        return self._ground.cluster.run(*command, timeout=10)

    def memory_mb(self) -> float:
        """Resident memory of the process in MB (10^6 bytes)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024 / 1e6
        raise AssertionError(f"process {self.pid} tells no VmRSS")

    def cpu_seconds(self) -> float:
        """CPU time of the process so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def kubeconfig_of(ground: Ground, namespace: str, account: str, path: Path) -> Path:
    """A kubeconfig with the rights of a ServiceAccount, no more."""
    config = yaml.safe_load(ground.cluster.kubeconfig.read_text())
    token = ground.kubectl.within(namespace).run("create", "token", account, f"--duration={TOKEN_HOURS}").strip()
    wanted = config.get("current-context")
    cluster = next(one["context"]["cluster"] for one in config["contexts"] if one["name"] == wanted)
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [one for one in config["clusters"] if one["name"] == cluster],
        "users": [{"name": account, "user": {"token": token}}],
        "contexts": [{"name": account, "context": {"cluster": cluster, "user": account, "namespace": namespace}}],
        "current-context": account,
    }
    path.write_text(yaml.safe_dump(document))
    path.chmod(0o600)
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
