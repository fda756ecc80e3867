"""What `down` may unmount, and when a cluster without files is noticed."""

from pathlib import Path

from cluster.lifecycle import mounts_below, of_an_earlier_boot

MOUNTS = """\
22 1 0:20 / / rw - ext4 /dev/vda rw
30 22 0:30 / /state/node1/overlay rw - overlay overlay rw
31 30 0:31 / /state/node1/overlay/rootfs rw - overlay overlay rw
32 22 0:32 / /state-of-others/x rw - tmpfs tmpfs rw
33 22 0:33 / /state/a\\040blank rw - tmpfs tmpfs rw
"""


def test_mounts_below_the_state_are_found_the_latest_first() -> None:
    found = mounts_below(Path("/state"), MOUNTS)
    assert found == [Path("/state/a blank"), Path("/state/node1/overlay/rootfs"), Path("/state/node1/overlay")]


def test_a_directory_that_only_begins_alike_is_foreign() -> None:
    assert mounts_below(Path("/stat"), MOUNTS) == []


def test_a_directory_is_known_to_the_kernel_by_its_real_path(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    mounts = f"30 22 0:30 / {tmp_path.resolve()}/real/images/overlay rw - overlay overlay rw\n"
    assert mounts_below(tmp_path / "link" / "images", mounts) == [tmp_path.resolve() / "real" / "images" / "overlay"]


def test_files_from_before_a_restart_of_the_machine_are_ruins(tmp_path: Path) -> None:
    (tmp_path / "boot-id").write_text("one\n")
    assert of_an_earlier_boot(tmp_path, "two\n")
    assert not of_an_earlier_boot(tmp_path, "one\n")


def test_a_state_without_a_boot_is_mended(tmp_path: Path) -> None:
    assert not of_an_earlier_boot(tmp_path, "one\n")
