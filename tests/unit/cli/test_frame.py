"""The picture that `kubectl perennial watch` shows at a terminal."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from rich.console import Console, RenderableType

from perennial.api.evidence import MetricEvidence
from perennial.cli import asking
from perennial.cli.description import described
from perennial.cli.explanation import Section
from perennial.cli.frame import BARS, Track, _metrics, frame, level, line, sparkline
from perennial.cli.screen import Columns, figures, rendered, span
from perennial.core.observed import TrainReading
from unit.cli.worldcluster import WorldCluster
from unit.core.test_accelerator import busy
from unit.core.test_progress import training
from unit.core.test_watch import canary, watched
from unit.core.world import World, served, spec


def picture(world: World, track: Track, width: int = 140) -> str:
    """What stands on the screen, without colours."""
    cluster = WorldCluster(world, is_down=True)
    found = asking.read(cluster.model("delays"), cluster.versions("delays"))
    track.see(found)
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(frame(found, track, world.now))
    return captured.get()


def lines(world: World) -> list[str]:
    return [" ".join(line.split()) for line in picture(world, Track()).splitlines()]


def test_a_canary_shows_shares_time_left_requests_and_its_evidence() -> None:
    world = canary()
    world.live(3, rate=100)
    found = lines(world)
    assert any(line.startswith("v1 90 % " + 36 * "█") for line in found)
    assert any(line.startswith("v2 10 % " + 4 * "█") for line in found)
    assert any(line.startswith("step 1 of 2, 10 %: ") and " of 5s left; " in line for line in found)
    assert any(line.startswith("errors ") for line in found)
    assert any(line.startswith("as written ") for line in found)


def test_the_evidence_grows_towards_its_threshold() -> None:
    world, track = canary(steps=[{"weight": 10, "hold": "60s"}]), Track()
    for _ in range(60):
        world.live(1, rate=1000, bad={1: 0.01, 2: 0.02})
        picture(world, track)
        if track.levels and track.levels["errors"][-1] > 0.2:
            break
    levels = track.levels["errors"]
    assert levels[0] == 0.0 < levels[-1]
    assert sparkline(levels)[-1] > sparkline(levels)[0] == BARS[0]


def test_a_watch_shows_what_is_left_of_it() -> None:
    world = watched()
    world.live(1, rate=100)
    assert "watch of v2 beside v1: 59s left" in lines(world)


def test_another_rollout_begins_its_track_anew() -> None:
    world, track = canary(), Track()
    world.live(2, rate=100)
    picture(world, track)
    assert track.levels
    picture(served(), track)
    assert not track.levels


def test_what_is_wrong_stands_in_the_picture() -> None:
    world = canary()
    world.unreachable = True
    world.live(2, rate=100)
    assert any(line.startswith("Measured=False PodsUnreachable: pod x: timed out") for line in lines(world))
    assert not any("=True" in line for line in lines(served()))


def test_a_narrow_terminal_is_enough() -> None:
    world = canary()
    world.live(2, rate=100)
    assert max(map(len, picture(world, Track(), width=80).splitlines())) <= 80


def rows(what: RenderableType, width: int) -> list[str]:
    """The lines of it on a screen, of which no end is cut."""
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(what, crop=False)
    return captured.get().splitlines()


TESTED = MetricEvidence(
    name="errors",
    candidate_bad=12,
    candidate_total=12345,
    stable_bad=44,
    stable_total=112233,
    odds_ratio="9.8 (6.1 to 16.2)",
    e=437,
    threshold=1000,
)
ADDRESS = "http://perennial-gateway.perennial-system.svc.cluster.local/flights/delays"
DIGEST = f"sha256:{'0a' * 32}"


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_name_a_time_an_address_and_a_digest_are_whole_on_every_screen(width: int) -> None:
    cells = ["flights-production", "delays", "2026-01-01T00:00:00Z", ADDRESS, DIGEST]
    found = rows(Columns(["NAMESPACE", "NAME", "SINCE", "ADDRESS", "MODEL"], [cells]), width)
    assert [one.split() for one in found] == [["NAMESPACE", "NAME", "SINCE", "ADDRESS", "MODEL"], cells]
    said = rows(rendered([Section("What serves", [f"it answers at {ADDRESS}, and it is model {DIGEST}"])]), width)
    assert f"{ADDRESS}," in "\n".join(said)
    assert DIGEST in "\n".join(said)


def test_a_cell_of_words_is_folded_between_them_to_fit_the_screen() -> None:
    found = rows(Columns(["STEP", "BEGAN", "WHY"], [["train", "2026-01-01T00:00:00Z", "out of memory " * 9]], "", "  "), 80)
    assert found[0].split() == ["STEP", "BEGAN", "WHY"]
    assert len(found) > 3
    assert all(len(one) <= 80 for one in found)
    assert len({len(one) - len(one.lstrip()) for one in found[2:]}) == 1, "under the first words"
    assert " ".join(" ".join(found[1:]).split()[2:]) == ("out of memory " * 9).strip()


def test_a_metric_without_a_test_is_told_whole_on_a_narrow_screen() -> None:
    told = "distance of the scores 0.12 (95 % between 0.10 and 0.14), from 1234 and 5678 answers; reported, never a reason"
    track = Track(levels={"errors": 60 * [0.0] + [0.9]})
    found = rows(_metrics([TESTED, MetricEvidence(name="scores", message=told)], track), 80)
    assert f"scores: {told}" in " ".join(" ".join(found).split())
    assert all(len(one) <= 80 for one in found)
    assert found[2].rstrip().endswith(BARS[7]), "the newest evidence is what is seen"


def test_a_line_says_whose_answers_were_bad_and_at_which_evidence_it_is_taken_back() -> None:
    world = canary(steps=[{"weight": 10, "hold": "60s"}])
    world.live(15, rate=1000)
    cluster = WorldCluster(world, is_down=True)
    words = line(asking.read(cluster.model("delays"), cluster.versions("delays")), world.now)
    assert re.search(r"errors: v2 0 bad of [\d,]+, v1 0 of \d,\d{3}, evidence \S+ \(taken back at 1,?\d+\)", words), words


def test_a_long_line_of_a_section_stays_under_its_head() -> None:
    console = Console(width=40, color_system=None)
    with console.capture() as captured:
        console.print(rendered([Section("Head", ["word " * 20]), Section("Next", [], ("A", "B"), [["1", "2"]])]))
    head, *lines, blank, after, columns, row = captured.get().splitlines()
    assert (head, blank.strip(), after, columns.split(), row.split()) == ("Head", "", "Next", ["A", "B"], ["1", "2"])
    assert len(lines) == 3
    assert all(len(line) <= 40 and line.startswith("  word") for line in lines)


@pytest.mark.parametrize(("e", "threshold", "expected"), [(0.5, 100, 0.0), (10, 100, 0.5), (100, 100, 1.0), (1e300, 100, 1.0)])
def test_level_is_the_logarithm_of_e_in_parts_of_its_threshold(e: float, threshold: float, expected: float) -> None:
    assert level(MetricEvidence(name="errors", e=e, threshold=threshold)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0s"), (0, "0s"), (59.6, "1m00s"), (125, "2m05s"), (3600, "1h00m"), (19200, "5h20m"), (273600, "3d4h")],
)
def test_spans_are_told_in_their_two_largest_units(seconds: float, words: str) -> None:
    assert span(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"), [(0.0, "0"), (1.2345, "1.23"), (354.2, "354"), (12345.6, "12,346"), (1e300, "1e+300"), (0.0001, "0.0001")]
)
def test_figures_are_short(value: float, words: str) -> None:
    assert figures(value) == words


def test_a_pin_is_trouble_only_where_it_is_refused() -> None:
    world = served()
    world.wish = spec(pin=1)
    world.generation += 1
    world.live(3)
    assert not any(line.startswith("Pinned") for line in lines(world))
    world.wish = spec(pin=7)
    world.generation += 1
    world.live(3)
    assert any(line.startswith("Pinned=False VersionNotServable") for line in lines(world))


def at_work(percent: float = 47.0) -> World:
    """v1 is being trained, and its trainer says how far it is."""
    world = training()
    world.trained = {"u-1": TrainReading(percent, 0.4231, 130.0)}
    world.live(1)
    return world


def test_a_training_shows_how_far_it_is_its_loss_and_the_time_left() -> None:
    world = at_work()
    assert "training: 45 %, loss 0.423, about 2m10s left" in lines(world)
    world.now += timedelta(minutes=5)
    assert "training: 45 %, loss 0.423" in lines(world), "a time that has passed is told no more"


def test_a_line_of_a_training_changes_with_the_status_and_not_by_the_second() -> None:
    cluster = WorldCluster(at_work(), is_down=True)
    model = asking.read(cluster.model("delays"), cluster.versions("delays"))
    told = {line(model, cluster.world.now + timedelta(seconds=number)) for number in range(60)}
    (words,) = told
    assert "; training: 45 %, loss 0.423, done at about 2026-01-01T00:02:" in words


def test_a_job_that_waits_for_its_node_stands_in_the_picture() -> None:
    world = busy()
    world.live(2)
    assert any(line.startswith("Queued=True Unschedulable: v1: train 1: Unschedulable: ") for line in lines(world))


def test_the_description_tells_what_was_trained_on_and_why_not_on_the_accelerator() -> None:
    world = busy()
    world.live(130)
    world.until(lambda w: w.status.stable == 1)
    cluster = WorldCluster(world, is_down=True)
    model = asking.read(cluster.model("delays"), cluster.versions("delays"))
    steps = next(section for section in described(model, model.version(1), world.now) if section.head.startswith("v1:"))
    (waited,) = [row for row in steps.rows if row[0] == "train (nvidia.com/gpu)"]
    assert "AcceleratorBusy" in waited[-1]
    assert "a person asked" not in waited[-1]
