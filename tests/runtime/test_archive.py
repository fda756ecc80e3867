"""Tars: the same bytes for the same files, and nothing hostile gets out of one."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from perennial_runtime.archive import Limits, UnsafeArchive, pack, unpack

Members = list[tuple[tarfile.TarInfo, bytes]]


def member(name: str, body: bytes = b"x", kind: bytes = tarfile.REGTYPE, link: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(body) if kind == tarfile.REGTYPE else 0, link
    return info, body


def pax(name: str, key: str, value: str) -> tuple[tarfile.TarInfo, bytes]:
    """A member whose extended header says `key`."""
    info, body = member(name)
    info.pax_headers = {key: value}
    return info, body


def header(kind: bytes, body: bytes) -> tuple[tarfile.TarInfo, bytes]:
    """A header that says something about the one that follows."""
    info = tarfile.TarInfo("header")
    info.type, info.size = kind, len(body)
    return info, body


def write(path: Path, members: Members) -> Path:
    with tarfile.open(path, "w") as tar:
        for info, body in members:
            tar.addfile(info, io.BytesIO(body))
    return path


def test_a_directory_comes_back_as_it_was(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "src" / "deep").mkdir(parents=True)
    (source / "src" / "deep" / "a.bin").write_bytes(bytes(range(256)))
    (source / "empty").mkdir()
    (source / "README.md").write_text("hello")
    pack(source, tmp_path / "a.tar")
    unpack(tmp_path / "a.tar", tmp_path / "out")
    found = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*")}
    assert found == {"README.md", "empty", "src", "src/deep", "src/deep/a.bin"}
    assert (tmp_path / "out" / "src" / "deep" / "a.bin").read_bytes() == bytes(range(256))


def test_the_same_files_make_the_same_bytes_whoever_wrote_them_and_when(tmp_path: Path) -> None:
    for name, order in (("one", ("a", "b")), ("two", ("b", "a"))):
        (tmp_path / name).mkdir()
        for file in order:
            (tmp_path / name / file).write_text(file)
            (tmp_path / name / file).chmod(0o600 if name == "one" else 0o777)
        pack(tmp_path / name, tmp_path / f"{name}.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_names_longer_than_a_tar_header_survive(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / ("n" * 200)).write_text("long")
    pack(tmp_path / "source", tmp_path / "a.tar")
    unpack(tmp_path / "a.tar", tmp_path / "out")
    assert (tmp_path / "out" / ("n" * 200)).read_text() == "long"


def test_does_not_pack_a_link(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "link").symlink_to("/etc/passwd")
    with pytest.raises(UnsafeArchive, match="link is neither"):
        pack(tmp_path / "source", tmp_path / "a.tar")


HOSTILE: dict[str, Members] = {
    "an absolute name": [member("/tmp/evil")],
    "a name that climbs out": [member("../evil")],
    "a name that climbs out in the middle": [member("src/../../evil")],
    "a dot in the middle": [member("src/./evil")],
    "a symbolic link": [member("src", kind=tarfile.SYMTYPE, link="/tmp")],
    "a link and a file through it": [member("src", kind=tarfile.SYMTYPE, link="/tmp"), member("src/evil")],
    "a hard link": [member("a"), member("b", kind=tarfile.LNKTYPE, link="a")],
    "a character device": [member("null", kind=tarfile.CHRTYPE)],
    "a block device": [member("disk", kind=tarfile.BLKTYPE)],
    "a fifo": [member("pipe", kind=tarfile.FIFOTYPE)],
    "a name twice": [member("a"), member("a", b"other")],
    "a file where a directory has to be": [member("a"), member("a/b")],
    "a directory where a file is": [member("a/b"), member("a")],
    "a backslash": [member("..\\evil")],
    "a control character": [member("a\x1b[2Jb")],
    "an endless name": [member("n" * 600)],
    "a name that no file system takes": [member("n" * 300)],
    "a sparse map that is none": [pax("sparse", "GNU.sparse.map", "0,x")],
    "a sparse size that is none": [pax("sparse", "GNU.sparse.size", "many")],
    "headers that describe headers": [*[header(tarfile.XHDTYPE, b"11 path=a\n")] * 3000, member("a")],
    "long names of long names": [*[header(tarfile.GNUTYPE_LONGNAME, b"a\0")] * 3000, member("a")],
    "nothing": [],
}


@pytest.mark.parametrize("members", HOSTILE.values(), ids=HOSTILE.keys())
def test_refuses(members: Members, tmp_path: Path) -> None:
    path = write(tmp_path / "evil.tar", members)
    with pytest.raises(UnsafeArchive):
        unpack(path, tmp_path / "inner" / "out")
    assert not list(tmp_path.rglob("evil"))


def test_writes_nothing_of_a_member_that_is_refused_for_its_size(tmp_path: Path) -> None:
    path = write(tmp_path / "big.tar", [member("small"), member("big", b"x" * 5000)])
    with pytest.raises(UnsafeArchive, match="larger than 4000 bytes together"):
        unpack(path, tmp_path / "out", Limits(total_bytes=4000))
    assert not (tmp_path / "out" / "big").exists()


def test_refuses_more_members_than_a_bento_has(tmp_path: Path) -> None:
    path = write(tmp_path / "many.tar", [member(f"f{number}") for number in range(20)])
    with pytest.raises(UnsafeArchive, match="more than 10 members"):
        unpack(path, tmp_path / "out", Limits(members=10))


def cut(body: bytes) -> bytes:
    return body[:700]


def flipped(body: bytes) -> bytes:
    return body[:10] + bytes([body[10] ^ 0xFF]) + body[11:]


def noise(_: bytes) -> bytes:
    return b"no tar at all" * 100


@pytest.mark.parametrize("harm", [cut, flipped, noise, lambda _: b""], ids=["cut", "flipped", "noise", "empty"])
def test_refuses_a_broken_tar(harm: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", [member("model.onnx", b"m" * 3000)])
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(UnsafeArchive):
        unpack(path, tmp_path / "out")


def test_does_not_unpack_over_files_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    with pytest.raises(UnsafeArchive, match="not empty"):
        unpack(write(tmp_path / "a.tar", [member("mine")]), tmp_path / "out")
    assert (tmp_path / "out" / "mine").read_text() == "kept"
