"""Every gate's number and interval once more, by scikit-learn, scipy and resampling written out here, over a whole evaluation.

Exact ones agree to the six decimals that are told; bounds that come from a bootstrap within TOLERANCE, for these are other draws.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, average_precision_score, roc_auc_score

from perennial_runtime.contract import EvaluateSpec, GateMeasurement, GateSpec, SliceSpec, encode_answer, unpacked
from perennial_runtime.evaluate import evaluate
from runtime.evaluate_world import World, against, model, truth

METRICS = ("roc_auc", "average_precision", "accuracy", "calibration_error")
ALONE = (*(GateSpec(metric, minimum=0.3) for metric in METRICS[:3]), GateSpec("calibration_error", maximum=0.2))
BESIDE = tuple(GateSpec(metric, not_worse_than_serving_by=0.02) for metric in METRICS)
FACTS = (
    GateSpec("model_bytes", maximum=10_000),
    GateSpec("latency_p99_ms", maximum=1000),
    GateSpec("data_age_hours", maximum=1e6),
    GateSpec("accuracy", minimum_per_slice=0.5),
)
TOLERANCE = 0.012
EXACT = 2e-6
DRAWS = 300
Z = float(stats.norm.ppf(0.95))
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Seen:
    """An evaluation that was done, and what it was done on."""

    world: World
    spec: EvaluateSpec
    gates: dict[tuple[str, str], dict[str, Any]]
    """As the evidence in the store has them."""
    sent: dict[tuple[str, str], GateMeasurement]
    """As the termination message has them."""
    labels: Array
    ours: Array
    theirs: Array
    evidence: dict[str, Any]
    message: str

    def bounds(self, metric: str, kind: str) -> tuple[float, float, float]:
        found = self.gates[metric, kind]
        return found["estimate"], found["lower"], found["upper"]

    def draws(self, value: Callable[[Array], float]) -> tuple[float, float]:
        """Percentiles of a value of resampled rows."""
        random = np.random.default_rng(99)
        rows = len(self.labels)
        found = [value(random.integers(0, rows, rows)) for _ in range(DRAWS)]
        return float(np.quantile(found, 0.05)), float(np.quantile(found, 0.95))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """A challenger with another slope beside its champion, by every gate that there is."""
    world = World.make(tmp_path_factory.mktemp("world"), holdout_rows=1500)
    work = world.folder / "work"
    champion = evaluate(world.spec(gates=()), world.store, work)
    scores = pl.DataFrame({"row": np.arange(512), "score": truth(world.train.head(512), slope=0.3)})
    spec = against(world.spec("delays-v2", model(slope=0.3), scores, (*ALONE, *BESIDE, *FACTS)), champion)
    spec = replace(spec, slices=(SliceSpec("carrier", 100),))
    result = evaluate(spec, world.store, work)
    assert result.evidence is not None
    evidence = json.loads(world.store.get_bytes(result.evidence))
    return Seen(
        world=world,
        spec=spec,
        gates={(gate["metric"], gate["kind"]): gate for gate in evidence["gates"]},
        sent={(gate.metric, gate.kind): gate for gate in unpacked(result, spec.gates).gates},
        labels=world.holdout["late"].to_numpy() == 1,
        ours=served(world, model(slope=0.3)),
        theirs=served(world, model()),
        evidence=evidence,
        message=encode_answer(result),
    )


def served(world: World, body: onnx.ModelProto) -> Array:
    """Scores of the holdout as onnxruntime gives them: single precision, so that ties are those that serving has."""
    session = onnxruntime.InferenceSession(body.SerializeToString(), providers=["CPUExecutionProvider"])
    hours = world.holdout["hour"].fill_null(float("nan")).to_numpy().astype(np.float32)
    carriers = world.holdout["carrier"].fill_null("").to_numpy().astype(object)
    found: Array = session.run(["score"], {"hour": hours.reshape(-1, 1), "carrier": carriers.reshape(-1, 1)})[0]
    return found.reshape(-1).astype(np.float64)


def delong(seen: Seen, *scores: Array) -> tuple[Array, Array]:
    """AUCs and their covariance, pair by pair."""
    labels, positives, negatives = seen.labels, [], []
    for one in scores:
        wins = (one[labels][:, None] > one[~labels]) + 0.5 * (one[labels][:, None] == one[~labels])
        positives.append(wins.mean(axis=1))
        negatives.append(wins.mean(axis=0))
    covariance = np.cov(positives) / labels.sum() + np.cov(negatives) / (~labels).sum()
    return np.array([roc_auc_score(labels, one) for one in scores]), np.atleast_2d(covariance)


def calibration(labels: Array, scores: Array, rows: Array | None = None) -> float:
    """Squared error over the deciles of all scores, less what chance makes of it; by scikit-learn where nothing is resampled."""
    places = np.searchsorted(np.percentile(scores, np.linspace(10, 90, 9)), scores)
    chosen = np.arange(len(labels)) if rows is None else rows
    total = 0.0
    for place in np.unique(places[chosen]):
        gaps = (scores - labels)[chosen][places[chosen] == place]
        total += len(gaps) / len(chosen) * (gaps.mean() ** 2 - gaps.var(ddof=1) / len(gaps))
    return total


def plugged(labels: Array, scores: Array) -> float:
    """The same without the correction, from scikit-learn's own curve."""
    happened, foretold = calibration_curve(labels, scores, n_bins=10, strategy="quantile")
    places = np.searchsorted(np.percentile(scores, np.linspace(10, 90, 9)), scores)
    shares = np.unique(places, return_counts=True)[1] / len(scores)
    return float((shares * (happened - foretold) ** 2).sum())


