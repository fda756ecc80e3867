"""The cluster as a person's kubeconfig reaches it: what `kubectl perennial` reads, pods' logs too, and the annotations it sets.

Nothing of the operator: a few requests by the `kubernetes` package, with the person's own rights. Every failure is a
`NoAnswer` whose words name the object and what to do.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, Final

import urllib3
import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.config import kube_config

from perennial.manifests.common import MODEL_LABEL
from perennial.ports import Manifest
from perennial_runtime.contract import API_VERSION, GROUP

MODELS: Final = "modeldeployments"
VERSIONS: Final = "modelversions"
SECONDS: Final = (5.0, 30.0)
"""To connect, and to be answered."""
FOLLOWED_SECONDS: Final = 7 * 24 * 3600.0
"""Between two lines of a log that is followed. The client takes no request without a limit, and Python none of 25 days."""
CHUNK: Final = 64 * 1024
DENIED: Final = ("denied request:", "denied the request:")
"""How a ValidatingAdmissionPolicy and a webhook say no, whatever code they choose."""


class NoAnswer(Exception):
    """The cluster could not be asked, or it refused."""

    def __init__(self, words: str, *, passes: bool = False) -> None:
        super().__init__(words)
        self.passes = passes
        """Whether the same request may well be answered a little later."""


class Refused(NoAnswer):
    """The API server answered, and it was no."""


class Forbidden(Refused):
    """The person may not do it: by their rights, or by a policy of the cluster."""


class NotStarted(Refused):
    """A container that has written nothing yet."""


class KubeconfigCluster:
    """One context of a kubeconfig, and one namespace of its cluster."""

    def __init__(self, kubeconfig: str | None = None, context: str | None = None, namespace: str | None = None) -> None:
        """As kubectl: KUBECONFIG or ~/.kube/config, its current context, and that context's namespace, unless they are given.
        Raises NoAnswer."""
        settings = client.Configuration()
        try:
            load: Any = config.load_kube_config
            load(kubeconfig, context=context, client_configuration=settings)
            merger: Any = kube_config.KubeConfigMerger
            loader: Any = kube_config.KubeConfigLoader
            merged = merger(kubeconfig or kube_config.KUBE_CONFIG_DEFAULT_LOCATION).config
            current = loader(config_dict=merged, active_context=context).current_context
        except (config.ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            file, said = kubeconfig or kube_config.KUBE_CONFIG_DEFAULT_LOCATION, str(error).rstrip(".")
            words = "name another by --kubeconfig or KUBECONFIG, and its context by --context"
            raise NoAnswer(f"{file} is no kubeconfig that can be used: {said}; {words}") from None
        settings.retries = False
        self.server = str(settings.host)
        self.namespace = namespace or str(current["context"].get("namespace") or "default")
        self._connection = client.ApiClient(settings)
        self._objects = client.CustomObjectsApi(self._connection)

    @cached_property
    def _core(self) -> client.CoreV1Api:
        """Made when it is asked for: the classes of its objects take seconds to load, and most verbs need none of them."""
        return client.CoreV1Api(self._connection)

    @cached_property
    def _authentication(self) -> client.AuthenticationV1Api:
        return client.AuthenticationV1Api(self._connection)

    def model(self, name: str) -> Manifest:
        """A ModelDeployment. Raises NoAnswer."""
        listed = f"kubectl perennial get -n {self.namespace} lists them"
        words = f"there is no ModelDeployment {name!r} in namespace {self.namespace}: {listed}"
        place = self._place(MODELS)
        return dict(self._ask(lambda: self._objects.get_namespaced_custom_object(*place, name, _request_timeout=SECONDS), words))

    def models(self, *, everywhere: bool = False) -> list[Manifest]:
        """Every ModelDeployment of the namespace, or of all. Raises NoAnswer."""
        if everywhere:
            place = (GROUP, self._version(), MODELS)
            found = self._ask(lambda: self._objects.list_cluster_custom_object(*place, _request_timeout=SECONDS))
        else:
            found = self._ask(lambda: self._objects.list_namespaced_custom_object(*self._place(MODELS), _request_timeout=SECONDS))
        return [{**one, "apiVersion": API_VERSION, "kind": "ModelDeployment"} for one in found["items"]]

    def versions(self, name: str) -> list[Manifest]:
        """The ModelVersions of a model, the newest first. Raises NoAnswer."""
        found = self._ask(
            lambda: self._objects.list_namespaced_custom_object(
                *self._place(VERSIONS), label_selector=f"{MODEL_LABEL}={name}", _request_timeout=SECONDS
            )
        )
        own = [one for one in found["items"] if one["spec"]["modelDeployment"] == name]
        ordered = sorted(own, key=lambda one: int(one["spec"]["number"]), reverse=True)
        return [{**one, "apiVersion": API_VERSION, "kind": "ModelVersion"} for one in ordered]

    def secret(self, name: str) -> dict[str, str]:
        """A Secret of the namespace. Raises NoAnswer."""
        read: Any = self._core.read_namespaced_secret
        found = self._ask(
            lambda: read(name, self.namespace, _request_timeout=SECONDS), f"there is no Secret {name!r} in {self.namespace}"
        )
        return {key: base64.b64decode(value).decode(errors="replace").strip() for key, value in (found.data or {}).items()}

    def owned_file(self, config_map: str, key: str, owner: str) -> bytes | None:
        """A file in a ConfigMap that belongs to the object of this UID; None when there is none. Raises NoAnswer."""
        read: Any = self._core.read_namespaced_config_map
        absent = "there is no such ConfigMap"
        try:
            found = self._ask(lambda: read(config_map, self.namespace, _request_timeout=SECONDS), absent)
        except Refused as error:
            if str(error) == absent:
                return None
            raise
        if owner not in [reference.uid for reference in found.metadata.owner_references or ()]:
            raise NoAnswer(f"ConfigMap {self.namespace}/{config_map} is not Perennial's: rename it, its name is taken")
        data = (found.binary_data or {}).get(key)
        if data is None:
            raise NoAnswer(f"ConfigMap {self.namespace}/{config_map} has no {key}: it was made by another release")
        return base64.b64decode(data)

    def user(self) -> str:
        """The person's name as the API server knows it; empty where it does not tell. Raises NoAnswer when nobody answers."""
        review = client.V1SelfSubjectReview(api_version="authentication.k8s.io/v1", kind="SelfSubjectReview")
        create: Any = self._authentication.create_self_subject_review
        try:
            found = self._ask(lambda: create(review, _request_timeout=SECONDS))
        except Refused:
            return ""
        return str(found.status.user_info.username or "")

    def pods(self, selector: str) -> list[Manifest]:
        """The pods with these labels, the oldest first. Raises NoAnswer."""
        found = self._ask(
            lambda: self._core.list_namespaced_pod(self.namespace, label_selector=selector, _request_timeout=SECONDS)
        )
        plain: Any = self._core.api_client.sanitize_for_serialization
        return sorted(plain(found)["items"], key=lambda one: str(one["metadata"]["creationTimestamp"]))

    def log(self, pod: str, container: str, *, previous: bool, follow: bool, lines: int | None) -> Iterator[str]:
        """What a container wrote, its last so many `lines` or all, line by line; `follow`: until it ends. Raises NoAnswer."""
        read: Any = self._core.read_namespaced_pod_log
        options = {"container": container, "previous": previous, "follow": follow}
        options |= {} if lines is None else {"tail_lines": lines}
        seconds = (SECONDS[0], FOLLOWED_SECONDS if follow else SECONDS[1])
        words = f"the pod {pod} in namespace {self.namespace} is gone"
        answer = self._ask(lambda: read(pod, self.namespace, _preload_content=False, _request_timeout=seconds, **options), words)
        try:
            yield from _lines(answer)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise NoAnswer(f"the log of {pod}/{container} broke off: {error}", passes=True) from None
        finally:
            answer.close()  # it may not be read to its end

    def annotate(self, name: str, annotations: Mapping[str, str]) -> None:
        """Sets annotations of a ModelDeployment in one write. Raises NoAnswer."""
        patch: Manifest = {"metadata": {"annotations": dict(annotations)}}
        words = f"there is no ModelDeployment {name!r} in namespace {self.namespace}"
        self._ask(
            lambda: self._objects.patch_namespaced_custom_object(*self._place(MODELS), name, patch, _request_timeout=SECONDS),
            words,
        )

    def create(self, manifest: Manifest) -> Manifest:
        """A new ModelDeployment, as the API server has it. Raises NoAnswer."""
        create: Any = self._objects.create_namespaced_custom_object
        return dict(self._ask(lambda: create(*self._place(MODELS), manifest, _request_timeout=SECONDS)))

    def delete(self, name: str) -> None:
        """Removes a ModelDeployment, and after it all that belongs to it; one that is not there is no fault. Raises NoAnswer."""
        delete: Any = self._objects.delete_namespaced_custom_object
        absent = "there is no such ModelDeployment"
        try:
            self._ask(lambda: delete(*self._place(MODELS), name, _request_timeout=SECONDS), absent)
        except Refused as error:
            if str(error) != absent:
                raise

    def _place(self, plural: str) -> tuple[str, str, str, str]:
        return GROUP, self._version(), self.namespace, plural

    @staticmethod
    def _version() -> str:
        return API_VERSION.rpartition("/")[2]

    def _ask(self, request: Callable[[], Any], missing: str = "") -> Any:
        try:
            return request()
        except ApiException as error:
            if error.status == 404 and missing and "page not found" not in str(error.body):
                raise Refused(missing) from None
            if error.status == 400 and "is waiting to start" in str(error.body):
                raise NotStarted(_words(error, self.server)) from None
            if error.status == 403 or any(words in str(error.body) for words in DENIED):
                raise Forbidden(_words(error, self.server)) from None
            passes = error.status == 429 or (error.status or 0) >= 500
            raise Refused(_words(error, self.server), passes=passes) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise NoAnswer(f"no answer from the API server {self.server}: {error}", passes=True) from None


def _lines(answer: Any) -> Iterator[str]:
    """The lines of an answer as they come, without their ends."""
    rest = b""
    for piece in answer.stream(CHUNK):
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)
    if rest:
        yield rest.decode(errors="replace")


def _words(error: ApiException, server: str) -> str:
    """The API server's own."""
    try:
        said = str(json.loads(error.body or "")["message"])
    except (TypeError, ValueError, KeyError):
        said = f"HTTP {error.status} {error.reason}"
    if error.status == 404:
        return f"{said}: the CRDs of Perennial are not installed in this cluster ({server}); helm install perennial-crds first"
    return said
