"""Bad input on the real cluster, R1 to R21: everything wrong is applied at once, then each test looks at how its own was told.

`shop` is a good model beside them: it is what has to go on serving while a new version of it turns out bad (R13, R15) and while
clients send it nonsense (R18, R19). `steady`, in a namespace of its own, goes through one bad wish after the other under clients.
The image that cannot be pulled is given three minutes by design and is looked at last.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from cluster_support import bad_inputs, synthetic
from cluster_support.bad_inputs import CASES, NO_IMAGE, SECRET_VALUE, Case, Manifest, wish
from cluster_support.place import Load, Place, merged
from demo import view
from demo.kubectl import Kubectl, KubectlError
from demo.stage import State

SHOP = "shop"
STEADY = "steady"
NO_GATEWAY = "no-gateway"
QUEUED = "queued"
ENDED = ("Failed", "Rejected")
UNREADY = "40s"
"""How long pods that will not get ready are waited for; those of the first version have the usual time."""
PATIENCE = 420.0
"""Seconds: all of it shares the CPUs of one node."""
QUOTAS = {"jobs": "count/jobs.batch", "pods": "pods"}
QUOTA_FIX = "raise the quota or lower the requests"
IN_TURN = tuple(map(bad_inputs.named, ("no-column", "exits", "parity")))
"""What `steady` has to survive, besides what the API server refuses, an image that cannot be pulled and a quota."""

Test = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Wrong:
    """Where all the wrong ModelDeployments are, and the one that serves among bad wishes."""

    place: Place
    quotas: Mapping[str, Place]
    steady: Place
    began: str


@pytest.fixture(scope="module")
def wrong(shared_place: Place) -> Iterator[Wrong]:
    """Everything applied."""
    place = shared_place
    began = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    beside = {word: f"{place.namespace}-{word}" for word in (*QUOTAS, STEADY)}
    try:
        places = {word: _beside(place, namespace) for word, namespace in beside.items()}
        data = dict(bad_inputs.data())
        place.ground.upload("tests", [(f"{place.namespace}/{name}", body) for name, body in data.items()])
        places[STEADY].upload(data[bad_inputs.GOOD_FILE], bad_inputs.GOOD_FILE)
        _apply_all(place)
        places[STEADY].apply(wish(places[STEADY], STEADY, training=place.light()))
        for kind, resource in QUOTAS.items():
            forbid(places[kind], resource)
            places[kind].apply(
                places[kind].manifest(
                    QUEUED, data={"source": {"uri": f"{place.source}{bad_inputs.GOOD}/"}}, training=place.light()
                )
            )
        yield Wrong(place, {kind: places[kind] for kind in QUOTAS}, places[STEADY], began)
    finally:
        place.ground.delete_namespaces(*beside.values())


def _apply_all(place: Place) -> None:
    good = wish(place, SHOP, training=place.light())
    gateway: Manifest = {"serving": {"route": {"parentRefs": [{"name": "nobodys-gateway"}]}}}
    first, *rest = (bad_inputs.manifest(place, case) for case in CASES)
    place.kubectl.apply(first, good, wish(place, NO_GATEWAY, training=place.light(), **gateway), *rest)


def _beside(place: Place, namespace: str) -> Place:
    return Place(place.ground, place.images, place.ground.namespace(namespace), place.folder)


def forbid(place: Place, resource: str) -> None:
    """A quota of none of a resource, from now on in force."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {resource: "0"}}}
    place.kubectl.apply(quota)
    place.kubectl.run("wait", "resourcequota/none", "--for=jsonpath={.status.hard}", "--timeout=60s", timeout=70)


def carries(*found: Case) -> Callable[[Test], Test]:
    """Marks a test with the numbers of cases that it looks at beside the tests that are theirs."""

    def mark(test: Test) -> Test:
        for case in found:
            test = pytest.mark.refusal(case.number)(test)
        return test

    return mark


def words_of(state: State) -> str:
    """What a person reads about the newest version: the condition Ready, and the version's own message."""
    return f"{view.condition(state.deployment, 'Ready').get('message', '')}\n{state.version(1).get('message', '')}"


def running_jobs(kubectl: Kubectl, name: str) -> list[str]:
    found = kubectl.list("jobs", f"perennial.dev/model={name}")
    return [job["metadata"]["name"] for job in found if job.get("status", {}).get("active")]


