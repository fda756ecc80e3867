"""`spec.data.source`: a bucket, a web server or a claim, and which columns tell rows apart."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from perennial.api.base import Name, SpecModel, cel, rules
from perennial.api.pods import LocalReference

S3_PATTERN = "s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/.*"
GOOGLE_PATTERN = "gs://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]/.*"
AZURE_PATTERN = "abfss://[a-z0-9$][a-z0-9-]{1,62}@[a-z0-9]{3,24}[.]dfs[.]core[.]windows[.]net/.*"
HTTPS_PATTERN = "https://[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(:[0-9]{1,5})?/[^?# ]*[.](parquet|csv|csv[.]gz)"
SOURCE_PATTERN = f"^({S3_PATTERN}|{GOOGLE_PATTERN}|{AZURE_PATTERN}|{HTTPS_PATTERN})$"
CLAIM_PATH_PATTERN = "^([A-Za-z0-9._=,+@ -]+/)*[A-Za-z0-9._=,+@ -]*$"


class Claim(SpecModel):
    """A PersistentVolumeClaim that holds the data: mounted read-only into the pods that read or list it, and into no other."""

    claim_name: Name
    """Name of the claim, in the same namespace. ReadOnlyMany, or any that a pod may mount beside those that write to it."""
    path: Annotated[
        str,
        Field(
            max_length=1024,
            pattern=CLAIM_PATH_PATTERN,
            examples=["flights/2013/"],
            json_schema_extra=rules(
                cel(
                    f"self.matches('{CLAIM_PATH_PATTERN}') && !('/' + self + '/').contains('/../')",
                    "data.source.pvc.path must be a path from the root of the claim, without .. and without a / at its beginning",
                    "'data.source.pvc.path is %s: write it from the root of the claim, without ..'.format([self])",
                )
            ),
        ),
    ] = ""
    """A folder in it, or one file; the whole claim when not given."""


class Source(SpecModel):
    """Where the data is: every Parquet and CSV file below a prefix or a folder, or one file."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "has(self.uri) != has(self.pvc)",
                "data.source needs exactly one of uri and pvc",
                "has(self.uri) ? 'data.source has both uri and pvc: keep one' : 'data.source has neither uri nor pvc: give one'",
            ),
            cel(
                "!has(self.pvc) || !has(self.secretRef)",
                "data.source.secretRef is of no use with pvc, which is mounted without keys: leave it out",
            ),
        )
    )

    uri: (
        Annotated[
            str,
            Field(
                pattern=SOURCE_PATTERN,
                max_length=1024,
                examples=["s3://flights/2013/"],
                json_schema_extra=rules(
                    cel(
                        f"self.matches('{SOURCE_PATTERN}')",
                        "data.source.uri must be s3://<bucket>/<prefix>/, gs://<bucket>/<prefix>/, "
                        "abfss://<container>@<account>.dfs.core.windows.net/<prefix>/ or https://<host>/<object>",
                        "'data.source.uri is %s: write s3://<bucket>/<prefix>/ or s3://<bucket>/<object>, the same with gs://, "
                        "abfss://<container>@<account>.dfs.core.windows.net/<prefix>/, or https://<host>/<path> that ends in "
                        ".parquet, .csv or .csv.gz, without a query'.format([self])",
                    )
                ),
            ),
        ]
        | None
    ) = None
    """A prefix of a bucket (ends in /) or one object: s3://, gs:// (Google Cloud Storage), abfss:// (Azure); or one https://
    object."""
    pvc: Claim | None = None
    """A claim in place of a URI."""
    secret_ref: LocalReference | None = None
    """A Secret with keys by the kind of the URI: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (s3; not given: the store's own);
    GOOGLE_SERVICE_ACCOUNT_KEY (gs); AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN or AZURE_CLIENT_ID and others (abfss);
    BEARER_TOKEN or USERNAME and PASSWORD, CA_CERT (https). All but s3 are read without keys when it is not given."""


class Duplicates(SpecModel):
    """What makes two rows the same."""

    by: Literal["source", "columns"] = "source"
    """source: all columns of the files, which are all read for it; columns: those that data.columns names, and no others are
    read."""
