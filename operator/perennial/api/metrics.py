"""`spec.rollout.metrics`: what a candidate is compared with stable on, and what is asked of a version by itself."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from perennial.api.base import Duration, SpecModel, cel, rules
from perennial.api.pods import LocalReference, PodOptions

SlowerThan = Literal[
    "5ms", "10ms", "15ms", "20ms", "25ms", "30ms", "40ms", "50ms", "60ms", "75ms", "100ms", "125ms", "150ms", "200ms", "250ms",
    "300ms", "400ms", "500ms", "600ms", "750ms", "1000ms", "1500ms", "2000ms", "2500ms", "3000ms", "5000ms",
]  # fmt: skip


class ErrorsMetric(SpecModel):
    """Answers that are neither 2xx nor 429."""


class LatencyMetric(SpecModel):
    """Answers slower than a bound of the serving pods' latency buckets."""

    slower_than: SlowerThan
    """An answer is slow from here on."""


class Objective(SpecModel):
    """What is asked of a version by itself, whatever the other one does."""

    max_rate: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            json_schema_extra=rules(
                cel(
                    "self > 0.0 && self < 1.0",
                    "objective.maxRate must be more than 0 and less than 1, e.g. 0.02",
                    "'objective.maxRate is %s: it must be more than 0 and less than 1, e.g. 0.02'.format([self])",
                )
            ),
        ),
    ]
    """Largest share of bad answers that is allowed."""


Expression = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1024,
        json_schema_extra=rules(
            cel(
                "self.contains('$(version)')",
                "the expression must select one version by $(version), which stands for <name>-v<number>",
                "'%s does not select one version: use $(version), which stands for <name>-v<number>, "
                'e.g. sum(requests_total{service="$(version)"})\'.format([self])',
            ),
            cel(
                "!self.replace('$(version)', '').replace('$(name)', '').replace('$(namespace)', '').contains('$(')",
                "the expression has a placeholder that is unknown: $(version), $(name) and $(namespace) are known",
                "'%s has a placeholder that is unknown: $(version), $(name) and $(namespace) are known'.format([self])",
            ),
        ),
    ),
]
"""PromQL that gives one number, a counter that only grows; $(version), $(name) and $(namespace) are filled in."""


class PrometheusMetric(SpecModel):
    """Requests that were counted elsewhere, as two counters of each version at a Prometheus server."""

    source: Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]{0,30}[a-z0-9])?$", max_length=32)]
    """Name of a source that the operator was installed with (the chart's metricSources); never an address."""
    good: Annotated[Expression, Field(examples=['sum(orders_total{service="$(version)",outcome!="failed"})'])]
    """All requests of one version that went well, ever: one number that only grows."""
    total: Annotated[Expression, Field(examples=['sum(orders_total{service="$(version)"})'])]
    """All requests of one version, ever, good ones among them."""
    scrape_interval: Duration = "30s"
    """How often the source reads these counters; 30s when not given. So long after a change of weight nothing is counted: what it
    shows then may be from before."""


class PredictionShiftMetric(SpecModel):
    """Distance of the scores that both versions answered over the same time: the largest difference of cumulative shares."""

    max_distance: Annotated[float, Field(ge=0.01, le=1)] | None = None
    """While the distance is sure to be more than this, no step passes: a person promotes or aborts. Not given: only told."""


class JobMetric(PodOptions):
    """A Job of yours that measures the candidate: once in each step and in the watch, and every so often where that is asked for.

    Exit code 0 is a good measurement; 1 with words in the termination message (/dev/termination-log) is a bad one, for the reason
    that they give. Everything else (another code, no words, a time-out, an image that cannot be pulled) is no measurement: it is
    told and tried again, and no step passes meanwhile.
    """

    image: Annotated[str, Field(min_length=1, max_length=512, examples=["registry/acceptance@sha256:..."])]
    """What runs. By digest, if it shall be the same for ever."""
    command: Annotated[list[Annotated[str, Field(max_length=4096)]], Field(max_length=32)] = []
    """Its command, if not the image's own."""
    secret_ref: LocalReference | None = None
    """A Secret of this namespace, as files under /perennial/secret."""
    every: (
        Annotated[
            Duration,
            Field(
                json_schema_extra=rules(
                    cel(
                        "duration(self) >= duration('10s')",
                        "a job's every must be at least 10s",
                        "'a job\\'s every is %s: each run makes a pod; take at least 10s'.format([self])",
                    )
                )
            ),
        ]
        | None
    ) = None
    """Measured again so long after a run; at least 10s. Not given: once in each step and once in the watch."""
    timeout: Duration = "5m"
    """Longest run, from when its pod got a node: pulling the image counts, waiting for room does not. 5m when not given."""
    failure_limit: Annotated[int, Field(ge=0, le=100)] = 0
    """So many bad measurements of a rollout are let pass, none when not given; one more takes the candidate back. Not part of
    falseRollbackRate: how often this one is wrong only you know."""


