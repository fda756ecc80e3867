"""What a version was trained with, as a CycloneDX document: the software bill of materials of its environment.

`evaluate` makes it of the list of packages that the trainer told (`environment`), stores it by digest; `kubectl perennial sbom`
fetches it. It knows names and versions, as the trainer told them, and no hash or licence of a package. The same model from the
same environment gives the same bytes, so it has no time and no drawn serial number.
"""

from __future__ import annotations

import uuid

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from perennial_runtime import environment
from perennial_runtime.answers import say
from perennial_runtime.contract import EvaluateSpec
from perennial_runtime.store import Store

_NO_PACKAGES = ("python", "system")
"""In the list, but from no package index."""
_SPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "perennial.dev")


def stored(spec: EvaluateSpec, store: Store) -> str | None:
    """Digest of the document; None where no trainer told what it ran with."""
    if spec.environment is None:
        return None
    digest = store.put_bytes(document(spec, store.get_bytes(spec.environment).decode()))
    say("SBOM stored", digest=digest)
    return digest


def document(spec: EvaluateSpec, packages: str) -> bytes:
    """CycloneDX 1.6 as JSON. `packages` is the text of `environment.Environment`."""
    bom = Bom(serial_number=uuid.uuid5(_SPACE, f"{spec.version} {spec.model} {spec.environment}"))
    bom.metadata.timestamp = None  # type: ignore[assignment]  # it may be left out, and the library puts now there
    name, _, number = spec.version.rpartition("-v")
    bom.metadata.component = model = Component(
        name=name,
        version=f"v{number}",
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=spec.version,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=spec.model)],
    )
    components = [*_components(packages), *([_image(spec.image)] if spec.image else [])]
    for component in components:
        bom.components.add(component)
    bom.register_dependency(model, components)
    return JsonV1Dot6(bom).output_as_string(indent=1).encode()


def _components(packages: str) -> list[Component]:
    found = environment.packages(packages)
    of_index = {name: version for name, version in found.items() if name not in _NO_PACKAGES}
    components = [
        Component(
            name=name,
            version=version,
            type=ComponentType.LIBRARY,
            bom_ref=f"{name}=={version}",
            purl=PackageURL("pypi", None, name, version),
        )
        for name, version in sorted(of_index.items())
    ]
    if "python" in found:
        python = found["python"]
        components.append(Component(name="python", version=python, type=ComponentType.PLATFORM, bom_ref=f"python {python}"))
    if "system" in found:
        components.append(Component(name=found["system"], type=ComponentType.OPERATING_SYSTEM, bom_ref=found["system"]))
    return components


def _image(image: str) -> Component:
    name, _, digest = image.partition("@sha256:")
    hashes = [HashType(alg=HashAlgorithm.SHA_256, content=digest)] if digest else []
    return Component(name=name, type=ComponentType.CONTAINER, bom_ref=image, hashes=hashes)
