"""etcd, the API server, the controllers, the scheduler and the cluster's DNS, on node1's network. Used by lifecycle."""

import http.client
import json
import ssl
from pathlib import Path

from cluster import shell
from cluster.certificates import kubeconfig
from cluster.components import Component
from cluster.processes import Daemon, ensure, must_live
from cluster.settings import DOMAIN, NODE1, SERVICES, Settings, netns

ETCD = "http://127.0.0.1:2379"
AUDIT_LOG = "audit.log"
"""In the state directory: one JSON line for each write that did not come from Kubernetes' own parts (tests count them)."""
WRITES = ["create", "update", "patch", "delete", "deletecollection"]
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "userGroups": ["system:nodes", "system:serviceaccounts:kube-system"]},
        {"level": "None", "users": ["system:apiserver", "system:kube-scheduler", "system:kube-controller-manager"]},
        {"level": "Metadata", "verbs": WRITES},
    ],
}


def daemons(settings: Settings) -> tuple[Daemon, ...]:
    """In the order in which they are started."""
    return (etcd(settings), api_server(settings), controllers(settings), scheduler(settings), dns(settings))


def _kube(settings: Settings, name: str, component: str, *flags: str, config: str = "") -> Daemon:
    binary = str(Component.KUBE.directory(settings) / "kube")
    return Daemon(name, (binary, component, *flags), netns(1), config)


def etcd(settings: Settings) -> Daemon:
    return _kube(
        settings, "etcd", "etcd",
        "--data-dir", str(settings.state / "etcd"),
        "--unsafe-no-fsync",  # the cluster does not survive the machine, so neither need its data
        "--listen-client-urls", ETCD, "--advertise-client-urls", ETCD, "--listen-peer-urls", "http://127.0.0.1:2380",
        "--auto-compaction-mode=revision", "--auto-compaction-retention=5000", "--quota-backend-bytes=4294967296",
    )  # fmt: skip


def api_server(settings: Settings) -> Daemon:
    pki = settings.pki
    policy = settings.state / "audit-policy.json"
    return _kube(
        settings, "apiserver", "kube-apiserver",
        f"--etcd-servers={ETCD}", f"--service-cluster-ip-range={SERVICES}", "--secure-port=6443",
        f"--advertise-address={NODE1}",
        f"--tls-cert-file={pki}/apiserver.crt", f"--tls-private-key-file={pki}/apiserver.key",
        f"--client-ca-file={pki}/ca.crt",
        f"--kubelet-client-certificate={pki}/admin.crt", f"--kubelet-client-key={pki}/admin.key",
        "--kubelet-preferred-address-types=InternalIP",  # node names are in no DNS; logs and exec need an address
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki}/sa.pub", f"--service-account-signing-key-file={pki}/sa.key",
        "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged",
        "--feature-gates=ImageVolume=true",
        f"--audit-policy-file={policy}", f"--audit-log-path={settings.state / AUDIT_LOG}",
        "--audit-log-maxsize=50", "--audit-log-maxbackup=1",
        config=json.dumps(AUDIT_POLICY),
    )  # fmt: skip


def controllers(settings: Settings) -> Daemon:
    pki = settings.pki
    return _kube(
        settings, "controllers", "kube-controller-manager",
        f"--kubeconfig={kubeconfig(settings, 'controllers')}",
        f"--service-account-private-key-file={pki}/sa.key", f"--root-ca-file={pki}/ca.crt",
        f"--cluster-signing-cert-file={pki}/ca.crt", f"--cluster-signing-key-file={pki}/ca.key",
        "--use-service-account-credentials", "--leader-elect=false",
    )  # fmt: skip


def scheduler(settings: Settings) -> Daemon:
    flags = (f"--kubeconfig={kubeconfig(settings, 'scheduler')}", "--leader-elect=false")
    return _kube(settings, "scheduler", "kube-scheduler", *flags)


def dns(settings: Settings) -> Daemon:
    config = (
        f".:53 {{\n bind {NODE1}\n errors\n kubernetes {DOMAIN} in-addr.arpa {{\n"
        f"  kubeconfig {kubeconfig(settings, 'admin')}\n  ttl 5\n }}\n cache 5\n}}\n"
    )
    path = settings.state / "Corefile"
    binary = str(Component.COREDNS.directory(settings) / "coredns")
    return Daemon("coredns", (binary, "-conf", str(path)), netns(1), config)


def start(settings: Settings) -> None:
    """Starts what does not run and waits until the API server answers."""
    shell.write_atomically(settings.state / "Corefile", dns(settings).config)
    store, server, *others = daemons(settings)
    shell.write_atomically(settings.state / "audit-policy.json", server.config)
    ensure(settings, store)
    if ensure(settings, server):

        def answers() -> bool:
            must_live(settings, store)
            must_live(settings, server)
            return ready(settings)

        shell.wait_until(answers, 90, "the API server's readiness")
    for daemon in others:
        ensure(settings, daemon)


def ready(settings: Settings) -> bool:
    """Whether the API server says of itself that it is ready."""
    context = ssl.create_default_context(cafile=str(settings.pki / "ca.crt"))
    context.load_cert_chain(settings.pki / "admin.crt", settings.pki / "admin.key")
    connection = http.client.HTTPSConnection(NODE1, 6443, timeout=3, context=context)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def kubectl(settings: Settings, *words: str, stdin: str | None = None, timeout: float = 120) -> str:
    """kubectl as the cluster's administrator, never with the user's own context."""
    argv: list[str | Path] = [settings.kubectl, f"--kubeconfig={settings.kubeconfig}", *words]
    return shell.run(argv, what=f"kubectl {' '.join(words[:3])}", stdin=stdin, timeout=timeout)


def apply(settings: Settings, *manifests: object) -> None:
    """Server-side apply: the same again changes nothing."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
    kubectl(settings, "apply", "--server-side", "--force-conflicts", "--field-manager=perennial-dev", "-f", "-", stdin=text)
