"""What holds for all suites."""

from __future__ import annotations

from hypothesis import settings

# A busy machine is slow now and then, which says nothing of the code; pytest's own time limit stands. All else as it was: the
# profile that is loaded by then (in CI that of Hypothesis for CI) is the parent.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")
