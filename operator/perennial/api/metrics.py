"""`spec.rollout.metrics`: what a candidate is compared with stable on, and what is asked of a version by itself."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from perennial.api.base import Duration, SpecModel, cel, rules

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
    """How often the source reads these counters. So long after a change of weight nothing is counted: what it shows then may be
    from before."""


class PredictionShiftMetric(SpecModel):
    """Distance of the scores that both versions answered over the same time: the largest difference of cumulative shares."""

    max_distance: Annotated[float, Field(ge=0.01, le=1)] | None = None
    """While the distance is sure to be more than this, no step passes: a person promotes or aborts. Not given: only told."""


class RolloutMetric(SpecModel):
    """What the candidate is compared with stable on."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "[has(self.errors), has(self.latency), has(self.prometheus), has(self.predictionShift)].exists_one(given, given)",
                "a rollout metric needs exactly one of errors, latency, prometheus and predictionShift",
                "'metric %s has %s of errors, latency, prometheus and predictionShift: keep exactly one, e.g. errors: {}'"
                ".format([self.name, [has(self.errors), has(self.latency), has(self.prometheus), has(self.predictionShift)]"
                ".exists(given, given) ? 'more than one' : 'none'])",
            ),
            cel(
                "!has(self.predictionShift) || !(has(self.margin) || has(self.objective) || has(self.tolerance))",
                "a predictionShift has no tolerance, margin or objective: it compares scores, not bad answers",
                "'metric %s is a predictionShift, which compares scores and not bad answers: take tolerance, margin and "
                "objective out, or give maxDistance in predictionShift'.format([self.name])",
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
    """This metric's share of falseRollbackRate."""
