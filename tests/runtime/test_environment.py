"""The packages that a training ran with: written by the trainer, taken by the reporter, and what is not taken."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from perennial_runtime import environment, export
from perennial_runtime.environment import REVISION_VARIABLE, Environment, packages, read
from perennial_runtime.reporter import collect
from perennial_runtime.store import Store
from runtime.test_train_job import write_outputs


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(f"file://{tmp_path / 'store'}")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    write_outputs(folder)
    return folder


def taken(text: str) -> Environment:
    found = read(text.encode())
    assert found is not None
    return found


def test_what_a_trainer_writes_is_taken_with_python_and_the_revision_of_its_code(tmp_path: Path) -> None:
    export.write_environment(tmp_path / "environment.txt", "4f2a9c1")
    found = taken((tmp_path / "environment.txt").read_text())
    assert found.revision == "4f2a9c1"
    assert found.packages["numpy"] == version("numpy")
    assert found.packages["scikit-learn"] == version("scikit-learn")
    assert {"python", "system"} <= set(found.packages)


def test_revision_comes_from_the_variable_that_the_image_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REVISION_VARIABLE, "v1.2.0-3-gabc")
    environment.write(tmp_path / "environment.txt")
    assert taken((tmp_path / "environment.txt").read_text()).revision == "v1.2.0-3-gabc"


def test_same_packages_are_the_same_text_whatever_the_order_the_spelling_and_the_revision() -> None:
    one = taken("# revision a\nnumpy==2.1.0\nScikit_Learn==1.6.0\n")
    other = taken("scikit-learn==1.6.0\r\n  numpy==2.1.0\n# revision b\n")
    assert one.text == other.text == "numpy==2.1.0\nscikit-learn==1.6.0\n"
    assert packages(one.text) == {"numpy": "2.1.0", "scikit-learn": "1.6.0"}


def test_package_from_a_url_is_left_out_with_the_password_in_it() -> None:
    found = taken("numpy==2.1.0\nours @ git+https://me:hunter2@git.example.com/ours.git@main\n-e /src/ours\n# note hunter2 a\n")
    assert found.text == "numpy==2.1.0\n"


@pytest.mark.parametrize("body", [b"", b"no list\n", b"\xff\xfe\x00", b"# python 3.11.2\n", b"==1\n", b"a==\n"])
def test_file_that_names_no_package_is_none(body: bytes) -> None:
    assert read(body) is None


def test_more_packages_than_any_image_has_are_cut() -> None:
    found = taken("".join(f"p{number}==1\n" for number in range(3000)))
    assert len(found.packages) == environment.MOST_PACKAGES


def test_reporter_stores_the_list_by_its_digest_and_tells_the_revision(store: Store, out: Path) -> None:
    (out / "environment.txt").write_text("# revision 4f2a9c1\nnumpy==2.1.0\n")
    found = collect(store, out)
    assert (found.problem, found.revision) == (None, "4f2a9c1")
    assert found.environment is not None
    assert store.get_bytes(found.environment) == b"numpy==2.1.0\n"


def test_trainer_that_tells_nothing_has_no_environment(store: Store, out: Path) -> None:
    found = collect(store, out)
    assert (found.environment, found.revision) == (None, "")


def test_link_in_the_place_of_the_list_is_not_followed(store: Store, out: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key==hunter2\n")
    (out / "environment.txt").symlink_to(tmp_path / "secret")
    assert collect(store, out).environment is None


def test_longest_claims_and_revision_leave_room_in_the_answer(store: Store, out: Path) -> None:
    from perennial_runtime.contract import MESSAGE_LIMIT, encode_answer

    (out / "metrics.json").write_text(json.dumps({f"{number}" * 40: -1.23456e-300 for number in range(8)}))
    (out / "environment.txt").write_text(f"# revision {'r' * 128}\nnumpy==2.1.0\n")
    found = collect(store, out)
    assert len(found.claims) == 8
    assert len(encode_answer(found).encode()) <= MESSAGE_LIMIT
