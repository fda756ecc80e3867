"""The ledger: every decision once and in order, whatever is killed, and a chain that shows what was changed."""

from __future__ import annotations

import functools
import hashlib
import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from perennial.api.ledger import MOST_ENTRIES, Ledger, LedgerEntry
from perennial.core import actions, ledger
from perennial.core.draft import Draft
from perennial.core.plan import plan
from unit.core.test_shadow import shadowed
from unit.core.world import World, served, spec


def told(world: World) -> list[str]:
    """What stands in the ledger: version and what."""
    return [f"v{one.version} {one.what}" if one.version else one.what for one in world.status.ledger.entries]


def entries(world: World) -> list[LedgerEntry]:
    return list(world.status.ledger.entries)


def holds(world: World) -> bool:
    kept = entries(world)
    whole = world.status.ledger
    copies = all(ledger.copies_problem(whole, number, one.status.ledger) == "" for number, one in world.versions.items())
    return ledger.problem(kept) == "" and ledger.gap(world.status.ledger) == "" and copies


def taken_back(world: World | None = None) -> World:
    """v1 serves, v2 did harm in its first step."""
    world = served(world)
    world.annotations["perennial.dev/retrain"] = "July is there"
    return world.until(lambda w: 2 in w.versions and w.versions[2].status.state == "RolledBack", rate=100, bad={2: 0.2})


# ---- what is entered ----


def test_a_version_is_told_from_its_trigger_to_its_end_in_order() -> None:
    world = taken_back()
    world.live(20, rate=100)
    of_v2 = [line for line in told(world) if line.startswith("v2")]
    assert of_v2 == [
        "v2 VersionCreated",
        "v2 Request",
        "v2 StepBegun",
        "v2 StepEnded",
        "v2 StepBegun",
        "v2 StepEnded",
        "v2 StepBegun",
        "v2 StepEnded",
        "v2 Gate",
        "v2 Accepted",
        "v2 CanaryStarted",
        "v2 CanaryStep",
        "v2 RolledBack",
    ]
    assert holds(world)
    assert [f"v2 {one.what}" for one in world.versions[2].status.ledger] == of_v2


def test_entries_hold_what_the_decision_rests_on() -> None:
    world = taken_back()
    by_what = {one.what: one for one in world.versions[2].status.ledger}
    assert by_what["StepBegun"].facts["champion"] == "identity-1"
    assert by_what["StepBegun"].facts["inputs"] == world.versions[2].spec.inputs_digest
    assert by_what["StepEnded"].facts == {"identity": "identity-2", "bento": "bento-2"}
    assert by_what["Gate"].message.startswith("Passed: roc_auc 0.7300")
    assert by_what["RolledBack"].facts["metric errors"].startswith("E ")
    assert "candidate " in by_what["RolledBack"].facts["metric errors"]
    steps = [one.facts for one in world.versions[2].status.ledger if one.what == "StepEnded"]
    assert steps[0]["data"] == "d2"
    assert set(steps[1]) == {"model", "parity"}


def test_waits_requests_and_ends_that_have_no_event_are_told() -> None:
    world = served(World(wish=spec(rollout={"steps": [{"weight": 10, "hold": "5s"}], "deadline": "10s"})))
    world.annotations["perennial.dev/retrain"] = "now"
    world.until(lambda w: "v2 Waits" in told(w), rate=1)
    wait = next(one for one in entries(world) if one.what == "Waits")
    assert wait.message.startswith("Inconclusive/StepDeadline: ")
    world.annotations["perennial.dev/retrain"] = "again"
    world.until(lambda w: "v2 Superseded" in told(w), rate=1)
    assert told(world).count("v2 Superseded") == 1
    assert holds(world)


def test_the_shadow_is_told_with_the_evidence_of_mirrored_requests() -> None:
    world = shadowed()
    world.until(lambda w: "v2 ShadowOver" in told(w), rate=100)
    over = next(one for one in entries(world) if one.what == "ShadowOver")
    assert over.facts["metric errors"].startswith("E ")
    assert holds(world)


def test_nothing_is_entered_while_nothing_is_decided() -> None:
    world = served()
    world.live(30, rate=100)
    length, writes = world.status.ledger.length, world.status_writes
    world.live(60, rate=100)
    assert (world.status.ledger.length, world.status_writes) == (length, writes)


def test_the_newest_entries_are_kept_and_the_chain_goes_on() -> None:
    world = served()
    for number in range(40):
        world.annotations["perennial.dev/pause" if number % 2 else "perennial.dev/resume"] = ""
        world.live(2)
        world.annotations["perennial.dev/retry"] = ""
        world.live(2)
    world.live(5)
    assert world.status.ledger.length > MOST_ENTRIES == len(entries(world))
    assert holds(world)