class RolloutMetric(SpecModel):
    """What the candidate is compared with stable on."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "[has(self.errors), has(self.latency), has(self.prometheus), has(self.job), has(self.predictionShift)]"
                ".exists_one(given, given)",
                "a rollout metric needs exactly one of errors, latency, prometheus, job and predictionShift",
                "'metric %s has %s of errors, latency, prometheus, job and predictionShift: keep exactly one, e.g. errors: {}'"
                ".format([self.name, [has(self.errors), has(self.latency), has(self.prometheus), has(self.job), "
                "has(self.predictionShift)].exists(given, given) ? 'more than one' : 'none'])",
            ),
            cel(
                "!has(self.predictionShift) || !(has(self.margin) || has(self.objective) || has(self.tolerance))",
                "a predictionShift has no tolerance, margin or objective: it compares scores, not bad answers",
                "'metric %s is a predictionShift, which compares scores and not bad answers: take tolerance, margin and "
                "objective out, or give maxDistance in predictionShift'.format([self.name])",
            ),
            cel(
                "!has(self.job) || !(has(self.margin) || has(self.objective) || has(self.tolerance))",
                "a job has no tolerance, margin or objective: it says itself what is bad",
                "'metric %s is a job, which says itself what is bad: take tolerance, margin and objective out, and have the Job "
                "judge by them'.format([self.name])",
            ),
            cel(
                "!has(self.margin) || self.margin > (has(self.tolerance) ? self.tolerance : has(self.latency) ? 1.25 : 1.0)",
                "a metric's margin must be more than its tolerance (1.25 for latency and 1 for others when not given)",
                "'metric %s has margin %s: it must be more than the tolerance, which is 1.25 for latency and 1 for others when "
                "not given; raise margin or lower tolerance'.format([self.name, self.margin])",
            ),
        )
    )

    name: Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]{0,30}[a-z0-9])?$", max_length=32)]
    """How the metric is called in status and messages."""
    errors: ErrorsMetric | None = None
    """Count answers that are neither 2xx nor 429."""
    latency: LatencyMetric | None = None
    """Count slow answers."""
    prometheus: PrometheusMetric | None = None
    """Compare requests that were counted elsewhere."""
    job: JobMetric | None = None
    """Have a Job of yours measure the candidate. It is no comparison: one bad measurement more than failureLimit takes the
    candidate back."""
    prediction_shift: PredictionShiftMetric | None = None
    """Tell how far the candidate's scores are from stable's. It never takes a candidate back: every real retrain moves scores."""
    tolerance: Annotated[float, Field(ge=1, le=10)] | None = None
    """Tolerated odds ratio; 1.25 for latency and 1.0 for others when not given."""
    margin: (
        Annotated[
            float,
            Field(
                gt=1,
                le=10,
                json_schema_extra=rules(
                    cel(
                        "self > 1.0 && self <= 10.0",
                        "a metric's margin is an odds ratio of more than 1 and at most 10, e.g. 2",
                        "'margin is %s: it is an odds ratio of more than 1 and at most 10, e.g. 2'.format([self])",
                    )
                ),
            ),
        ]
        | None
    ) = None
    """A step passes only when the harm is shown, with 95 % confidence, to be under this odds ratio. That takes bad answers of
    both versions: the nearer to 1, the more."""
    objective: Objective | None = None
    """Largest share of bad answers of a version by itself. Missed by the candidate alone: a breach. Missed by both: somebody
    else's outage, and nothing is taken back. Not part of falseRollbackRate: a false alarm of its own is as rare again."""
    weight: Annotated[int, Field(ge=1, le=100)] = 1
    """This metric's share of falseRollbackRate, 1 when not given; a job and a predictionShift have none."""

    @property
    def is_compared(self) -> bool:
        """Whether a test compares the candidate's requests with stable's: it has a share of falseRollbackRate."""
        return self.job is None and self.prediction_shift is None