def root(squared: float) -> float:
    return float(np.sqrt(max(squared, 0.0)))


def test_roc_auc_and_its_difference_are_delongs(seen: Seen) -> None:
    (ours, theirs), covariance = delong(seen, seen.ours, seen.theirs)
    quantile = stats.t.ppf(0.95, min(seen.labels.sum(), (~seen.labels).sum()) - 1)
    center, spread = np.log(ours / (1 - ours)), quantile * np.sqrt(covariance[0, 0]) / (ours * (1 - ours))
    expected = (ours, 1 / (1 + np.exp(spread - center)), 1 / (1 + np.exp(-spread - center)))
    assert seen.bounds("roc_auc", "minimum") == pytest.approx(expected, abs=1e-5)
    half = quantile * np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    gap = ours - theirs
    assert seen.bounds("roc_auc", "notWorseThanServingBy") == pytest.approx((gap, gap - half, gap + half), abs=1e-5)


def test_average_precision_and_its_difference_are_the_bootstraps(seen: Seen) -> None:
    def of(scores: Array, rows: Array) -> float:
        return float(average_precision_score(seen.labels[rows], scores[rows]))

    whole = np.arange(len(seen.labels))
    value, lower, upper = seen.bounds("average_precision", "minimum")
    assert value == pytest.approx(of(seen.ours, whole), abs=EXACT)
    assert (lower, upper) == pytest.approx(seen.draws(lambda rows: of(seen.ours, rows)), abs=TOLERANCE)
    value, lower, upper = seen.bounds("average_precision", "notWorseThanServingBy")
    assert value == pytest.approx(of(seen.ours, whole) - of(seen.theirs, whole), abs=EXACT)
    assert (lower, upper) == pytest.approx(
        seen.draws(lambda rows: of(seen.ours, rows) - of(seen.theirs, rows)), abs=TOLERANCE / 2
    )


