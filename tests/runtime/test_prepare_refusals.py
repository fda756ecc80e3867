"""prepare: every bad input is refused by a reason and a message that names file, column, row and the fix, and quotes no cell."""

from __future__ import annotations

import gzip
import http.server
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from perennial_runtime import tabular
from perennial_runtime.answers import Refused
from perennial_runtime.contract import Column, Mounted
from perennial_runtime.source import Source
from perennial_runtime.store import Store
from runtime.steps_world import COLUMNS, World, as_text, frame


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def told(refused: Refused, reason: str, *words: str) -> None:
    assert refused.reason == reason, refused
    for word in words:
        assert word in refused.message


class _Bucket(http.server.BaseHTTPRequestHandler):
    """An S3 server that answers everything with one error."""

    status, code = 403, "AccessDenied"

    def do_GET(self) -> None:
        body = f"<Error><Code>{self.code}</Code><Message>no</Message></Error>".encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Path]:
    """The folder of a mounted Secret that points to an S3 server on loopback."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Bucket)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    secret = tmp_path / "secret"
    secret.mkdir()
    port = server.server_address[1]
    for name, value in (("ACCESS_KEY_ID", "k"), ("SECRET_ACCESS_KEY", "s"), ("ENDPOINT_URL", f"http://127.0.0.1:{port}")):
        (secret / f"AWS_{name}").write_text(value + "\n")
    yield secret
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.refusal(2)
@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (403, "InvalidAccessKeyId", "CredentialsWrong"),
        (403, "SignatureDoesNotMatch", "CredentialsWrong"),
        (403, "AccessDenied", "PermissionDenied"),
        (404, "NoSuchBucket", "BucketNotFound"),
        (404, "NotFound", "ObjectNotFound"),
    ],
)
def test_refuses_a_source_that_the_server_denies(
    bucket: Path, monkeypatch: pytest.MonkeyPatch, status: int, code: str, reason: str
) -> None:
    monkeypatch.setattr(_Bucket, "status", status)
    monkeypatch.setattr(_Bucket, "code", code)
    with pytest.raises(Refused) as caught:
        Source("s3://flights/2013/", bucket).files()
    told(caught.value, reason, "s3://flights/2013/")


@pytest.mark.refusal(2)
@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (404, "NoSuchBucket", "BucketNotFound"),
        (404, "NoSuchKey", "ObjectNotFound"),
        (403, "InvalidAccessKeyId", "CredentialsWrong"),
    ],
)
def test_refuses_a_store_that_the_server_denies(
    bucket: Path, monkeypatch: pytest.MonkeyPatch, status: int, code: str, reason: str
) -> None:
    monkeypatch.setattr(_Bucket, "status", status)
    monkeypatch.setattr(_Bucket, "code", code)
    with pytest.raises(Refused) as caught:
        Store("s3://models/team/uid", bucket).get_bytes("ab")
    told(caught.value, reason, "s3://models/team/uid")


@pytest.mark.refusal(2)
def test_refuses_a_single_object_that_is_missing(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Bucket, "do_HEAD", _Bucket.do_GET, raising=False)
    monkeypatch.setattr(_Bucket, "status", 404)
    monkeypatch.setattr(_Bucket, "code", "NoSuchKey")
    with pytest.raises(Refused) as caught:
        Source("s3://flights/2013.parquet", bucket).files()
    told(caught.value, "ObjectNotFound", "2013.parquet", "upload")


@pytest.mark.refusal(2)
@pytest.mark.parametrize("endpoint", ["nonsense", "ftp://host", "http://", "http://a b", "http://host:port"])
def test_refuses_an_endpoint_that_is_no_url(bucket: Path, endpoint: str) -> None:
    (bucket / "AWS_ENDPOINT_URL").write_text(endpoint)
    with pytest.raises(Refused) as caught:
        Source("s3://flights/2013/", bucket)
    told(caught.value, "EndpointWrong", "AWS_ENDPOINT_URL")


@pytest.mark.refusal(2)
def test_refuses_a_secret_without_one_of_its_keys(bucket: Path) -> None:
    (bucket / "AWS_SECRET_ACCESS_KEY").unlink()
    with pytest.raises(Refused) as caught:
        Source("s3://flights/2013/", bucket)
    told(caught.value, "SecretKeyMissing", "AWS_SECRET_ACCESS_KEY", "data source")
    assert caught.value.secret is Mounted.SOURCE


@pytest.mark.refusal(2)
@pytest.mark.parametrize("mounted", [True, False])
def test_refuses_a_store_without_its_secret(tmp_path: Path, mounted: bool) -> None:
    if mounted:  # the kubelet mounts an optional Secret that does not exist as an empty folder
        (tmp_path / "absent").mkdir()
    with pytest.raises(Refused) as caught:
        Store("s3://models/team/uid", tmp_path / "absent")
    told(caught.value, "SecretMissing", "AWS_ACCESS_KEY_ID")
    assert caught.value.secret is Mounted.STORE


@pytest.mark.refusal(2)
def test_refuses_a_source_under_which_nothing_lies(world: World) -> None:
    told(world.refusal(), "ObjectNotFound", "source")


@pytest.mark.refusal(2)
def test_refuses_a_source_without_data_files(world: World) -> None:
    (world.source / "notes.xlsx").write_text("x")
    told(world.refusal(), "NoDataFiles", ".parquet", ".csv.gz")


@pytest.mark.refusal(2)
def test_refuses_a_missing_column_and_names_those_that_are_there(world: World) -> None:
    frame(100).drop("delay").write_parquet(world.source / "a.parquet")
    told(world.refusal(), "ColumnMissing", "a.parquet", "'delay' (role feature); found", "carrier, flight, late")


@pytest.mark.parametrize("there", ["Delay", "delays", "dep_delay"])
@pytest.mark.refusal(2)
def test_names_the_column_that_was_most_likely_meant(world: World, there: str) -> None:
    frame(100).rename({"delay": there}).write_parquet(world.source / "a.parquet")
    told(world.refusal(), "ColumnMissing", f"no column 'delay' (role feature); is '{there}' meant? found ")


@pytest.mark.refusal(2)
def test_does_not_take_a_column_that_has_a_role_for_another_one(world: World) -> None:
    frame(100).rename({"delay": "delay_1"}).write_parquet(world.source / "a.parquet")
    columns = tuple(replace(column, name="delay_1") if column.name == "delay" else column for column in COLUMNS)
    told(world.refusal(columns=(*columns, Column("delay_2", "feature"))), "ColumnMissing", "'delay_2' (role feature); found ")


@pytest.mark.refusal(2)
def test_a_csv_file_without_a_header_is_told_without_quoting_its_first_row(world: World) -> None:
    (world.source / "a.csv").write_text("12.5,Jane Miller,1\n13.5,Joe Miller,0\n")
    refused = world.refusal()
    told(refused, "ColumnMissing", "does not look like column names")
    assert "Miller" not in refused.message


@pytest.mark.refusal(2)
def test_refuses_a_scheme_that_nothing_reads(world: World) -> None:
    told(world.refusal(source="ftp://example.com/data/"), "UriNotSupported", "s3://")


@pytest.mark.refusal(3)
@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.csv.gz"])
def test_refuses_an_empty_file(world: World, name: str) -> None:
    (world.source / name).write_bytes(b"")
    told(world.refusal(), "FileEmpty", name)


@pytest.mark.refusal(3)
def test_refuses_files_that_hold_names_but_no_row(world: World) -> None:
    (world.source / "a.csv").write_text("delay,carrier,at,late,flight\n")
    told(world.refusal(), "FileEmpty", "a.csv", "no row")
    (world.source / "a.csv").unlink()
    frame(10)[:0].write_parquet(world.source / "b.parquet")
    told(world.refusal(), "FileEmpty", "b.parquet")


@pytest.mark.refusal(3)
def test_refuses_a_truncated_parquet_file(world: World) -> None:
    frame(100).write_parquet(world.source / "a.parquet")
    body = (world.source / "a.parquet").read_bytes()
    (world.source / "a.parquet").write_bytes(body[:-50])
    told(world.refusal(), "FileTruncated", "a.parquet", "upload it again")


@pytest.mark.refusal(3)
def test_refuses_a_parquet_file_with_a_hole_in_it(world: World) -> None:
    frame(400).write_parquet(world.source / "a.parquet")
    body = bytearray((world.source / "a.parquet").read_bytes())
    body[-600:-20] = b"\xff" * 580
    (world.source / "a.parquet").write_bytes(bytes(body))
    told(world.refusal(), "FileBroken", "a.parquet")


@pytest.mark.refusal(3)
def test_refuses_a_csv_file_that_ends_in_the_middle_of_a_row(world: World) -> None:
    as_text(frame(100)).write_csv(world.source / "a.csv")
    body = (world.source / "a.csv").read_bytes().rstrip()
    (world.source / "a.csv").write_bytes(body[: body.rindex(b",", 0, body.rindex(b","))])
    told(world.refusal(), "FileTruncated", "a.csv", "line 101")


@pytest.mark.refusal(3)
def test_refuses_a_truncated_gzip_file(world: World) -> None:
    packed = gzip.compress(as_text(frame(100)).write_csv().encode())
    (world.source / "a.csv.gz").write_bytes(packed[:-30])
    told(world.refusal(), "FileTruncated", "a.csv.gz")


@pytest.mark.refusal(3)
@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("a.parquet", b"delay,late\n1,0\n"),
        ("a.csv", b"PAR1\x00\x01\x02PAR1"),
        ("a.csv.gz", b"delay\n1\n"),
        ("a.csv", b"delay\n\xff\xfe\n"),
    ],
)
def test_refuses_a_file_that_is_not_what_its_name_says(world: World, name: str, body: bytes) -> None:
    (world.source / name).write_bytes(body)
    told(world.refusal(), "FileWrongType", name)


@pytest.mark.refusal(3)
def test_refuses_a_row_of_another_width_and_names_its_line(world: World) -> None:
    lines = as_text(frame(100)).write_csv().splitlines()
    lines[42] += ",surplus"
    (world.source / "a.csv").write_text("\n".join(lines) + "\n")
    told(world.refusal(), "RowWrongWidth", "a.csv", "line 43", "8 cells", "7")


@pytest.mark.refusal(3)
def test_refuses_a_column_of_numbers_with_a_few_words_in_it(world: World) -> None:
    data = as_text(frame(1000)).with_columns(pl.col("delay").cast(pl.String))
    data[150, "delay"] = "secret-word"
    data.write_csv(world.source / "a.csv")
    refused = world.refusal()
    told(refused, "WrongType", "'delay'", "a.csv, row 151", "1 cells")
    assert "secret-word" not in refused.message


@pytest.mark.refusal(3)
def test_refuses_files_of_different_columns(world: World) -> None:
    frame(100).write_parquet(world.source / "a.parquet")
    frame(100, seed=2, start=100).drop("gate").write_parquet(world.source / "b.parquet")
    told(world.refusal(), "SchemaDiffers", "b.parquet", "a.parquet", "gate")


@pytest.mark.refusal(3)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_refuses_a_column_that_is_numbers_in_one_file_and_text_in_another(world: World, suffix: str) -> None:
    first = as_text(frame(100))
    second = as_text(frame(100, seed=2, start=100)).with_columns(delay=pl.lit("late"))
    for name, data in (("a", first), ("b", second)):
        getattr(data, f"write_{suffix}")(world.source / f"{name}.{suffix}")
    told(world.refusal(), "SchemaDiffers", "'delay'", f"a.{suffix}", f"b.{suffix}")


@pytest.mark.refusal(3)
def test_refuses_a_header_that_names_a_column_twice_or_not_at_all(world: World) -> None:
    (world.source / "a.csv").write_text("delay,delay\n1,2\n")
    told(world.refusal(), "HeaderWrong", "a.csv", "twice")
    (world.source / "a.csv").write_text("delay,,late\n1,2,3\n")
    told(world.refusal(), "HeaderWrong", "without a name")


@pytest.mark.refusal(3)
def test_refuses_a_feature_that_is_neither_number_nor_text(world: World) -> None:
    frame(100).with_columns(delay=pl.lit(date(2013, 1, 1))).write_parquet(world.source / "a.parquet")
    told(world.refusal(), "UnsupportedType", "'delay'", "Date")


@pytest.mark.refusal(3)
def test_refuses_a_time_that_is_missing_or_none(world: World) -> None:
    data = as_text(frame(100))
    data[30, "at"] = "yesterday"
    data.write_csv(world.source / "a.csv")
    refused = world.refusal()
    told(refused, "TimeUnparsable", "'at'", "row 31")
    assert "yesterday" not in refused.message
    data[30, "at"] = None
    data.write_csv(world.source / "a.csv")
    told(world.refusal(), "TimeMissing", "row 31")
    frame(100).with_columns(at=pl.col("minute")).write_parquet(world.source / "a.csv")
    (world.source / "a.csv").rename(world.source / "a.parquet")
    told(world.refusal(), "TimeWrongType", "Int64")


@pytest.mark.refusal(3)
def test_refuses_an_infinite_number(world: World) -> None:
    data = frame(100)
    data[7, "delay"] = float("inf")
    data.write_parquet(world.source / "a.parquet")
    told(world.refusal(), "NotFinite", "'delay'", "a.parquet, row 8")


def test_refuses_a_label_of_three_values_or_with_holes(world: World) -> None:
    data = frame(100)
    data[5, "late"] = 2
    data.write_parquet(world.source / "a.parquet")
    told(
        world.refusal(),
        "LabelNotBinary",
        "'late'",
        "row 6",
        "task: regression",
        "(training.recipe.task of a recipe, else data.task)",
    )
    data[5, "late"] = data[50, "late"] = None
    data.write_parquet(world.source / "a.parquet")
    told(world.refusal(), "LabelMissing", "row 6 is empty (2 of the 100 rows read with it)")
    numbers = data.with_columns(
        late=pl.when(pl.int_range(100) == 5).then(float("nan")).otherwise(pl.col("late").cast(pl.Float64))
    )
    numbers.write_parquet(world.source / "a.parquet")
    told(world.refusal(), "LabelMissing", "row 6")


@pytest.mark.refusal(4)
def test_refuses_one_class_in_the_training_rows_or_in_the_holdout(world: World) -> None:
    data = frame(100)
    data.with_columns(late=pl.lit(1)).write_parquet(world.source / "a.parquet")
    told(world.refusal(), "OneClass", "'late'")
    data.with_columns(late=pl.when(pl.col("minute") < 80).then("late").otherwise(0)).write_parquet(world.source / "a.parquet")
    told(world.refusal(), "OneClass", "20 holdout rows")
    data.with_columns(late=pl.when(pl.col("minute") >= 80).then("late").otherwise(0)).write_parquet(world.source / "a.parquet")
    told(world.refusal(), "OneClass", "80 training rows")


@pytest.mark.refusal(5)
def test_refuses_fewer_rows_than_minimum_rows_duplicates_not_counted(world: World) -> None:
    data = frame(500)
    pl.concat([data, data[:3]]).write_parquet(world.source / "a.parquet")
    told(world.refusal(minimum_rows=501), "TooFewRows", "500 different rows", "501", "minimumRows")
    assert world.prepare(minimum_rows=500).rows == 503


def test_refuses_too_many_duplicates(world: World) -> None:
    data = frame(200)
    pl.concat([data, data[:3]]).write_parquet(world.source / "a.parquet")
    told(world.refusal(), "TooManyDuplicates", "3 of 203")


def test_refuses_data_of_one_time_for_it_has_no_newest_part(world: World) -> None:
    frame(100).with_columns(at=pl.col("at").first()).write_parquet(world.source / "a.parquet")
    told(world.refusal(), "HoldoutEmpty", "'at'")


def test_refuses_rows_later_than_a_day_from_now_and_says_how_many(world: World) -> None:
    frame(300).write_parquet(world.source / "a.parquet")
    now = datetime(2012, 12, 31, 4, tzinfo=UTC)
    told(world.refusal(now=now), "TimeInFuture", "'at' of 59 of 300 rows", "2013-01-01T04:00:00Z", "up to 2013-01-01T04:59:00Z")
    assert world.prepare(now=now + timedelta(hours=1)).rows == 300


def test_takes_rows_whose_times_are_in_no_order(world: World) -> None:
    data = frame(300)
    data.sample(fraction=1.0, shuffle=True, seed=3).write_parquet(world.source / "a.parquet")
    assert world.table(world.prepare().train)["at"].to_list() == data["at"][:240].to_list()


def test_refuses_to_go_on_from_a_split_that_is_gone(world: World) -> None:
    frame(100).write_parquet(world.source / "a.parquet")
    told(world.refusal(parent_uid="uid-0"), "ParentSplitMissing", "uid-0")


def test_refuses_another_time_column_than_the_one_that_the_split_was_made_by(world: World) -> None:
    data = frame(100)
    data.with_columns((pl.col("at").reverse()).alias("booked")).write_parquet(world.source / "a.parquet")
    world.prepare()
    booked = {"at": "booked", "booked": "at"}
    columns = tuple(replace(column, name=booked.get(column.name, column.name)) for column in COLUMNS)
    refused = world.refusal(uid="uid-2", parent_uid="uid-1", columns=columns)
    told(refused, "TimeColumnChanged", "'booked'", "'at'", "keep the role time for 'at'", "new ModelDeployment")
    assert world.prepare("uid-3", columns=columns).rows == 100


def test_refuses_a_column_without_any_value(world: World) -> None:
    frame(100).with_columns(delay=pl.lit(None)).write_parquet(world.source / "a.parquet")
    told(world.refusal(), "ColumnEmpty", "'delay'")


@pytest.mark.parametrize("word", ["NA", "null", "NaN"])
def test_refuses_a_column_of_nothing_but_words_for_missing(world: World, word: str) -> None:
    as_text(frame(100)).with_columns(delay=pl.lit(word)).write_csv(world.source / "a.csv")
    told(world.refusal(), "ColumnEmpty", "'delay'")


def test_refuses_a_gzip_file_that_is_endless_once_unpacked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tabular, "MOST_UNPACKED_BYTES", 3000)
    monkeypatch.setattr(tabular, "BLOCK_BYTES", 1000)
    body = as_text(frame(100)).write_csv().encode()
    (world.source / "a.csv.gz").write_bytes(gzip.compress(body))
    told(world.refusal(), "FileTooLarge", "a.csv.gz", "3000 bytes", "split it")
    monkeypatch.setattr(tabular, "MOST_UNPACKED_BYTES", len(body))
    assert world.prepare().rows == 100


def test_refuses_data_without_a_time_column(world: World) -> None:
    frame(100).write_parquet(world.source / "a.parquet")
    told(world.refusal(columns=tuple(column for column in COLUMNS if column.role != "time")), "ColumnsWrong", "time")
