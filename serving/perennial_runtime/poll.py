"""The step `poll`: names, sizes and ETags (of a claim: times) of the files behind a source, as a digest; none is read or written.

Runs in a Job of its own (`python -m perennial_runtime poll`) with the source's Secret, which the operator may not read, or its
claim. `prepare` gives the same digest of what it read, so the operator can tell whether there is anything new.
"""

from __future__ import annotations

from pathlib import Path

from perennial_runtime.answers import say
from perennial_runtime.contract import SOURCE_SECRET_PATH, PollResult, PollSpec
from perennial_runtime.source import Source, listing_digest


def main(spec: PollSpec) -> PollResult:
    """Carry out the step, with the path that the operator mounts."""
    return poll(spec, Path(SOURCE_SECRET_PATH))


def poll(spec: PollSpec, source_secret: Path) -> PollResult:
    """What lies there now."""
    files = Source(spec.source, source_secret).files()
    size = sum(file.size for file in files)
    say("source listed", model=spec.model, files=len(files), bytes=size)
    return PollResult(spec.digest, listing_digest(files), len(files), size)
