"""Says what is happening and since when: `[ 12s] containerd: building (about 70 s)`. Used by every phase."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

HEARTBEAT_SECONDS = 20.0


class Progress:
    """Lines with the seconds since the command began; a step that lasts says now and then that it still lives."""

    def __init__(self, out: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock = clock
        self._began = clock()

    def say(self, text: str) -> None:
        elapsed = int(self._clock() - self._began)
        print(f"[{elapsed:4d}s] {text}", file=self._out or sys.stderr, flush=True)

    @contextmanager
    def step(self, what: str, doing: str, about: int | None = None) -> Iterator[None]:
        """Announces a phase, keeps a heartbeat while it lasts, and tells its duration when it was noticeable."""
        self.say(f"{what}: {doing} (about {about} s)" if about else f"{what}: {doing}")
        began = self._clock()
        done = threading.Event()

        def heartbeat() -> None:
            while not done.wait(HEARTBEAT_SECONDS):
                self.say(f"{what}: still {doing}, {self._clock() - began:.0f} s so far")

        beat = threading.Thread(target=heartbeat, daemon=True)
        beat.start()
        try:
            yield
        finally:
            done.set()
            beat.join()
        if (took := self._clock() - began) >= 1:
            self.say(f"{what}: done in {took:.0f} s")


class Quiet(Progress):
    """For callers that are part of another program's output, such as tests."""

    def say(self, text: str) -> None:
        del text