@contextmanager
def clients(place: Place, name: str = SHOP) -> Iterator[Load]:
    """20 requests a second on a model for as long as the block lasts."""
    with place.load(synthetic.bodies(synthetic.table(1000, first=5000)), name=name, rate=20) as load:
        yield load


def apply_words(place: Place, manifest: Manifest) -> str:
    with pytest.raises(KubectlError) as caught:
        place.apply(manifest)
    return str(caught.value)


@pytest.mark.refusal(1)
@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"trainng": {}}, ("unknown field", "trainng")),
        ({"training": {"image": "registry/trainer:1"}}, ("both recipe and image", "keep one")),
        (
            {"data": {"columns": [one for one in synthetic.COLUMNS if one["role"] != "label"]}},
            ("data.columns", "role: label", "give that role to exactly one"),
        ),
        (
            {"rollout": {"steps": [{"weight": 50, "hold": "5s"}, {"weight": 10, "hold": "5s"}]}},
            ("spec.rollout", "each must be more than the one before it"),
        ),
        ({"data": {"holdout": {"fraction": 0}}}, ("spec.data.holdout.fraction", "it must be more than 0 and less than 1")),
        ({"data": {"holdout": {"fraction": 1}}}, ("spec.data.holdout.fraction", "it must be more than 0 and less than 1")),
    ],
    ids=["unknown-field", "two-ways-to-train", "no-label", "falling-weights", "holdout-0", "holdout-1"],
)
def test_kubectl_apply_refuses_a_wrong_spec_and_names_the_field_and_the_fix(
    wrong: Wrong, spec: Manifest, words: tuple[str, ...]
) -> None:
    said = apply_words(wrong.place, wish(wrong.place, "refused", **spec))
    for word in words:
        assert word in said
    assert wrong.place.kubectl.get("mdep", "refused") is None


@pytest.mark.refusal(20)
@pytest.mark.parametrize(
    ("name", "fix"), [("a" * 37, "use at most 36 of a-z, 0-9 and -"), ("shop-v2", "choose another name")], ids=["long", "version"]
)
def test_kubectl_apply_refuses_a_name_that_children_could_not_carry_and_says_what_to_do(
    wrong: Wrong, name: str, fix: str
) -> None:
    said = apply_words(wrong.place, wish(wrong.place, name))
    for word in (f"metadata.name {name}", fix):
        assert word in said


ROW: Manifest = {"amount": 0.5, "hour": 12, "kind": "cafe"}
ASK = """
import http.client, json, sys
from urllib.parse import urlsplit
url, answers = urlsplit(sys.argv[1]), []
for case in json.load(sys.stdin):
    connection = http.client.HTTPConnection(url.netloc, timeout=30)
    body = b"x" * case["size"] if case["size"] else case["body"].encode()
    try:
        connection.request("POST", url.path, body, {"content-type": case["type"]})
    except (BrokenPipeError, ConnectionResetError):
        pass  # it answers before it has read everything
    response = connection.getresponse()
    answers.append({"status": response.status, "body": response.read().decode()})
json.dump(answers, sys.stdout)
"""


def asked(place: Place, *bodies: str, kind: str = "application/json", size: int = 0) -> list[Manifest]:
    """Answers of shop through the gateway."""
    serving = place.serving(1, name=SHOP, seconds=PATIENCE)
    given = json.dumps([{"body": body, "type": kind, "size": size} for body in bodies])
    address = str(serving.status["address"])
    return list(json.loads(place.ground.cluster.run(sys.executable, "-c", ASK, address, stdin=given, timeout=60)))


def request(**change: Any) -> str:
    """One instance; `...` leaves a feature out."""
    return json.dumps({"instances": [{name: value for name, value in {**ROW, **change}.items() if value is not ...}]})


def goes_on(place: Place) -> None:
    """Shop answers, was not restarted, and its log holds no client's value."""
    assert [answer["status"] for answer in asked(place, request())] == [200]
    (pod,) = place.kubectl.list("pods", f"perennial.dev/model={SHOP},perennial.dev/version=1,perennial.dev/role=serve")
    assert [status["restartCount"] for status in pod["status"]["containerStatuses"]] == [0]
    log = place.kubectl.logs(pod["metadata"]["name"], "server", lines=1000)
    assert SECRET_VALUE not in log
    assert "Traceback" not in log


