"""Asks reporters of train Jobs how far their trainers are, beside the passes: one that does not answer delays none.

`perennial.gathering` tells in every pass which pods train, and takes their last answers. One pod is asked at most every
ASK_SECONDS, and at most AT_ONCE are asked at the same time; who would be one more is asked in a later pass.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from perennial.core.observed import JobPod, TrainReading
from perennial.core.progress import ASK_SECONDS
from perennial.ports import Reporters

AT_ONCE = 16
MOST = 2000
"""Pods that are remembered; the ones that were not spoken of for the longest time are forgotten first."""

log = logging.getLogger("perennial.following")


@dataclass(slots=True)
class _Followed:
    """One pod."""

    asked_at: float = float("-inf")
    task: asyncio.Task[TrainReading | None] | None = None
    answer: TrainReading | None = None


class Following:
    """The last answers, and the questions under way. Lives in one event loop."""

    def __init__(self, reporters: Reporters, monotonic: Callable[[], float]) -> None:
        self._reporters = reporters
        self._monotonic = monotonic
        self._followed: OrderedDict[str, _Followed] = OrderedDict()
        self._under_way = 0

    def newest(self, pods: Sequence[JobPod]) -> dict[str, TrainReading]:
        """By UID, what these pods last answered; asks those that are due, and waits for nothing."""
        found: dict[str, TrainReading] = {}
        for pod in pods:
            one = self._followed.setdefault(pod.uid, _Followed())
            self._followed.move_to_end(pod.uid)
            if one.answer is not None:
                found[pod.uid] = one.answer
            if self._is_due(one):
                self._ask(pod, one)
        while len(self._followed) > MOST:
            self._followed.popitem(last=False)
        return found

    def _is_due(self, one: _Followed) -> bool:
        free = one.task is None and self._under_way < AT_ONCE
        return free and self._monotonic() - one.asked_at >= ASK_SECONDS

    def _ask(self, pod: JobPod, one: _Followed) -> None:
        self._under_way += 1
        one.asked_at = self._monotonic()
        one.task = asyncio.get_running_loop().create_task(self._reporters.read(pod), name=f"progress of {pod.name}")

        def keep(done: asyncio.Task[TrainReading | None]) -> None:
            self._under_way -= 1
            one.task = None
            if done.cancelled():
                return
            if error := done.exception():
                log.error("the progress of pod %s could not be read by a fault of ours", pod.name, exc_info=error)
            elif (answer := done.result()) is not None:
                one.answer = answer

        one.task.add_done_callback(keep)
