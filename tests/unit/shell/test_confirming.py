"""How long a route's controller has been silent, and when the API server is asked what it said."""

from __future__ import annotations

from dataclasses import replace

from perennial.adapters.confirming import REREAD_SECONDS, Confirming
from perennial.core.observed import Mirror, RouteState

UNSEEN = RouteState(((1, 80), (2, 20)), accepted=False, unseen=True)


class Watch:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_silence_is_counted_from_the_first_look_at_these_shares_until_the_controller_tells() -> None:
    watch = Watch()
    confirming = Confirming(watch)
    assert confirming.of("a", UNSEEN).unseen_seconds == 0.0
    watch.now += 12.0
    assert confirming.of("a", UNSEEN).unseen_seconds == 12.0
    assert confirming.of("b", UNSEEN).unseen_seconds == 0.0
    seen = replace(UNSEEN, accepted=True, unseen=False)
    assert confirming.of("a", seen) == seen
    assert confirming.of("a", UNSEEN).unseen_seconds == 0.0


def test_other_shares_or_another_mirror_are_waited_for_anew() -> None:
    watch = Watch()
    confirming = Confirming(watch)
    for state in (UNSEEN, replace(UNSEEN, weights=((1, 50), (2, 50))), replace(UNSEEN, mirror=Mirror(2, 10))):
        assert confirming.of("a", state).unseen_seconds == 0.0
        watch.now += 5.0
        assert confirming.of("a", state).unseen_seconds == 5.0


def test_newest_state_is_read_now_and_then_while_the_controller_is_silent() -> None:
    watch = Watch()
    confirming = Confirming(watch)
    assert not confirming.is_to_be_read("a")
    confirming.of("a", UNSEEN)
    assert not confirming.is_to_be_read("a")
    for _ in range(2):
        watch.now += REREAD_SECONDS
        assert confirming.is_to_be_read("a")
        assert not confirming.is_to_be_read("a")
