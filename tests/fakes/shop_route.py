"""An HTTPRoute of a shop, as its team has it: two rules with names, of which a model may borrow `predict`."""

from __future__ import annotations

from typing import Any

from perennial.ports import Manifest

LEGACY: Manifest = {"group": "", "kind": "Service", "name": "legacy", "port": 8080, "weight": 50}
REWRITE: Manifest = {"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/predict"}}}
HEADERS: Manifest = {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "x-shop", "value": "1"}]}}


def backend(version: int, weight: int, model: str = "delays") -> Manifest:
    """A version's Service as a backend, with what the API server fills in."""
    return {"group": "", "kind": "Service", "name": f"{model}-v{version}", "port": 80, "weight": weight}


def rule(name: str = "predict", **fields: Any) -> Manifest:
    """A rule that leads to /predict; a field that is None is left out."""
    usual = {
        "name": name,
        "matches": [{"path": {"type": "Exact", "value": f"/shop/{name}"}}],
        "filters": [REWRITE, HEADERS],
        "backendRefs": [LEGACY],
        "timeouts": {"request": "5s"},
    }
    return {key: value for key, value in (usual | fields).items() if value is not None}


def shop_route(*rules: Manifest, name: str = "shop", **metadata: Any) -> Manifest:
    """The route; without rules: `pages` and `predict`."""
    pages = rule("pages", filters=None, timeouts=None, matches=[{"path": {"type": "PathPrefix", "value": "/"}}])
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": "shop", "annotations": {"team": "shop"}, **metadata},
        "spec": {
            "parentRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "gw"}],
            "hostnames": ["shop.example.com"],
            "rules": list(rules) or [pages, rule()],
        },
    }
