"""One test's place in the cluster: a namespace with the store's keys, a prefix for data, and waits that explain themselves.

`Place.load` puts clients on a model there; a `Load` is honest about them: it fails the test when they did not ask as they should.
"""

from __future__ import annotations

import copy
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from cluster_support import synthetic
from cluster_support.reading import Reader
from demo.ground import REPOSITORY, Ground, Images
from demo.kubectl import Kubectl, diagnosis
from demo.stage import Stage, State, StoryError, read
from demo.traffic import Client, Tally

BUCKET = "tests"
GIVEN = {"ConfigMap/kube-root-ca.crt", "ServiceAccount/default", "Secret/perennial-store", "Secret/perennial-store-read"}
"""What a namespace has before anything is applied: Kubernetes puts the first two into each, a place its store's keys."""
LOAD_SECONDS = 1800.0
"""As long as a test may last: a load that ends before its test does is a problem, not an end."""
LEAST_SENT = 0.9
"""Of the requests that a load's rate asks for; it is an open loop, so a slow answer holds none of them up."""
SWITCH_SECONDS = 2.0
"""From a change of the HTTPRoute to the last answer that came the old way."""
SWITCH_REQUESTS = 200
STEADY_REQUESTS = 100
"""Answers in a row without a failure: a second's, at the usual rate."""

Manifest = dict[str, Any]
_ASK = """
import json, sys, httpx
print(httpx.post(sys.argv[1], json={"instances": json.loads(sys.argv[2])}, timeout=20).text)
"""


def light_trainer(ground: Ground) -> str:
    """The image of tests/benchmarks/trainer: a logistic model in a quarter of the CPU that a recipe takes."""
    source = REPOSITORY / "tests/benchmarks/trainer"
    return ground.cluster.push("perennial/trainer-bench", source, parent="perennial/training")


@dataclass
class Place:
    """Where a test puts its ModelDeployments. Everything in it goes with its namespace."""

    ground: Ground
    images: Images
    kubectl: Kubectl
    folder: Path
    stages: dict[str, Stage] = field(default_factory=dict)
    kinds: str = ""
    """Every kind that `left` looks for, once the API server has told them."""

    def __post_init__(self) -> None:
        self.kubectl = Reader.of(self.kubectl)

    @property
    def namespace(self) -> str:
        return self.kubectl.namespace

    @property
    def source(self) -> str:
        """URI of this test's data."""
        return f"s3://{BUCKET}/{self.namespace}/"

    @cached_property
    def light_image(self) -> str:
        return light_trainer(self.ground)

    def light(self, salt: int = 0, *, fails_on: str = "") -> Manifest:
        """`training` of a manifest where a rollout is looked at, not a training: the light trainer instead of a recipe. Another
        salt is another model that answers alike; one that fails on a word does so only on what live traffic has."""
        options = ["--salt", str(salt), *(["--fails-on", fails_on] if fails_on else [])]
        return {"recipe": None, "image": self.light_image, "command": ["python3", "/trainer/train.py", *options]}

    def upload(self, data: pl.DataFrame | bytes, name: str = "part-1.parquet") -> None:
        """One object of data: a table as Parquet or CSV by its name, or bytes as they are."""
        if isinstance(data, pl.DataFrame):
            data = synthetic.csv(data) if name.endswith(".csv") else synthetic.parquet(data)
        self.ground.upload(BUCKET, [(f"{self.namespace}/{name}", data)])

    def manifest(self, name: str = "shop", **spec: Any) -> Manifest:
        """A small ModelDeployment on `synthetic` data: fast recipe, short steps. `spec` is merged over it; None removes.
        Where nothing is said of training, `light` spares most of its CPU."""
        wish = {
            "data": {
                "source": {"uri": self.source, "secretRef": {"name": "perennial-store"}},
                "columns": copy.deepcopy(synthetic.COLUMNS),
                "minimumRows": 500,
            },
            "training": {
                "recipe": {"algorithm": "gradient-boosting", "hyperparameters": {"max_iter": 20}},
                "seed": 1,
                "timeout": "5m",
            },
            "evaluation": {"gates": [{"metric": "roc_auc", "minimum": 0.6}, {"metric": "roc_auc", "notWorseThanServingBy": 0.1}]},
            "serving": {"route": {"parentRefs": [self.ground.cluster.gateway_reference], "path": f"/{self.namespace}/{name}"}},
            "rollout": {"steps": [{"weight": 10, "hold": "6s"}, {"weight": 50, "hold": "6s"}], "minimumRequests": 30},
        }
        return {
            "apiVersion": "perennial.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": name},
            "spec": merged(wish, spec),
        }

    def apply(self, manifest: Mapping[str, Any]) -> None:
        """kubectl apply."""
        self.kubectl.apply(manifest)

    def until(
        self,
        what: str,
        reached: Callable[[State], bool],
        *,
        name: str = "shop",
        seconds: float = 120,
        never: Callable[[State], str] = lambda state: "",
        every: float = 0.5,
    ) -> State:
        """Waits for a state of a ModelDeployment; on time-out fails the test with the whole diagnosis."""
        stage = self.stages.setdefault(name, Stage(self.kubectl, name, Console(width=160)))
        try:
            return stage.until(what, reached, seconds=seconds, never=never, every=every)
        except StoryError as error:
            raise AssertionError(f"{error}\n\n{diagnosis(self.kubectl, name)}") from None

    def state(self, name: str = "shop") -> State:
        """How a ModelDeployment is now."""
        return read(self.kubectl, name, None)

    def serving(self, number: int = 1, *, name: str = "shop", seconds: float = 180) -> State:
        """Waits until a version serves everything."""

        def never(state: State) -> str:
            ended = state.state(number) in ("Failed", "Rejected", "RolledBack", "Superseded")
            return f"v{number} is {state.state(number)}: {state.version(number).get('message', '')}" if ended else ""

        return self.until(
            f"v{number} of {name} to serve",
            lambda state: state.state(number) == "Serving" and state.weight(number) == 100,
            name=name,
            seconds=seconds,
            never=never,
        )

    def client(
        self, url: str, bodies: Iterable[str], *, rate: float = 100, seconds: float = 600, headers: Sequence[str] = ()
    ) -> Client:
        """An open-loop client at `rate` requests a second; use it in a `with`."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        file = folder / "requests.jsonl"
        file.write_text("\n".join(bodies) + "\n")
        return self.ground.client(url, file, folder, rate=rate, seconds=seconds, headers=headers)

    def answer(self, rows: pl.DataFrame, *, name: str = "shop") -> dict[str, Any]:
        """What a model's address answers over HTTP for rows of its features."""
        address, body = str(self.state(name).status["address"]), json.dumps(rows.to_dicts())
        told: dict[str, Any] = json.loads(self.ground.cluster.run(sys.executable, "-c", _ASK, address, body, timeout=60))
        return told

    def answering(self, bodies: Iterable[str], *, name: str = "shop", headers: Sequence[str] = ()) -> None:
        """Waits until a model's address answers, STEADY_REQUESTS in a row.

        Without a route the address is a Service: each node's kube-proxy learns of a new one up to about a second after the API
        server has it, and until then refuses connections. Nothing in the API tells when it has.
        """
        address = str(self.state(name).status["address"])
        failed, since = -1, 0
        with self.client(address, bodies, headers=headers) as client:

            def steady() -> bool:
                nonlocal failed, since
                tally = client.look()
                failures = sum(tally.failures_but().values())
                if failures != failed:
                    failed, since = failures, tally.requests
                return tally.requests >= since + STEADY_REQUESTS

            self.until(
                "the address to answer",
                lambda state: steady(),
                name=name,
                seconds=30,
                never=lambda state: client.problem,
                every=0.2,
            )

    @contextmanager
    def load(
        self, bodies: Iterable[str], *, name: str = "shop", rate: float = 100, headers: Sequence[str] = ()
    ) -> Iterator[Load]:
        """Requests on a model for as long as the block lasts, from before its first line on."""
        address = str(self.state(name).status["address"])
        with self.client(address, bodies, rate=rate, seconds=LOAD_SECONDS, headers=headers) as client:
            self.until(
                "the first answers",
                lambda state: client.look().requests > rate / 2,
                name=name,
                never=lambda state: client.problem,
            )
            yield Load(self, name, client, rate, before=client.look().requests, began=time.monotonic())

    def left(self) -> list[str]:
        """Every object in the namespace, of whatever kind, as kind/name; without events and what was there before."""
        if not self.kinds:
            listed = self.kubectl.run("api-resources", "--namespaced=true", "--verbs=list", "--output=name").split()
            self.kinds = ",".join(name for name in listed if name.partition(".")[0] != "events")
        found = {f"{one['kind']}/{one['metadata']['name']}" for one in self.kubectl.list(self.kinds)}
        return sorted(found - GIVEN)


