"""One test's place in the cluster: a namespace with the store's keys, a prefix for data, and waits that explain themselves."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console

from cluster_support import synthetic
from demo.ground import Ground, Images
from demo.kubectl import Kubectl, diagnosis
from demo.stage import Stage, State, StoryError, read
from demo.traffic import Client

BUCKET = "tests"
Manifest = dict[str, Any]


@dataclass
class Place:
    """Where a test puts its ModelDeployments. Everything in it goes with its namespace."""

    ground: Ground
    images: Images
    kubectl: Kubectl
    folder: Path
    stages: dict[str, Stage] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        return self.kubectl.namespace

    @property
    def source(self) -> str:
        """URI of this test's data."""
        return f"s3://{BUCKET}/{self.namespace}/"

    def upload(self, data: pl.DataFrame | bytes, name: str = "part-1.parquet") -> None:
        """One object of data: a table as Parquet or CSV by its name, or bytes as they are."""
        if isinstance(data, pl.DataFrame):
            data = synthetic.csv(data) if name.endswith(".csv") else synthetic.parquet(data)
        self.ground.upload(BUCKET, [(f"{self.namespace}/{name}", data)])

    def manifest(self, name: str = "shop", **spec: Any) -> Manifest:
        """A small ModelDeployment on `synthetic` data: fast recipe, short steps. `spec` is merged over it; None removes."""
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

    def client(self, url: str, bodies: Iterable[str], *, rate: float = 100, seconds: float = 600) -> Client:
        """An open-loop client at `rate` requests a second; use it in a `with`."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        file = folder / "requests.jsonl"
        file.write_text("\n".join(bodies) + "\n")
        return self.ground.client(url, file, folder, rate=rate, seconds=seconds)

    def left(self) -> list[str]:
        """Every object of ours that is in the namespace, as kind/name; events and what Kubernetes makes itself left out."""
        kinds = "mdep,mver,jobs,pods,deployments,replicasets,services,endpointslices,httproutes,configmaps,secrets"
        found = [f"{one['kind']}/{one['metadata']['name']}" for one in self.kubectl.list(kinds)]
        given = {"ConfigMap/kube-root-ca.crt", "Secret/perennial-store", "Secret/perennial-store-read"}
        return sorted(set(found) - given)


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
