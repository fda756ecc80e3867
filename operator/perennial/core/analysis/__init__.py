"""The anytime-valid rollout test: counters of pods in, a verdict and its evidence out. Pure; no numpy in the operator's image.

    counting.look -> counting.errors | counting.slow -> advance -> judge -> Breach | Clear | Continue
                                                            \\-> evidence (for status, events, people)

Beside the comparison a metric may have a margin (`margin`: harm shown to be small) and an objective (`rate`: one version's own
bad rate); `dispersion` guards all of them against answers that come in bursts. docs/statistics.md tells the methods and what they
reached in simulation.
"""

from perennial.core.analysis.counting import Look, broken_off, errors, from_readings, look, slow, to_readings
from perennial.core.analysis.dispersion import Dispersion, counted, variance_factor
from perennial.core.analysis.distance import Distance, distance
from perennial.core.analysis.eprocess import Block, EProcess, advance, log_e, start
from perennial.core.analysis.evidence import (
    Breach,
    Clear,
    Continue,
    evidence,
    judge,
    judge_crashes,
    shadow_alpha,
    short,
    split_alpha,
)
from perennial.core.analysis.margin import advance_margin, is_shown, start_margin, upper_bound
from perennial.core.analysis.rate import RateTest, advance_rate, start_rate
from perennial.core.analysis.reported import Guarantee, e_of, margin_evidence, objective_evidence, report, shown
from perennial.core.analysis.saved import (
    resume,
    resume_confirming,
    resume_dispersion,
    resume_margin,
    resume_rate,
    save,
    save_dispersion,
    save_margin,
    save_rate,
)

__all__ = [
    "Block",
    "Breach",
    "Clear",
    "Continue",
    "Dispersion",
    "Distance",
    "EProcess",
    "Guarantee",
    "Look",
    "RateTest",
    "advance",
    "advance_margin",
    "advance_rate",
    "broken_off",
    "counted",
    "distance",
    "e_of",
    "errors",
    "evidence",
    "from_readings",
    "is_shown",
    "judge",
    "judge_crashes",
    "log_e",
    "look",
    "margin_evidence",
    "objective_evidence",
    "report",
    "resume",
    "resume_confirming",
    "resume_dispersion",
    "resume_margin",
    "resume_rate",
    "save",
    "save_dispersion",
    "save_margin",
    "save_rate",
    "shadow_alpha",
    "short",
    "shown",
    "slow",
    "split_alpha",
    "start",
    "start_margin",
    "start_rate",
    "to_readings",
    "upper_bound",
    "variance_factor",
]
