"""`status.evidence` of a ModelVersion: what the tests of a rollout know, for people to read; nothing is decided by it.

`perennial.api.rollout_status` has the state that decides.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from perennial.api.base import StatusModel


class MarginEvidence(StatusModel):
    """How far it is shown that the harm is small."""

    margin: float
    """The odds ratio that the harm must be shown to be under."""
    e: float = 1.0
    """Evidence for it; 1 is none."""
    threshold: float = 0.0
    """E from which on it is shown."""
    upper_bound: float | None = None
    """The harm is under this odds ratio with 95 % confidence, however often one looks; null until it is under the margin."""
    message: Annotated[str, Field(max_length=256)] = ""


class ObjectiveEvidence(StatusModel):
    """Both versions by themselves against the largest bad rate that is allowed, since their tests began (last)."""

    max_rate: float
    candidate_total: int = 0
    candidate_bad: int = 0
    candidate_e: float = 1.0
    """Evidence that the candidate's bad rate is over it; 1 is none."""
    stable_total: int = 0
    stable_bad: int = 0
    stable_e: float = 1.0
    threshold: float = 0.0
    """E from which on it is missed. Its false alarms are not part of falseRollbackRate, but as rare again."""
    message: Annotated[str, Field(max_length=256)] = ""


class MetricEvidence(StatusModel):
    """What a rollout's test knew when it ended (or knows now), for people to read."""

    name: Annotated[str, Field(max_length=64)]
    candidate_total: int = 0
    candidate_bad: int = 0
    stable_total: int = 0
    stable_bad: int = 0
    odds_ratio: Annotated[str, Field(max_length=128)] = ""
    """Estimate with its interval, e.g. '9.8 (6.1 to 16.2)'."""
    e: float = 0.0
    """Evidence that it is worse than tolerated; 1 is none."""
    threshold: float = 0.0
    """E from which on it is rolled back: 1 / alpha."""
    alpha: float = 0.0
    """This metric's share of falseRollbackRate: over all steps and the watch, or over the shadow."""
    alpha_used: float = 0.0
    """E in parts of the threshold, at most 1."""
    guarantee: Literal["exact", "approximate", ""] = ""
    """exact: requests are given to versions one by one, so this metric rolls back at most alpha of the healthy versions;
    approximate: connections are (no route is given), and their requests succeed or fail together, or the requests are counted
    elsewhere and not of exactly the same time; alpha is the aim."""
    margin: MarginEvidence | None = None
    objective: ObjectiveEvidence | None = None
    distance: float | None = None
    """Of a predictionShift: how far the scores are apart, from 0 to 1."""
    variance_factor: float = 1.0
    """The dispersion guard's: by so much every test believes its evidence less."""
    message: Annotated[str, Field(max_length=1024)] = ""
