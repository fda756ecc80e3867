"""kill -9 of the operator before and after each write of a promotion, a rollback, both of them with a shadow, a promotion that a
Job measures, and a return.

The writes are those of a telling that nobody disturbed, the reference. Then the story is told once for each point: the operator
stands still for 3 s before the write is sent, or after its answer came, is killed, and started again. `make faults` takes every
point and tells each story until the last pod is gone, hours on two cores that do nothing else; cut short, it goes on where it
was. `make faults FAULTS_PART=2/4` takes the second quarter of them. Elsewhere, in CI too, eight points are drawn by a seed, which
is the day. `make faults FAULTS_SEED=<number>` draws those of a seed again. A story that is added to `faultlane.STORIES` is
taken up here as it is.
"""

from __future__ import annotations

import os
import queue
import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import click
import pytest

from cluster_support import faults, synthetic
from cluster_support.faultkept import Kept
from cluster_support.faultlane import ROWS, STORIES, STORY_SECONDS, TRAIN_SECONDS, Lane, Start
from cluster_support.faults import Point, Told
from cluster_support.place import Place, light_trainer
from demo.ground import Ground, Images, in_parallel

LANES = 3
DRAWN = 8
EVERY = os.environ.get("FAULTS_POINTS", "") == "all"
PART = os.environ.get("FAULTS_PART", "")
SEED = int(os.environ.get("FAULTS_SEED", "") or time.time() // 86400)


@dataclass
class Book:
    """All that was told."""

    references: dict[str, Told]
    killed: list[Told]
    others: dict[Point, Told]
    """References of points that an earlier run told, by that run."""

    def reference(self, told: Told) -> Told:
        """What a telling is compared with."""
        assert told.point is not None
        return self.others.get(told.point) or self.references[told.point.story]


class Starts:
    """Starts by name, once somebody has come to them."""

    def __init__(self) -> None:
        self._found: dict[str, Start] = {}
        self._news = threading.Condition()

    def give(self, name: str, start: Start) -> None:
        with self._news:
            self._found[name] = start
            self._news.notify_all()

    def get(self, name: str) -> Start:
        with self._news:
            seconds = 2 * TRAIN_SECONDS + STORY_SECONDS
            assert self._news.wait_for(lambda: name in self._found, seconds), f"nobody came to the start {name}"
            return self._found[name]


@pytest.fixture(scope="module")
def book(operator: Ground, images: Images, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Book]:
    """The references, then the points, told in lanes side by side."""
    trainer = light_trainer(operator)
    with ExitStack() as stack:
        names = [f"t-faults-{random.getrandbits(24)}-{number}" for number in range(LANES)]
        stack.callback(operator.delete_namespaces, *names)
        folder = tmp_path_factory.mktemp("faults")
        places = [Place(operator, images, operator.namespace(name), folder / name) for name in names]
        for place in places:
            place.folder.mkdir()
        places[0].upload(synthetic.table(ROWS))
        lanes = [stack.enter_context(Lane(place, image=trainer, source=places[0].source, whole=EVERY)) for place in places]
        starts = Starts()
        references = _references(lanes, starts)
        kept = Kept(names[0])
        if EVERY:
            kept.begin(references)
        yield _kills(lanes, starts, references, kept)


def _references(lanes: list[Lane], starts: Starts) -> dict[str, Told]:
    """Each story once, undisturbed, in a lane of its own. The first lane trains, and comes to the start that the third needs."""

    def first() -> Told:
        starts.give("waiting", lanes[0].train())
        told = lanes[0].play(STORIES["promotion"], starts.get("waiting"))
        starts.give("served", lanes[0].start(2))
        return told

    def third() -> Told:
        lanes[2].put(starts.get("waiting"))
        return lanes[2].play(STORIES["return"], starts.get("served"))

    second = partial(lambda: lanes[1].play(STORIES["rollback"], starts.get("waiting")))
    told = dict(zip(("promotion", "rollback", "return"), in_parallel(first, second, third), strict=True))
    more = [story for name, story in STORIES.items() if name not in told]
    for some in (more[index : index + len(lanes)] for index in range(0, len(more), len(lanes))):
        plays = [partial(lane.play, story, starts.get(story.start)) for lane, story in zip(lanes, some, strict=False)]
        told |= dict(zip((story.name for story in some), in_parallel(*plays), strict=True))
    problems = [one.problem for one in told.values() if one.problem]
    assert not problems, "\n\n".join(problems)
    return told


def _kills(lanes: list[Lane], starts: Starts, references: dict[str, Told], kept: Kept) -> Book:
    every = faults.points(references)
    points = faults.part(every, PART) if EVERY else faults.chosen(every, SEED, DRAWN)
    click.echo(f"\n{len(points)} of {len(every)} points" + ("" if EVERY else f"; again: make faults FAULTS_SEED={SEED}"))
    known = kept.of(points) if EVERY and not PART else []
    if known:
        click.echo(f"{len(known)} of them were told by a run that was cut short, on the same code")
    waiting: queue.SimpleQueue[Point] = queue.SimpleQueue()
    for point in sorted(set(points) - {told.point for told, _ in known}, key=points.index):
        waiting.put(point)

    def work(lane: Lane) -> list[Told]:
        told = []
        while True:
            try:
                point = waiting.get_nowait()
            except queue.Empty:
                return told
            story = STORIES[point.story]
            told.append(lane.play(story, starts.get(story.start), point))
            if EVERY:
                kept.add(told[-1])

    fresh = [told for some in in_parallel(*(partial(work, lane) for lane in lanes)) for told in some]
    if EVERY and not PART:
        kept.put_by()
    others = {told.point: reference for told, reference in known if told.point is not None}
    return Book(references, [*(told for told, _ in known), *fresh], others)


def _same(book: Book, what: str) -> dict[str, tuple[object, object]]:
    """Points after which something is not as in the reference: what it is, and what it should be."""
    pairs = [(str(told.point), getattr(told, what), getattr(book.reference(told), what)) for told in book.killed]
    return {point: (found, expected) for point, found, expected in pairs if found != expected}


def test_every_story_comes_to_its_end(book: Book) -> None:
    assert {str(told.point): told.problem for told in book.killed if told.problem} == {}


def test_every_write_that_decides_was_met_by_a_kill_on_the_side_that_was_meant(book: Book) -> None:
    assert [str(told.point) for told in book.killed if told.point and told.point.is_first and not told.killed] == []
    assert sum(told.killed for told in book.killed) >= min(DRAWN, len(book.killed))
    assert book.killed


def test_a_killed_operator_leaves_the_same_state(book: Book) -> None:
    for told in book.references.values():
        assert any(line.startswith("/ModelVersion shop-v2/status/state") for line in told.left)
    found = {str(told.point): sorted(told.left ^ book.reference(told).left) for told in book.killed if not told.problem}
    assert {point: lines for point, lines in found.items() if lines} == {}


def test_a_killed_operator_makes_and_deletes_the_same_objects(book: Book) -> None:
    assert _same(book, "made") == {}


def test_no_decision_is_taken_twice_or_in_another_order(book: Book) -> None:
    assert all(len(told.decisions) > 1 and told.weights for told in book.references.values())
    assert _same(book, "decisions") == {}
    assert _same(book, "weights") == {}


def test_the_ledger_has_each_decision_once_and_verifies(book: Book) -> None:
    everything = [*book.references.values(), *book.killed]
    assert {str(told.point): told.ledger_problem for told in everything if told.ledger_problem} == {}
    assert all(len(told.ledger) > 1 for told in book.references.values())
    assert _same(book, "ledger") == {}


def test_nothing_is_told_twice(book: Book) -> None:
    """An event that a kill came between is not told at all: it is sent after what it tells of was written."""
    found = {str(told.point): told.events - book.reference(told).events for told in book.killed}
    assert {point: more for point, more in found.items() if more} == {}


def test_the_evidence_is_that_of_every_answer_that_counts_within_a_second_of_traffic(book: Book) -> None:
    assert {story for story, told in book.references.items() if told.counted} == {
        "promotion",
        "rollback",
        "promotion out of a shadow",
        "promotion measured by a Job",
    }
    every = [*((story, told) for story, told in book.references.items()), *((str(told.point), told) for told in book.killed)]
    off = {name: [one for one in told.counted if not one.fits] for name, told in every}
    assert {point: arms for point, arms in off.items() if arms} == {}
    uncounted = [str(told.point) for told in book.killed if not told.problem and not told.counted]
    assert [point for point in uncounted if book.references[point.partition(":")[0]].counted] == []


def test_no_client_met_a_failure_that_was_not_the_harmful_version_s(book: Book) -> None:
    told = [*book.references.values(), *book.killed]
    assert {str(one.point): one.failures for one in told if one.failures} == {}