def test_accuracy_is_wilsons_and_its_difference_agresti_and_mins(seen: Seen) -> None:
    labels, rows = seen.labels, len(seen.labels)
    right, other = (seen.ours >= 0.5) == labels, (seen.theirs >= 0.5) == labels
    interval = stats.binomtest(int(right.sum()), rows).proportion_ci(0.90, method="wilson")
    expected = (accuracy_score(labels, seen.ours >= 0.5), interval.low, interval.high)
    assert seen.bounds("accuracy", "minimum") == pytest.approx(expected, abs=EXACT)
    gained, lost = int((right & ~other).sum()), int((other & ~right).sum())
    center = (gained - lost) / (rows + 2)
    half = Z * np.sqrt(((gained + lost + 1) / (rows + 2) - center**2) / (rows + 2))
    expected = ((gained - lost) / rows, center - half, center + half)
    assert seen.bounds("accuracy", "notWorseThanServingBy") == pytest.approx(expected, abs=EXACT)


def test_calibration_error_and_its_difference_are_the_bootstraps(seen: Seen) -> None:
    def centred(scores: Array, rows: Array) -> float:
        found = calibration(seen.labels, scores, rows)
        return root(found - plugged(seen.labels, scores) + calibration(seen.labels, scores))

    ours, theirs = (root(calibration(seen.labels, scores)) for scores in (seen.ours, seen.theirs))
    value, lower, upper = seen.bounds("calibration_error", "maximum")
    assert value == pytest.approx(ours, abs=EXACT)
    assert ours > 0.02  # the challenger is too sure of itself
    assert (lower, upper) == pytest.approx(seen.draws(lambda rows: centred(seen.ours, rows)), abs=TOLERANCE)
    value, lower, upper = seen.bounds("calibration_error", "notWorseThanServingBy")
    assert value == pytest.approx(theirs - ours, abs=EXACT)
    assert (lower, upper) == pytest.approx(
        seen.draws(lambda rows: centred(seen.theirs, rows) - centred(seen.ours, rows)), abs=TOLERANCE
    )


def test_slices_are_exact_binomial_tests_corrected_by_scipy(seen: Seen) -> None:
    right = (seen.ours >= 0.5) == seen.labels
    carriers = seen.world.holdout["carrier"].fill_null("(missing)").to_numpy()
    judged = seen.evidence["slices"]["judged"]
    assert len(judged) == 4
    expected = []
    for one in judged:
        rows = carriers == one["slice"].partition("=")[2]
        interval = stats.binomtest(int(right[rows].sum()), int(rows.sum())).proportion_ci(0.90, method="wilson")
        assert (one["rows"], one["estimate"]) == (rows.sum(), pytest.approx(right[rows].mean()))
        assert (one["lower"], one["upper"]) == pytest.approx((interval.low, interval.high))
        expected.append(stats.binomtest(int(right[rows].sum()), int(rows.sum()), 0.5, alternative="less").pvalue)
    assert [one["p"] for one in judged] == pytest.approx(expected)
    assert [one["adjusted"] for one in judged] == pytest.approx(list(stats.false_discovery_control(expected)))
    assert [one["slice"] for one in seen.evidence["slices"]["notJudged"]] == ["carrier=(missing)"]
    found = seen.sent["accuracy", "minimumPerSlice"].slices
    assert found is not None
    assert (found.judged, found.not_judged, found.under) == (4, 1, 0)


def test_size_and_age_are_exact_and_a_latency_has_bounds(seen: Seen) -> None:
    size = len(seen.world.store.get_bytes(seen.spec.model))
    assert seen.bounds("model_bytes", "maximum") == (size, size, size)
    value, lower, upper = seen.bounds("data_age_hours", "maximum")
    assert value == lower == upper > 24 * 365 * 50  # the rows of this world are of 1970
    value, lower, upper = seen.bounds("latency_p99_ms", "maximum")
    assert 0 < lower <= value <= upper < 1000


def test_twelve_gates_and_their_slices_fit_into_one_termination_message(seen: Seen) -> None:
    assert len(seen.message.encode()) <= 1024
    assert len(seen.evidence["gates"]) == len(seen.spec.gates) == len(seen.sent) == 12
    for named, gate in seen.sent.items():
        exact = seen.gates[named]
        assert gate.estimate == pytest.approx(exact["estimate"], abs=0.005)
        assert gate.lower <= exact["lower"]
        assert gate.upper >= exact["upper"]