@dataclass(frozen=True, slots=True)
class Load:
    """Clients on one model. Every wait fails at once when they have ended, so that no test passes without them."""

    place: Place
    name: str
    client: Client
    rate: float
    """Requests a second."""
    before: int
    """Answers when it was handed to the test, at the monotonic time `began`."""
    began: float

    def counts(self) -> dict[str, int]:
        """Answers so far by the version that gave them; failures are among them."""
        return {version: seen.requests for version, seen in self.client.look().versions.items()}

    def more(self, requests: int) -> Tally:
        """Waits for so many answers more; the tally with them."""
        wanted = self.client.look().requests + requests
        self._until(f"{requests} answers more", lambda: self.client.look().requests >= wanted)
        return self.client.look()

    def all_from(self, number: int) -> None:
        """From 2 s after now on one version answers everything: 200 requests and more, while no other answers a single one."""
        version, over = f"{self.name}-v{number}", time.monotonic() + SWITCH_SECONDS
        self._until("the gateway to know the newest route", lambda: time.monotonic() >= over)
        before = self.counts()
        wanted = before.get(version, 0) + SWITCH_REQUESTS
        self._until(f"{version} to answer {SWITCH_REQUESTS} requests more", lambda: self.counts().get(version, 0) >= wanted)
        after = self.counts()
        assert {**after, version: 0} == {**before, version: 0}, f"not only {version} answered: {before}, then {after}"

    def end(self) -> Tally:
        """Stops the clients; the whole tally. They must have asked until now, and nearly all that their rate says."""
        problem = self.client.problem
        assert not problem, problem
        seconds = time.monotonic() - self.began
        tally = self.client.stop()
        for version, seen in tally.versions.items():
            if seen.failures:  # shown when the test fails: which failures are right is for it to say
                words = f"{seen.failures} failures, {seen.first_failure} to {seen.last_failure}, first: {seen.first_problem}"
                Console(width=160).print(f"{version}: {words}", markup=False)
        sent = tally.requests - self.before
        assert sent >= LEAST_SENT * self.rate * seconds, f"only {sent} requests in {seconds:.0f} s at {self.rate:g} a second"
        return tally

    def _until(self, what: str, reached: Callable[[], bool]) -> None:
        self.place.until(what, lambda state: reached(), name=self.name, never=lambda state: self.client.problem)


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` merged into `base` as a JSON merge patch does: objects are merged, None removes, all else replaces."""
    result = copy.deepcopy(dict(base))
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            kept = result.get(key)
            result[key] = merged(kept if isinstance(kept, Mapping) else {}, value)
        else:
            result[key] = copy.deepcopy(value)
    return result
