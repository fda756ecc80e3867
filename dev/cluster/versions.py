"""What the cluster is made of: versions, and how long each takes to build on two cores with nothing cached (shown as progress).

Changing a number here changes the key of the piece in the cache, so the next `up` builds and restarts just that piece.
"""

KUBERNETES = "1.35.4"
CONTAINERD = "2.4.2"
COREDNS = "1.15.0"
HELM = "3.22.0"
ENVOY_GATEWAY = "1.9.1"
ENVOY = "1.40.0"
SEAWEEDFS = "4.48"
PAUSE = "3.10"
DEBIAN = "bookworm"

# Envoy Gateway asks for this Go; older ones would try to download a newer toolchain
GO_MINIMUM = "1.26.7"
GO_WHEEL = "1.27.3"

SECONDS_TO_BUILD = {
    "kube": 350,
    "containerd": 70,
    "coredns": 120,
    "helm": 75,
    "envoy-gateway": 200,
    "base image": 45,
}


def parse(version: str) -> tuple[int, ...]:
    """`go1.26.8`, `v1.26` and `1.27.3` as numbers; a suffix such as `rc1` or `-dev` is dropped with what follows it."""
    numbers: list[int] = []
    for part in version.strip().removeprefix("go").removeprefix("v").split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if digits:
            numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)


def at_least(found: str, minimum: str) -> bool:
    """Whether `found` is `minimum` or newer; what does not look like a version is older than everything."""
    return parse(found) >= parse(minimum)