def test_a_request_that_comes_again_is_no_decision() -> None:
    world = served()
    world.annotations["perennial.dev/pause"] = ";id=1"
    world.live(3)
    length = world.status.ledger.length
    world.annotations["perennial.dev/pause"] = ";id=1"
    world.live(3)
    assert world.status.requests[-1].repeats == 1
    assert world.status.ledger.length == length


# ---- kills ----


@dataclass
class Dying(World):
    """An operator that is killed in some of its passes, after so many of its writes; the next pass finds what is there."""

    chance: random.Random = field(default_factory=random.Random)
    rate: float = 0.0
    kills: int = 0

    def run(self) -> actions.Plan:
        if self.chance.random() >= self.rate:
            return super().run()
        self.kills += 1
        known, decided = self.status, plan(self.observed())
        left = self.chance.randint(0, len(decided.before) + len(decided.after))
        for action in decided.before[:left]:
            self.apply(action)
        if left >= len(decided.before):
            if decided.persist:
                self.write(decided)
            for action in decided.after[: left - len(decided.before)]:
                self.apply(action)
        elif known != self.status:
            self.status = known
        return decided


def unrepeated(world: World) -> list[str]:
    """Decisions that are made once in any telling: times and counts are not in them."""
    once = ("VersionCreated", "StepBegun", "StepEnded", "Gate", "Accepted", "CanaryStarted", "Promoted", "RolledBack", "Request")
    once += ("Superseded", "Failed")
    return sorted(f"v{one.version} {one.what} {one.message[:40]}" for one in entries(world) if one.what in once)


def story(world: World, bad: float) -> World:
    """v2 is rolled out beside v1, and comes to its end."""
    served(world)
    world.annotations["perennial.dev/retrain"] = "now;id=1"
    state = "RolledBack" if bad else "Serving"
    world.until(lambda w: 2 in w.versions and w.versions[2].status.state == state, rate=100, bad={2: bad}, limit=400)
    world.live(30, rate=100, bad={2: bad})
    return world


@functools.cache
def undisturbed(bad: float) -> tuple[str, ...]:
    """What is told of the story when nobody is killed, which is the same for every seed."""
    return tuple(line.split(":")[0] for line in unrepeated(story(World(), bad)))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("bad", [0.0, 0.2], ids=["promoted", "rolled back"])
def test_kills_between_any_two_writes_enter_nothing_twice_and_lose_nothing(seed: int, bad: float) -> None:
    dying = Dying(chance=random.Random(seed), rate=0.5)
    story(dying, bad)
    assert dying.kills >= 20
    assert tuple(line.split(":")[0] for line in unrepeated(dying)) == undisturbed(bad)
    assert holds(dying)


def test_what_was_decided_again_after_a_request_is_entered_again() -> None:
    world = served(World(wish=spec(serving=UNSERVABLE)))
    world.annotations["perennial.dev/retrain"] = "now"
    world.never_ready.add(2)
    world.until(lambda w: 2 in w.versions and w.versions[2].status.state == "Failed", rate=10, limit=100)
    world.annotations["perennial.dev/retry"] = ""
    world.until(lambda w: w.versions[2].status.state == "Deploying", rate=10)
    world.until(lambda w: w.versions[2].status.state == "Failed", rate=10, limit=100)
    assert [told(world).count(line) for line in ("v2 StepBegun", "v2 Request", "v2 Accepted", "v2 Failed")] == [3, 2, 2, 2]


UNSERVABLE: dict[str, Any] = {
    "replicas": 1,
    "route": {"parentRefs": [{"name": "gw"}], "path": "/delays"},
    "progressDeadline": "20s",
}


@pytest.mark.parametrize("seed", range(8))
def test_a_version_that_a_person_ends_and_tries_again_is_told_once_and_goes_on_whatever_is_killed(seed: int) -> None:
    world = Dying(chance=random.Random(seed), rate=0.5)
    served(world)
    world.annotations["perennial.dev/retrain"] = "now;id=1"
    world.until(lambda w: 2 in w.versions and w.versions[2].status.state == "Training", rate=10, limit=100)
    world.annotations["perennial.dev/abort"] = "2;id=2"
    world.until(lambda w: w.versions[2].status.state == "Superseded", rate=10, limit=100)
    world.live(10, rate=10)
    world.annotations["perennial.dev/retry"] = "2;id=3"
    world.until(lambda w: w.versions[2].status.state == "Serving", rate=100, limit=400)
    assert told(world).count("v2 Superseded") == 1
    assert told(world).count("v2 Request") == 2
    assert holds(world)


