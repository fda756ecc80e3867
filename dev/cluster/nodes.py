"""A node: containerd, kubelet and kube-proxy in its network namespace. node1 is for everything, node2 only for accelerators."""

import json
from dataclasses import dataclass
from pathlib import Path

from cluster import cgroups, shell
from cluster.certificates import kubeconfig
from cluster.components import Component
from cluster.controlplane import kubectl
from cluster.errors import ClusterError
from cluster.images import pause_reference
from cluster.processes import Daemon, ensure, must_live
from cluster.settings import DOMAIN, NAME, NODE1, NODE2, PODS, REGISTRY, Settings, netns

ACCELERATOR = "nvidia.com/gpu"
ADVERTISED = "2"


@dataclass(frozen=True, slots=True)
class Node:
    """Number in names and address ranges, the address on the link, and what its kubelet registers in addition."""

    number: int
    address: str
    registration: str = ""

    @property
    def name(self) -> str:
        return f"node{self.number}"


NODES = (
    Node(1, NODE1),
    Node(2, NODE2, f"registerWithTaints: [{{key: {ACCELERATOR}, value: present, effect: NoSchedule}}]\n"),
)


def directory(settings: Settings, node: Node) -> Path:
    return settings.state / node.name


def socket(settings: Settings, node: Node) -> Path:
    return directory(settings, node) / "containerd.sock"


def files(settings: Settings, node: Node) -> dict[Path, str]:
    """The configuration of the node's programs."""
    home = directory(settings, node)
    return {
        home / "containerd.toml": _containerd_toml(settings, node),
        home / "cni" / "10-bridge.conflist": _cni(settings, node),
        home / "certs.d" / REGISTRY / "hosts.toml": (
            f'server = "http://{REGISTRY}"\n[host."http://{REGISTRY}"]\n  capabilities = ["pull", "resolve"]\n'
        ),
        home / "kubelet.yaml": _kubelet(settings, node),
    }


def daemons(settings: Settings, node: Node) -> tuple[Daemon, Daemon, Daemon]:
    """containerd, kubelet, kube-proxy."""
    home = directory(settings, node)
    binaries = Component.CONTAINERD.directory(settings)
    kube = str(Component.KUBE.directory(settings) / "kube")
    space = netns(node.number)
    runtime = Daemon(
        f"containerd{node.number}",
        (str(binaries / "containerd"), "-c", str(home / "containerd.toml")),
        space, _containerd_toml(settings, node), (binaries,),
    )  # fmt: skip
    kubelet = Daemon(
        f"kubelet{node.number}",
        (
            kube, "kubelet", f"--config={home / 'kubelet.yaml'}", f"--kubeconfig={kubeconfig(settings, node.name)}",
            f"--hostname-override={node.name}", f"--node-ip={node.address}", f"--root-dir={home / 'kubelet'}",
        ),
        space, _kubelet(settings, node),
    )  # fmt: skip
    proxy = Daemon(
        f"proxy{node.number}",
        (
            kube, "kube-proxy", f"--kubeconfig={kubeconfig(settings, 'proxy')}", f"--cluster-cidr={PODS}",
            "--proxy-mode=nftables", f"--hostname-override={node.name}",
            # these sysctls are read-only in a namespace; zero means leave them alone
            "--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s",
        ),
        space,
    )  # fmt: skip
    return runtime, kubelet, proxy


def start(settings: Settings, node: Node) -> None:
    """Starts what does not run of the node; does not wait for the node to be Ready."""
    for path, text in files(settings, node).items():
        if not path.exists() or path.read_text() != text:
            shell.write_atomically(path, text)
    cgroups.prepare(cgroups.detect(), node.number)
    runtime, kubelet, proxy = daemons(settings, node)
    ctr: list[str | Path] = [Component.CONTAINERD.directory(settings) / "ctr", "-a", socket(settings, node), "version"]
    if ensure(settings, runtime):

        def serves() -> bool:
            must_live(settings, runtime)
            return shell.succeeds(ctr, timeout=5)

        shell.wait_until(serves, 30, f"an answer of {runtime.name}")
    ensure(settings, kubelet)
    ensure(settings, proxy)