@pytest.mark.refusal(18)
def test_a_request_with_a_wrong_feature_is_refused_by_its_name_and_the_model_goes_on(wrong: Wrong) -> None:
    wrongs: list[tuple[Manifest, str]] = [
        ({"hour": ...}, "hour"),
        ({"colour": SECRET_VALUE}, "colour"),
        ({"hour": None}, "hour"),
        ({"amount": SECRET_VALUE}, "amount"),
        ({"kind": 7}, "kind"),
        ({"amount": float("nan")}, "amount"),
        ({"amount": float("inf")}, "amount"),
    ]
    answers = asked(wrong.place, *(request(**change) for change, _ in wrongs))
    for (_, field), answer in zip(wrongs, answers, strict=True):
        assert answer["status"] == 422, (field, answer)
        detail = json.loads(answer["body"])["details"][0]
        assert (detail["instance"], detail["field"]) == (0, field)
        assert detail["fix"]
        assert SECRET_VALUE not in answer["body"]
    goes_on(wrong.place)


@pytest.mark.refusal(19)
def test_a_body_too_large_broken_or_of_another_type_is_refused_with_what_to_do_and_the_model_goes_on(wrong: Wrong) -> None:
    place = wrong.place
    (large,) = asked(place, "", size=50_000_000)
    broken = asked(place, "{", f'{{"instances": [{SECRET_VALUE}')
    (other,) = asked(place, request(), kind="text/plain")
    (pickled,) = asked(place, request(), kind="application/vnd.bentoml+pickle")
    refusals = [
        (large, 413, "BodyTooLarge", "Send the rows in several requests"),
        *((answer, 400, "BrokenJson", 'Send a body such as {"instances"') for answer in broken),
        *((answer, 415, "WrongContentType", "Send the header Content-Type: application/json") for answer in (other, pickled)),
    ]
    for answer, status, reason, fix in refusals:
        assert answer["status"] == status, answer
        said = json.loads(answer["body"])
        assert said["error"] == reason
        assert fix in said["message"]
        assert SECRET_VALUE not in answer["body"]
    goes_on(place)


def next_version(place: Place, number: int, **spec: Any) -> None:
    """Another model of shop."""
    place.kubectl.patch("mdep", SHOP, {"spec": merged({"training": place.light(number)}, spec)})


def failed(place: Place, number: int) -> str:
    """The message of a version of shop that fails."""

    def never(state: State) -> str:
        return f"v{number} is {state.state(number)}" if state.state(number) in ("Serving", "Canary", "Rejected") else ""

    state = place.until(
        f"v{number} to fail", lambda seen: seen.state(number) == "Failed", name=SHOP, seconds=PATIENCE, never=never
    )
    return str(state.version(number)["message"])


@pytest.mark.refusal(13)
def test_a_bento_with_one_altered_bit_is_never_served_and_the_old_version_goes_on(wrong: Wrong) -> None:
    place = wrong.place
    place.serving(1, name=SHOP, seconds=PATIENCE)
    next_version(place, 2, pin=1, serving={"progressDeadline": UNREADY})
    state = place.until("v2 to wait for the pin", lambda seen: seen.state(2) == "Accepted", name=SHOP, seconds=PATIENCE)
    version = place.kubectl.get("mver", f"{SHOP}-v2") or {}
    bad_inputs.hurt(place, str(state.version(2)["bento"]), version["spec"]["store"]["uri"])
    with clients(place) as load:
        place.kubectl.patch("mdep", SHOP, {"spec": {"pin": None}})
        said = failed(place, 2)
        tally = load.end()
    for word in ("DigestMismatch", state.version(2)["bento"], "altered in the store", "restore it or train again"):
        assert word in said
    assert tally.failures_but() == {}
    assert set(tally.versions) == {f"{SHOP}-v1"}