def test_a_version_that_is_held_up_and_goes_on_is_accepted_anew() -> None:
    world = served()
    world.annotations["perennial.dev/retrain"] = "now"
    world.until(lambda w: 2 in w.versions and w.versions[2].status.state == "Deploying")
    world.annotations["perennial.dev/pause"] = ""
    world.until(lambda w: w.versions[2].status.state == "Accepted")
    world.annotations["perennial.dev/resume"] = ""
    world.until(lambda w: w.versions[2].status.state == "Deploying")
    assert told(world).count("v2 Accepted") == 2


def test_a_ledger_that_was_lost_with_the_status_goes_on_behind_the_copies() -> None:
    world = taken_back()
    before = world.versions[2].status.ledger[-1]
    world.status = world.status.model_copy(update={"ledger": Ledger()})
    world.annotations["perennial.dev/lift"] = "2"
    world.live(3, rate=10)
    first = entries(world)[0]
    assert (first.what, first.number, first.previous) == ("Request", before.number + 1, before.digest)
    assert world.status.ledger.begins == first.number
    assert holds(world)


# ---- the verifier ----

CHANGES: dict[str, dict[str, Any]] = {
    "at": {"at": "2026-01-01T00:00:00.001Z"},
    "what": {"what": "Promoted"},
    "version": {"version": 1},
    "message": {"message": "it was good"},
    "facts": {"facts": {"identity": "another"}},
    "number": {"number": 1000},
    "previous": {"previous": "0" * 64},
    "digest": {"digest": "0" * 64},
}


@pytest.fixture(scope="module")
def whole() -> Ledger:
    return taken_back().status.ledger


@pytest.mark.parametrize("field_name", CHANGES)
def test_an_entry_that_was_changed_is_found(whole: Ledger, field_name: str) -> None:
    for index, entry in enumerate(whole.entries):
        changed = [*whole.entries[:index], entry.model_copy(update=CHANGES[field_name]), *whole.entries[index + 1 :]]
        if changed != whole.entries:
            assert ledger.problem(changed) != ""


def test_an_entry_that_is_missing_or_stands_elsewhere_is_found(whole: Ledger) -> None:
    kept = list(whole.entries)
    assert (ledger.problem(kept), ledger.gap(whole)) == ("", "")
    for index in range(len(kept)):
        without = whole.model_copy(update={"entries": kept[:index] + kept[index + 1 :]})
        assert ledger.gap(without) == f"entry {index + 1} is missing"
    for index in range(len(kept) - 1):
        turned = [*kept[:index], kept[index + 1], kept[index], *kept[index + 2 :]]
        assert ledger.problem(turned) == f"entry {index + 1} stands behind entry {index + 2}"
    assert (
        ledger.gap(whole.model_copy(update={"length": whole.length - 1}))
        == f"there are more entries than the {whole.length - 1} that were made"
    )


def test_an_entry_that_was_made_anew_does_not_fit_the_next(whole: Ledger) -> None:
    kept = list(whole.entries)
    forged = kept[3].model_copy(update={"message": "it was good"})
    kept[3] = forged.model_copy(update={"digest": ledger.digest_of(forged)})
    assert ledger.problem(kept) == "entry 5 does not follow entry 4: one of them was put in another's place"


def test_what_the_cluster_gives_back_is_what_was_written(whole: Ledger) -> None:
    again = Ledger.model_validate(whole.model_dump(mode="json", by_alias=True, exclude_none=True))
    assert again == whole
    assert ledger.problem(again.entries) == ""


def test_the_digest_is_of_the_documented_form_for_ever() -> None:
    entry = LedgerEntry(number=2, at="2026-01-01T00:00:00.000Z", what="Request", message="é", previous="ab", digest="")
    text = 'ab\n{"at":"2026-01-01T00:00:00.000Z","message":"é","number":2,"what":"Request"}'
    assert ledger.digest_of(entry) == hashlib.sha256(text.encode()).hexdigest()


def test_half_a_character_in_an_answer_does_no_harm() -> None:
    draft = Draft(served().observed())
    draft.event("Normal", "Request", "\ud800 x")
    ledger.write(draft)
    assert draft.status.ledger.entries[-1].message == "? x"


def test_copies_that_do_not_fit_are_found() -> None:
    world = taken_back()
    whole, copies = world.status.ledger, list(world.versions[2].status.ledger)
    assert ledger.copies_problem(whole, 2, copies) == ""
    assert ledger.copies_problem(whole, 2, [*copies[:4], *copies[5:]]) == f"entry {copies[4].number} is missing"
    other = copies[4].model_copy(update={"message": "it was good"})
    assert ledger.copies_problem(whole, 2, [*copies[:4], other, *copies[5:]]).startswith(f"entry {other.number} is another")
    shorter = whole.model_copy(update={"length": whole.length - 1, "entries": whole.entries[:-1]})
    assert (
        ledger.copies_problem(shorter, 2, copies)
        == f"it has entry {whole.length}, and the ModelDeployment only {whole.length - 1}"
    )
