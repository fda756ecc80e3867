"""Keys, certificates and kubeconfigs of the cluster, made by openssl. All or nothing: the directory appears when complete."""

import base64
import shutil
from collections.abc import Mapping
from pathlib import Path

from cluster import shell
from cluster.settings import API_SERVICE, NODE1, NODE2, Settings

DAYS = "1825"
CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")

# name -> subject, subject alternative names
LEAVES: Mapping[str, tuple[str, str]] = {
    "apiserver": (
        "/CN=kube-apiserver",
        (
            "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost,"
            f"IP:127.0.0.1,IP:{API_SERVICE},IP:{NODE1}"
        ),
    ),
    "admin": ("/O=system:masters/CN=admin", ""),
    "controllers": ("/CN=system:kube-controller-manager", ""),
    "scheduler": ("/CN=system:kube-scheduler", ""),
    "proxy": ("/CN=system:kube-proxy", ""),
    "node1": ("/O=system:nodes/CN=system:node:node1", f"DNS:node1,IP:{NODE1}"),
    "node2": ("/O=system:nodes/CN=system:node:node2", f"DNS:node2,IP:{NODE2}"),
}


def ensure(settings: Settings) -> None:
    """Makes the whole set once. It is as old as the cluster's data, which trusts it, and goes with it on `down`."""
    if not settings.pki.is_dir():
        draft = settings.state / "pki.draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True, mode=0o700)
        _authority(draft)
        for name, (subject, names) in LEAVES.items():
            _leaf(draft, name, subject, names)
        draft.rename(settings.pki)
    for name in LEAVES:
        path = kubeconfig(settings, name)
        if not path.exists():
            shell.write_atomically(path, _kubeconfig_text(settings.pki, name), mode=0o600)


def kubeconfig(settings: Settings, name: str) -> Path:
    return settings.state / f"{name}.kubeconfig"


def _authority(pki: Path) -> None:
    _openssl(pki, "req", "-x509", *CURVE, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=perennial-dev", "-days", DAYS)
    _openssl(pki, "genrsa", "-out", "sa.key", "2048")
    _openssl(pki, "rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub")


def _leaf(pki: Path, name: str, subject: str, names: str) -> None:
    lines = ["extendedKeyUsage=clientAuth,serverAuth", *([f"subjectAltName={names}"] if names else [])]
    (pki / f"{name}.ext").write_text("\n".join(lines) + "\n")
    _openssl(pki, "req", "-new", *CURVE, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject)
    _openssl(
        pki,
        "x509",
        "-req",
        "-in",
        f"{name}.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-out",
        f"{name}.crt",
        "-days",
        DAYS,
        "-extfile",
        f"{name}.ext",
    )


def _kubeconfig_text(pki: Path, name: str) -> str:
    """One file that can be copied anywhere: the keys are inside."""

    def data(file: str) -> str:
        return base64.b64encode((pki / file).read_bytes()).decode()

    return f"""apiVersion: v1
kind: Config
clusters:
- name: perennial-dev
  cluster:
    server: https://{NODE1}:6443
    certificate-authority-data: {data("ca.crt")}
users:
- name: {name}
  user:
    client-certificate-data: {data(f"{name}.crt")}
    client-key-data: {data(f"{name}.key")}
contexts:
- name: perennial-dev
  context: {{cluster: perennial-dev, user: {name}}}
current-context: perennial-dev
"""


def _openssl(pki: Path, *words: str) -> None:
    shell.run(["openssl", *words], what=f"openssl {words[0]}", cwd=pki)