@pytest.mark.refusal(15)
def test_a_version_whose_pods_never_get_ready_fails_in_the_schedulers_words_and_the_old_one_goes_on(wrong: Wrong) -> None:
    place = wrong.place
    place.until("v2 to have ended", lambda seen: seen.state(2) == "Failed", name=SHOP, seconds=PATIENCE)
    with clients(place) as load:
        next_version(place, 3, serving={"nodeSelector": {"disk": "nobody-has-it"}})
        said = failed(place, 3)
        tally = load.end()
    for word in ("NotReady", UNREADY, "unschedulable", "node affinity/selector", "spec.serving.progressDeadline"):
        assert word in said
    assert tally.failures_but() == {}
    assert set(tally.versions) == {f"{SHOP}-v1"}
    place.kubectl.patch("mdep", SHOP, {"spec": {"serving": {"nodeSelector": None}}})


@pytest.mark.refusal(16)
def test_a_missing_gateway_is_named_and_the_model_is_reached_once_the_name_is_right(wrong: Wrong) -> None:
    place = wrong.place
    state = place.until(
        "the Gateway to be missed",
        lambda seen: view.condition(seen.deployment, "Ready").get("reason") == "RouteNotAccepted",
        name=NO_GATEWAY,
        seconds=PATIENCE,
    )
    said = view.condition(state.deployment, "Ready")["message"]
    fix = "create it, or correct spec.serving.route.parentRefs"
    for word in (f"Gateway {place.namespace}/nobodys-gateway", "does not exist", fix):
        assert word in said
    right = {"serving": {"route": {"parentRefs": [place.ground.cluster.gateway_reference]}}}
    place.kubectl.patch("mdep", NO_GATEWAY, {"spec": right})
    place.until(
        "Ready", lambda seen: view.condition(seen.deployment, "Ready").get("status") == "True", name=NO_GATEWAY, seconds=90
    )
    assert place.state(NO_GATEWAY).status["latest"] == 1


@pytest.mark.refusal(17)
def test_a_quota_that_forbids_the_job_is_told_in_its_own_words_and_the_model_starts_when_it_is_gone(wrong: Wrong) -> None:
    place = wrong.quotas["jobs"]
    state = place.until(
        "the quota to be told",
        lambda seen: view.condition(seen.deployment, "WritesRefused").get("status") == "True",
        name=QUEUED,
        seconds=PATIENCE,
    )
    said = view.condition(state.deployment, "WritesRefused")["message"]
    for word in ("exceeded quota", "none", "count/jobs.batch", QUOTA_FIX):
        assert word in said
    place.kubectl.run("delete", "resourcequota", "none")
    place.until("the Job", lambda seen: bool(place.kubectl.list("jobs")), name=QUEUED, seconds=PATIENCE)


@pytest.mark.refusal(17)
def test_a_quota_that_forbids_the_jobs_pod_is_told_in_its_own_words(wrong: Wrong) -> None:
    state = wrong.quotas["pods"].until(
        "the quota to be told", lambda seen: "exceeded quota" in words_of(seen), name=QUEUED, seconds=PATIENCE
    )
    for word in ("PodNotCreated", "exceeded quota", "none", "pods", QUOTA_FIX):
        assert word in words_of(state)


def refused_as_it_should(wrong: Wrong, case: Case) -> None:
    """The version ends, its reason is told where a person looks, and nothing of it is left half done."""
    place = wrong.place

    def never(state: State) -> str:
        return f"v1 is {state.state(1)}" if state.state(1) in ("Deploying", "Serving") else ""

    state = place.until(
        f"{case.name} to be refused", lambda seen: seen.state(1) in ENDED, name=case.name, seconds=PATIENCE, never=never
    )
    assert state.state(1) == case.state
    assert view.condition(state.deployment, "Ready")["status"] == "False"
    said = state.version(1)["message"]
    assert said[:200] in view.condition(state.deployment, "Ready")["message"]
    for word in (*case.words, case.fix):
        assert word in said
    assert not place.kubectl.list("deployments,services,httproutes", f"perennial.dev/model={case.name}")
    assert not running_jobs(place.kubectl, case.name)


def cases(*numbers: int) -> list[Any]:
    """The cases with these numbers, which mark the test."""
    return [
        pytest.param(case, id=f"R{case.number}-{case.name}", marks=pytest.mark.refusal(case.number))
        for case in CASES
        if case.number in numbers
    ]


@pytest.mark.parametrize("case", cases(2))
def test_a_missing_secret_bucket_object_or_column_is_named(wrong: Wrong, case: Case) -> None:
    refused_as_it_should(wrong, case)


