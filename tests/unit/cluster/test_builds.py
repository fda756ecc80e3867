"""A build first removes what a killed one left, in its own storage only; buildah is a program that notes how it was called."""

from pathlib import Path

import pytest

from cluster import buildah
from cluster.settings import Settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, script in (("buildah", f'echo "$TMPDIR|$*" >>{tmp_path}/calls'), ("python3", "exit 1")):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return Settings(tmp_path, tmp_path / "cache", tmp_path / "state")


def build(settings: Settings, tmp_path: Path) -> list[str]:
    """The calls of buildah that one build makes."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    buildah.build(
        settings, "localhost/x:1", dockerfile=tmp_path / "Dockerfile", context=tmp_path, arguments={}, log=tmp_path / "log"
    )
    return (tmp_path / "calls").read_text().splitlines()


def test_working_containers_go_before_a_build_and_with_a_failed_one(settings: Settings, tmp_path: Path) -> None:
    own = buildah.storage(settings)
    removal, made = build(settings, tmp_path)
    assert removal.endswith(f"|--root {own.root} --runroot {own.run} rm --all")
    assert f"|--root {own.root} --runroot {own.run} bud " in made
    assert " --force-rm " in made


def test_files_of_a_killed_build_lie_in_the_cache_and_go(settings: Settings, tmp_path: Path) -> None:
    ruin = settings.cache / "build" / "tmp" / "buildah123" / "rootfs"
    ruin.mkdir(parents=True)
    made = build(settings, tmp_path)[-1]
    assert made.startswith(f"{settings.cache}/build/tmp|")
    assert not ruin.exists()


def test_two_caches_share_no_storage(settings: Settings, tmp_path: Path) -> None:
    other = buildah.storage(Settings(tmp_path, tmp_path / "other", settings.state))
    own = buildah.storage(settings)
    assert own.root.is_relative_to(settings.cache)
    assert own.run.parent == Path("/run")
    assert not {own.root, own.run} & {other.root, other.run}


def test_layers_are_forgotten_when_the_disk_is_full_and_after_what_stands_on_them(settings: Settings, tmp_path: Path) -> None:
    settings.cache.mkdir()
    assert not buildah.make_room(settings, tmp_path / "log", below=0)
    assert buildah.make_room(settings, tmp_path / "log", below=2**62)
    assert [call.split()[-2:] for call in (tmp_path / "calls").read_text().splitlines()] == [["rm", "--all"], ["rmi", "--prune"]]
