"""Which side a row is on: pure, by time, and for ever.

A split is a list of closed windows of time and a horizon, the newest time that any version of it has seen. A row in a window is
holdout, every other row up to the horizon is training data, in this version and in all that continue it. Only rows newer than
the horizon are undecided: the newest `fraction` of them becomes a new window, and the horizon moves. So no row that a version
was trained on can turn up in a later version's holdout. Times are microseconds since 1970 (UTC). Read by `prepare`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.int64]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Split:
    """Holdout windows (first and last time, both inclusive), ascending, and the newest time seen."""

    windows: tuple[tuple[int, int], ...] = ()
    horizon: int | None = None

    def holds_out(self, times: Times) -> NDArray[np.bool_]:
        """For each row whether it is holdout."""
        out = np.zeros(len(times), dtype=np.bool_)
        for first, last in self.windows:
            out |= (times >= first) & (times <= last)
        return out

    def extended(self, times: Times, fraction: float) -> Split:
        """The split that also decides the rows newer than the horizon."""
        return self.extended_by(np.sort(times), fraction)

    def extended_by(self, ordered: Times, fraction: float) -> Split:
        """The same where the times ascend; few of them are looked at, so that they may lie on disk."""
        new = ordered if self.horizon is None else ordered[int(np.searchsorted(ordered, self.horizon, side="right")) :]
        if len(new) == 0:
            return self
        newest = int(new[-1])
        cut = _cut(new, fraction)
        windows = self.windows if cut is None else (*self.windows, (cut, newest))
        return Split(windows, newest)


def _cut(ordered: Times, fraction: float) -> int | None:
    """The time from which the share of rows is nearest to `fraction`, some rows on each side; None when all are of one time."""
    rows = len(ordered)
    middle = ordered[min(rows - 1, int(rows * (1 - fraction)))]
    candidates = {int(middle)}
    later = int(np.searchsorted(ordered, middle, side="right"))
    if later < rows:
        candidates.add(int(ordered[later]))
    candidates.discard(int(ordered[0]))
    if not candidates:
        return None
    return min(candidates, key=lambda cut: (abs((rows - np.searchsorted(ordered, cut)) / rows - fraction), cut))


def to_text(time: int) -> str:
    """RFC 3339 in UTC; a fraction only where there is one."""
    moment = _EPOCH + timedelta(microseconds=time)
    return moment.isoformat().replace("+00:00", "Z")


def from_text(text: str) -> int:
    """Microseconds since 1970 of `to_text`'s words."""
    return from_moment(datetime.fromisoformat(text.replace("Z", "+00:00")))


def from_moment(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def to_document(split: Split) -> dict[str, object]:
    """The split as split.json says it."""
    windows = [[to_text(first), to_text(last)] for first, last in split.windows]
    return {"windows": windows, "horizon": None if split.horizon is None else to_text(split.horizon)}


def from_document(document: dict[str, object]) -> Split:
    """The split of a split.json. Raises KeyError, TypeError or ValueError when it is none."""
    windows, horizon = document["windows"], document["horizon"]
    if not isinstance(windows, list):
        raise TypeError("windows is no list")
    return Split(
        tuple((from_text(first), from_text(last)) for first, last in windows),
        None if horizon is None else from_text(str(horizon)),
    )
