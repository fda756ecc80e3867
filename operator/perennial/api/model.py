"""`spec.model`: a model that is there already, judged and served without a training; `spec.signing`: the keys of signatures."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from perennial.api.base import SpecModel, cel, rules
from perennial.api.pods import LocalReference

MODEL_PATTERN = "^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.*[^/]$"
DIGEST_PATTERN = "^(sha256:)?[0-9a-f]{64}$"

ONE_MAKER = cel(
    "[has(self.model), has(self.training) && (has(self.training.recipe) || has(self.training.image))].exists_one(given, given)",
    "a ModelDeployment needs exactly one of training.recipe, training.image and model",
    "has(self.model) ? 'there are both model and training.%s: a model that is there already is not trained; keep one of them'"
    ".format([has(self.training.recipe) ? 'recipe' : 'image'])"
    " : 'training has neither recipe nor image, and there is no model: add training.recipe: {} for the built-in trainer, an image"
    " of yours, or model, for one that is there already'",
)
NOTHING_RETRAINS = cel(
    "!has(self.model) || !has(self.triggers) || !(has(self.triggers.schedule) || has(self.triggers.newData))",
    "triggers retrain, and a model that is there already is not trained: remove triggers, or train instead of giving model",
)
"""Rules of the whole spec."""


class ExistingModel(SpecModel):
    """A model.onnx that is there already: it is fetched, must have this digest, and is judged as one that was trained."""

    uri: Annotated[
        str,
        Field(
            pattern=MODEL_PATTERN,
            max_length=1024,
            examples=["s3://models/delays/model.onnx"],
            json_schema_extra=rules(
                cel(
                    f"self.matches('{MODEL_PATTERN}')",
                    "model.uri must be s3://<bucket>/<object>",
                    "'model.uri is %s: write s3://<bucket>/<object>'.format([self])",
                )
            ),
        ),
    ]
    """One object: an ONNX model with the contract's inputs and output."""
    digest: Annotated[
        str,
        Field(
            pattern=DIGEST_PATTERN,
            max_length=71,
            json_schema_extra=rules(
                cel(
                    f"self.matches('{DIGEST_PATTERN}')",
                    "model.digest must be the sha256 of the object, 64 hexadecimal digits",
                    "'model.digest is %s: write the sha256 of the object, 64 hexadecimal digits (sha256sum model.onnx)'"
                    ".format([self])",
                )
            ),
        ),
    ]
    """sha256 of the object, with or without sha256: before it. Another one is refused."""
    secret_ref: LocalReference | None = None
    """A Secret as data.source.secretRef's, for this object; not given: the store's own is used."""

    @property
    def sha256(self) -> str:
        """The digest as the store names it."""
        return self.digest.removeprefix("sha256:")


class Signing(SpecModel):
    """Sign the Bento of every version from now on, and serve none whose signature does not hold."""

    secret_ref: LocalReference
    """A Secret with the keys private.pem, an ECDSA key on P-256, which evaluation alone gets, and public.pem, the public keys of
    all that may have signed, which serving pods get."""