def wait_ready(settings: Settings, seconds: float = 90) -> None:
    watched = [daemon for node in NODES for daemon in daemons(settings, node)]

    def all_ready() -> bool:
        for daemon in watched:
            must_live(settings, daemon)
        return not unready(settings)

    shell.wait_until(all_ready, seconds, "Ready nodes node1 and node2")


def unready(settings: Settings) -> list[str]:
    """The nodes that are not Ready; all of them when the API server does not answer."""
    template = '{range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status} {end}'
    try:
        found = kubectl(settings, "get", "nodes", "-o", f"jsonpath={template}", timeout=10).split()
    except ClusterError:
        found = []
    return [node.name for node in NODES if f"{node.name}=True" not in found]


def advertise_accelerators(settings: Settings) -> None:
    """An extended resource without a device plugin: pods that ask for it are scheduled here, and get no device."""
    escaped = ACCELERATOR.replace("/", "~1")
    if accelerators(settings) == ADVERTISED:
        return
    patch = json.dumps([{"op": "add", "path": f"/status/capacity/{escaped}", "value": ADVERTISED}])
    kubectl(settings, "patch", "node", "node2", "--subresource=status", "--type=json", "-p", patch)


def accelerators(settings: Settings) -> str:
    """How many node2 advertises, as Kubernetes writes it; '' when none."""
    path = ACCELERATOR.replace(".", "\\.")
    return kubectl(settings, "get", "node", "node2", "-o", f"jsonpath={{.status.capacity.{path}}}", timeout=10)


def _containerd_toml(settings: Settings, node: Node) -> str:
    home = directory(settings, node)
    images, runtime = "plugins.'io.containerd.cri.v1.images'", "plugins.'io.containerd.cri.v1.runtime'"
    return f"""version = 3
root = "{home}/root"
state = "{home}/state"
[grpc]
  address = "{socket(settings, node)}"
[ttrpc]
  address = "{socket(settings, node)}.ttrpc"
[{images}]
  snapshotter = "overlayfs"
  max_concurrent_downloads = 6
  [{images}.registry]
    config_path = "{home}/certs.d"
  [{images}.pinned_images]
    sandbox = "{pause_reference()}"
[{runtime}]
  restrict_oom_score_adj = true  # without CAP_SYS_RESOURCE runc may not lower oom_score_adj
  netns_mounts_under_state_dir = true  # so that `down` finds every mount of ours
  [{runtime}.cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "{home}/cni"
  [{runtime}.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [{runtime}.containerd.runtimes.runc.options]
      SystemdCgroup = false
"""


def _cni(settings: Settings, node: Node) -> str:
    bridge = {
        "type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "hairpinMode": True,
        "ipam": {
            "type": "host-local", "ranges": [[{"subnet": f"10.244.{node.number}.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": str(directory(settings, node) / "cni-data"),
        },
    }  # fmt: skip
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "0.4.0", "name": NAME, "plugins": [bridge, ports]}, indent=1) + "\n"


def _kubelet(settings: Settings, node: Node) -> str:
    home, pki = directory(settings, node), settings.pki
    return f"""apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /{netns(node.number)}
featureGates: {{ImageVolume: true}}
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}, x509: {{clientCAFile: {pki}/ca.crt}}}}
authorization: {{mode: Webhook}}
clusterDNS: [{NODE1}]
clusterDomain: {DOMAIN}
podLogsDir: {home}/pod-logs
volumePluginDir: {home}/volume-plugins
containerRuntimeEndpoint: unix://{socket(settings, node)}
tlsCertFile: {pki}/{node.name}.crt
tlsPrivateKeyFile: {pki}/{node.name}.key
failSwapOn: false
resolvConf: /dev/null
serializeImagePulls: false
evictionHard: {{imagefs.available: 2Gi, nodefs.available: 2Gi, memory.available: 200Mi}}
imageGCHighThresholdPercent: 100
{node.registration}"""
