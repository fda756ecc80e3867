"""How long something has been silent, and when the API server is asked about it."""

from __future__ import annotations

from perennial.adapters.silence import ASK_SECONDS, Silence

MODEL, OTHER = ("shop", "delays"), ("taxis", "delays")


class Watch:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_silence_is_counted_from_the_first_look_until_it_ends() -> None:
    watch = Watch()
    silence = Silence(watch)
    assert silence.lasts(MODEL, "a") == 0.0
    watch.now += 12.0
    assert (silence.lasts(MODEL, "a"), silence.lasts(MODEL, "b"), silence.lasts(OTHER, "a")) == (12.0, 0.0, 0.0)
    silence.ends(MODEL, "a")
    silence.ends(MODEL, "never heard of")
    watch.now += 1.0
    assert (silence.lasts(MODEL, "a"), silence.lasts(MODEL, "b"), silence.lasts(OTHER, "a")) == (0.0, 1.0, 1.0)
    silence.forget(MODEL)
    silence.forget(("shop", "never heard of"))
    assert (silence.lasts(MODEL, "b"), silence.lasts(OTHER, "a")) == (0.0, 1.0)


def test_what_it_is_silent_about_begins_anew_when_it_is_another_thing() -> None:
    watch = Watch()
    silence = Silence(watch)
    for about in (((1, 80), (2, 20)), ((1, 50), (2, 50))):
        assert silence.lasts(MODEL, "a", about) == 0.0
        watch.now += 5.0
        assert silence.lasts(MODEL, "a", about) == 5.0


def test_api_server_is_asked_now_and_then_while_it_lasts() -> None:
    watch = Watch()
    silence = Silence(watch)
    assert not silence.is_to_be_asked(MODEL, "a")
    silence.lasts(MODEL, "a")
    assert not silence.is_to_be_asked(MODEL, "a")
    for _ in range(2):
        watch.now += ASK_SECONDS
        assert silence.is_to_be_asked(MODEL, "a")
        assert not silence.is_to_be_asked(MODEL, "a")
    silence.ends(MODEL, "a")
    assert not silence.is_to_be_asked(MODEL, "a")