@pytest.mark.parametrize("case", cases(3))
def test_a_file_that_is_empty_truncated_or_of_another_type_is_named(wrong: Wrong, case: Case) -> None:
    refused_as_it_should(wrong, case)


@pytest.mark.parametrize("case", cases(4, 5))
def test_data_that_cannot_teach_is_refused_by_its_column_or_its_count(wrong: Wrong, case: Case) -> None:
    refused_as_it_should(wrong, case)


@pytest.mark.parametrize("case", cases(6, 7, 9, 21))
def test_a_trainer_that_fails_eats_memory_fills_the_disk_or_writes_nothing_is_told_with_where_to_look(
    wrong: Wrong, case: Case
) -> None:
    refused_as_it_should(wrong, case)


@pytest.mark.parametrize("case", cases(10, 11, 12))
def test_a_model_file_that_cannot_be_trusted_is_refused(wrong: Wrong, case: Case) -> None:
    refused_as_it_should(wrong, case)


def ends_as(place: Place, number: int, case: Case) -> None:
    """A version of steady ends as its case says, for that reason."""

    def never(state: State) -> str:
        return f"v{number} is {state.state(number)}" if state.state(number) in ("Deploying", "Canary", "Serving") else ""

    state = place.until(
        f"v{number} to be refused", lambda seen: seen.state(number) in ENDED, name=STEADY, seconds=PATIENCE, never=never
    )
    assert state.state(number) == case.state
    assert case.words[0] in state.version(number)["message"]


def condition_told(place: Place, kind: str, *words: str) -> None:
    """A condition of steady holds all the words in the end."""

    def told(state: State) -> bool:
        said = str(view.condition(state.deployment, kind).get("message", ""))
        return all(word in said for word in words)

    place.until(f"{kind} to tell {', '.join(words)}", told, name=STEADY, seconds=PATIENCE)


def v1_alone_answers(load: Load) -> None:
    """Half a second of answers more, and not one of all so far is a failure or another version's."""
    tally = load.more(10)
    assert tally.failures_but() == {}
    assert set(tally.versions) == {f"{load.name}-v1"}


@pytest.mark.refusal(1)
@carries(*IN_TURN, NO_IMAGE)
@pytest.mark.refusal(17)
def test_v1_serves_on_without_a_failed_request_whatever_is_wrong_with_the_versions_after_it(wrong: Wrong) -> None:
    place = wrong.steady
    place.serving(1, name=STEADY, seconds=PATIENCE)
    with clients(place, STEADY) as load:
        assert "unknown field" in apply_words(place, wish(place, STEADY, trainng={}))
        v1_alone_answers(load)
        for number, case in enumerate(IN_TURN, 2):
            place.apply(bad_inputs.manifest(place, case, name=STEADY))
            ends_as(place, number, case)
            v1_alone_answers(load)
        place.apply(bad_inputs.manifest(place, NO_IMAGE, name=STEADY))
        condition_told(place, "Progressing", NO_IMAGE.words[0], "no/such-image")
        v1_alone_answers(load)
        forbid(place, QUOTAS["jobs"])
        place.apply(wish(place, STEADY, training={"seed": 2}))
        condition_told(place, "WritesRefused", "exceeded quota", QUOTAS["jobs"])
        v1_alone_answers(load)
        load.end()
    state = place.state(STEADY)
    assert (state.status["stable"], state.status["latest"]) == (1, 6)
    assert view.condition(state.deployment, "Ready")["status"] == "True"


@pytest.mark.parametrize("case", cases(8, 14))
def test_what_hangs_or_never_starts_is_ended_by_its_limit(wrong: Wrong, case: Case) -> None:
    refused_as_it_should(wrong, case)


def test_the_operator_had_no_fault_of_its_own_meanwhile(wrong: Wrong) -> None:
    log = wrong.place.kubectl.within("perennial-system").run("logs", "deployment/perennial", f"--since-time={wrong.began}")
    places = (wrong.place, wrong.steady, *wrong.quotas.values())
    ours = [line for line in log.splitlines() if any(f"{place.namespace}/" in line for place in places)]
    assert ours
    assert not [line for line in ours if "Traceback" in line or "fault of ours" in line]
