"""Mirrored requests are copies: a request that fails both versions counts on both sides. The shadow's test has to bear it."""

from __future__ import annotations

from random import Random

import pytest

from perennial.core import analysis

RUNS, SECONDS, REQUESTS, ALPHA = 60, 40, 40, 0.05
LATE = 0.1
"""Of the pairs, whose copy is answered after the reading that has the original: far more than a gateway leaves."""


def rolled_back(rate: float, shared: float, worse: float, seed: int) -> bool:
    """A shadow of 40 s. `shared` of the failures are the request's own and fail both; `worse` is what the candidate adds."""
    chance = Random(seed)
    state = analysis.start(1.0, float(SECONDS))
    carried = (0, 0)
    for second in range(SECONDS):
        stable_bad = candidate_bad = candidate = 0
        late = [0, 0]
        for _ in range(REQUESTS):
            request = chance.random() < rate * shared
            own = rate * (1.0 - shared)
            stable_bad += request or chance.random() < own
            bad = request or chance.random() < own + worse
            if chance.random() < LATE:
                late = [late[0] + 1, late[1] + bad]
            else:
                candidate, candidate_bad = candidate + 1, candidate_bad + bad
        block = analysis.Block(candidate + carried[0], candidate_bad + carried[1], REQUESTS, stable_bad)
        carried = (late[0], late[1])
        state = analysis.advance(state, block, second + 1.0)
        if isinstance(analysis.judge("errors", state, ALPHA), analysis.Breach):
            return True
    return False


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("rate", [0.01, 0.2])
def test_a_healthy_candidate_is_seldom_caught_in_its_shadow_however_much_the_requests_themselves_decide(
    rate: float, shared: float
) -> None:
    caught = sum(rolled_back(rate, shared, 0.0, seed) for seed in range(RUNS))
    assert caught <= 9, "more would be seen once in 1,000 at 5 %"


def test_a_bad_candidate_is_caught_in_its_shadow_all_the_same() -> None:
    assert all(rolled_back(0.01, 0.5, 0.1, seed) for seed in range(20))
