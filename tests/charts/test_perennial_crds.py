"""The chart of the CRDs carries exactly crds/, and an uninstall leaves them in place."""

from __future__ import annotations

import yaml

from chart_support import CHARTS, ROOT, helm, rendered, template


def test_lint_finds_nothing() -> None:
    assert "0 chart(s) failed" in helm("lint", str(CHARTS / "perennial-crds"))


def test_it_carries_what_crds_has_and_keeps_it_on_uninstall() -> None:
    documents = rendered("perennial-crds")
    found = {document["metadata"]["name"]: document for document in documents}
    files = sorted((ROOT / "crds").glob("*.yaml"))
    assert len(found) == len(files) == 2
    for file in files:
        kept = yaml.safe_load(file.read_text())
        document = found[kept["metadata"]["name"]]
        assert document["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert document == kept


def test_nothing_in_it_is_taken_for_a_template() -> None:
    assert "{{" not in template("perennial-crds", values={})
    assert all("{{" not in file.read_text() for file in (ROOT / "crds").glob("*.yaml"))
