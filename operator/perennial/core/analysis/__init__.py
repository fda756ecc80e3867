"""The anytime-valid rollout test: counters of pods in, a verdict and its evidence out. Pure; no numpy in the operator's image.

    counting.look -> counting.errors | counting.slow -> advance -> judge -> Breach | Clear | Continue
                                                            \\-> evidence (for status, events, people)

docs/statistics.md tells the method and what it reached in simulation.
"""

from perennial.core.analysis.counting import Increments, Look, broken_off, errors, from_readings, look, slow, to_readings
from perennial.core.analysis.eprocess import Block, EProcess, advance, log_e, start
from perennial.core.analysis.evidence import (
    Breach,
    Clear,
    Continue,
    Evidence,
    OddsRatio,
    Verdict,
    evidence,
    judge,
    judge_crashes,
    shadow_alpha,
    split_alpha,
)
from perennial.core.analysis.saved import resume, save, shown

__all__ = [
    "Block",
    "Breach",
    "Clear",
    "Continue",
    "EProcess",
    "Evidence",
    "Increments",
    "Look",
    "OddsRatio",
    "Verdict",
    "advance",
    "broken_off",
    "errors",
    "evidence",
    "from_readings",
    "judge",
    "judge_crashes",
    "log_e",
    "look",
    "resume",
    "save",
    "shadow_alpha",
    "shown",
    "slow",
    "split_alpha",
    "start",
    "to_readings",
]
