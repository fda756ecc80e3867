"""How long something has been silent, and when the API server is asked about it."""

from __future__ import annotations

from perennial.adapters.silence import ASK_SECONDS, Silence


class Watch:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_silence_is_counted_from_the_first_look_until_it_ends() -> None:
    watch = Watch()
    silence = Silence(watch)
    assert silence.lasts("a") == 0.0
    watch.now += 12.0
    assert (silence.lasts("a"), silence.lasts("b")) == (12.0, 0.0)
    silence.ends("a")
    silence.ends("never heard of")
    assert (silence.lasts("a"), silence.lasts("b")) == (0.0, 0.0)


def test_what_it_is_silent_about_begins_anew_when_it_is_another_thing() -> None:
    watch = Watch()
    silence = Silence(watch)
    for about in (((1, 80), (2, 20)), ((1, 50), (2, 50))):
        assert silence.lasts("a", about) == 0.0
        watch.now += 5.0
        assert silence.lasts("a", about) == 5.0


def test_api_server_is_asked_now_and_then_while_it_lasts() -> None:
    watch = Watch()
    silence = Silence(watch)
    assert not silence.is_to_be_asked("a")
    silence.lasts("a")
    assert not silence.is_to_be_asked("a")
    for _ in range(2):
        watch.now += ASK_SECONDS
        assert silence.is_to_be_asked("a")
        assert not silence.is_to_be_asked("a")
    silence.ends("a")
    assert not silence.is_to_be_asked("a")
