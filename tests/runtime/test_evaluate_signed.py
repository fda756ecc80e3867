"""The evaluate step where Bentos are signed: what it signs, and whose champion it believes in."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from perennial_runtime import bento, signature
from perennial_runtime.answers import Refused
from perennial_runtime.archive import unpack
from perennial_runtime.contract import Champion, EvaluateResult, EvaluateSpec, GateSpec
from perennial_runtime.evaluate import evaluate
from perennial_runtime.store import signature_path
from runtime.evaluate_world import World, model
from runtime.signing_world import pair

COMPARED = (GateSpec("roc_auc", not_worse_than_serving_by=0.02),)


@dataclass(frozen=True, slots=True)
class Shop:
    """A store, and v1, which is signed and serves."""

    world: World
    secret: Path
    first: EvaluateResult

    def challenger(self, name: str, signed_for: str = "uid-delays-v1") -> EvaluateSpec:
        champion = Champion("delays-v1", self.first.identity, self.first.bento, signed_for)
        return replace(self.world.spec(name, model(), gates=COMPARED), signed=True, champion=champion)

    def run(self, spec: EvaluateSpec) -> EvaluateResult:
        return evaluate(spec, self.world.store, self.world.folder / "work", signing=self.secret)

    def refusal(self, spec: EvaluateSpec) -> Refused:
        with pytest.raises(Refused) as caught:
            self.run(spec)
        return caught.value


def evidence(world: World, result: EvaluateResult) -> dict[str, Any]:
    """All that was measured, as it is stored."""
    assert result.evidence is not None
    return dict(json.loads(world.store.get_bytes(result.evidence)))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    root = tmp_path_factory.mktemp("signed")
    pair(root / "secret")
    world = World.make(root)
    spec = replace(world.spec("delays-v1"), signed=True)
    return Shop(world, root / "secret", evaluate(spec, world.store, world.folder / "work", signing=root / "secret"))


def test_bento_is_signed_and_names_the_object_that_it_is_for(shop: Shop, tmp_path: Path) -> None:
    keys = signature.read_keys(shop.secret, to_sign=False)
    signer = evidence(shop.world, shop.first)["signedBy"]
    assert signer in keys.public
    target = tmp_path / "delays-v1"
    unpack(shop.world.store.get_file(shop.first.bento, tmp_path / "bento.tar"), target)
    assert signature.verify(shop.first.bento, target, keys, shop.world.store, "delays-v1") == signer
    assert json.loads((target / bento.SOURCE / bento.IDENTITY_FILE).read_text())["uid"] == "uid-delays-v1"


def test_champion_whose_signature_holds_is_compared_with(shop: Shop) -> None:
    assert shop.run(shop.challenger("delays-v2")).champion == shop.first.identity


def test_champion_that_was_made_unsigned_is_compared_with(shop: Shop) -> None:
    unsigned = evaluate(shop.world.spec("delays-v0"), shop.world.store, shop.world.folder / "work")
    champion = Champion("delays-v0", unsigned.identity, unsigned.bento)
    assert shop.run(replace(shop.challenger("delays-v3"), champion=champion)).champion == unsigned.identity
    assert evidence(shop.world, unsigned)["signedBy"] is None


def test_champion_without_its_signature_is_refused_and_nothing_is_judged(shop: Shop) -> None:
    path = signature_path(shop.first.bento)
    body = shop.world.store.get_document(path)
    assert body is not None
    shop.world.store.put_document(path, b"{}")
    found = shop.refusal(shop.challenger("delays-v4"))
    shop.world.store.put_document(path, body)
    assert found.reason == "SignatureWrong"
    assert "delays-v1, which serves," in found.message
    assert shop.world.store.get_result("uid-delays-v4", "evaluate", shop.first.identity) is None


def test_champion_that_was_signed_for_another_object_is_refused(shop: Shop) -> None:
    found = shop.refusal(shop.challenger("delays-v5", signed_for="uid-of-another"))
    assert found.reason == "IdentityMismatch"
    assert "uid-of-another" in found.message


def test_missing_key_is_refused_before_anything_is_read(shop: Shop, tmp_path: Path) -> None:
    spec = replace(shop.world.spec("delays-v6"), signed=True, model="0" * 64)
    with pytest.raises(Refused) as caught:
        evaluate(spec, shop.world.store, shop.world.folder / "work", signing=tmp_path)
    assert caught.value.reason == "SigningSecretMissing"
