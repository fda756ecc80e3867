"""Detection and preparation of control groups on fake trees: version 1 as it is here, version 2 as the kernel documents it."""

from pathlib import Path

import pytest

from cluster import cgroups
from cluster.errors import MissingCapability


def _version_1(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).mkdir(parents=True)
        (root / name / "cgroup.procs").write_text("")
    return root


def _version_2(root: Path, offered: str = "cpuset cpu io memory pids", enabled: str = "") -> Path:
    root.mkdir(exist_ok=True)
    (root / "cgroup.controllers").write_text(f"{offered}\n")
    (root / "cgroup.subtree_control").write_text(f"{enabled}\n")
    return root


def test_a_directory_for_each_hierarchy_is_version_1(tmp_path: Path) -> None:
    tree = cgroups.detect(_version_1(tmp_path, "cpu,cpuacct", "cpuset", "memory", "pids"))
    assert tree.version == 1
    assert [top.name for top in tree.hierarchies] == ["cpu,cpuacct", "cpuset", "memory", "pids"]


def test_links_to_a_joint_hierarchy_are_not_counted_twice(tmp_path: Path) -> None:
    root = _version_1(tmp_path, "cpu,cpuacct", "cpuset", "memory", "pids")
    (root / "cpu").symlink_to("cpu,cpuacct")
    assert "cpu" not in [top.name for top in cgroups.detect(root).hierarchies]


def test_a_file_of_controllers_at_the_top_is_version_2(tmp_path: Path) -> None:
    assert cgroups.detect(_version_2(tmp_path)) == cgroups.Tree(2, (tmp_path,))


def test_a_missing_hierarchy_is_named_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(MissingCapability, match=r"hierarchies cpuset, pids\.(.|\n)*fix: mount"):
        cgroups.detect(_version_1(tmp_path, "cpu", "memory"))


def test_no_control_groups_at_all_is_a_lack_and_not_a_crash(tmp_path: Path) -> None:
    with pytest.raises(MissingCapability):
        cgroups.detect(tmp_path / "nowhere")


def test_a_version_1_cpuset_is_filled_from_its_parent(tmp_path: Path) -> None:
    root = _version_1(tmp_path, "cpu", "cpuset", "memory", "pids")
    (root / "cpuset" / "cpuset.cpus").write_text("0-1\n")
    (root / "cpuset" / "cpuset.mems").write_text("0\n")
    cgroups.prepare(cgroups.detect(root), node=2)
    assert (root / "cpuset" / "perennial-2" / "cpuset.cpus").read_text() == "0-1\n"
    assert (root / "memory" / "perennial-2").is_dir()
    assert not (root / "memory" / "perennial-2" / "cpuset.cpus").exists()


def test_version_2_hands_down_only_the_controllers_that_are_not_yet(tmp_path: Path) -> None:
    root = _version_2(tmp_path, enabled="cpu memory")
    cgroups.prepare(cgroups.detect(root), node=1)
    assert (root / "cgroup.subtree_control").read_text() == "+cpuset +pids"
    assert (root / "perennial-1").is_dir()


def test_version_2_without_a_needed_controller_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingCapability, match="does not offer the controllers cpuset, pids"):
        cgroups.prepare(cgroups.detect(_version_2(tmp_path, offered="cpu memory")), node=1)


def test_preparing_twice_changes_nothing(tmp_path: Path) -> None:
    root = _version_2(tmp_path, enabled="cpu cpuset memory pids")
    for _ in range(2):
        cgroups.prepare(cgroups.detect(root), node=1)
    assert (root / "cgroup.subtree_control").read_text() == "cpu cpuset memory pids\n"


def test_groups_are_listed_children_first_and_only_of_the_node(tmp_path: Path) -> None:
    root = _version_1(tmp_path, "cpu", "cpuset", "memory", "pids")
    (root / "memory" / "perennial-1" / "kubepods" / "pod1").mkdir(parents=True)
    (root / "memory" / "perennial-10").mkdir()
    tree = cgroups.detect(root)
    names = [str(group.relative_to(root)) for group in cgroups.groups(tree, 1)]
    assert names == ["memory/perennial-1/kubepods/pod1", "memory/perennial-1/kubepods", "memory/perennial-1"]


def test_members_of_all_hierarchies_are_found_once(tmp_path: Path) -> None:
    root = _version_1(tmp_path, "cpu", "cpuset", "memory", "pids")
    for name in ("cpu", "memory"):
        pod = root / name / "perennial-1" / "pod"
        pod.mkdir(parents=True)
        (pod / "cgroup.procs").write_text("17\n18\n")
    assert cgroups.members(cgroups.detect(root), 1) == {17, 18}


def test_removing_leaves_the_hierarchies_and_foreign_groups(tmp_path: Path) -> None:
    root = _version_1(tmp_path, "cpu", "cpuset", "memory", "pids")
    for name in ("perennial-1/kubepods/pod1", "perennial-2", "somebody"):
        (root / "pids" / name).mkdir(parents=True)
    tree = cgroups.detect(root)
    cgroups.remove(tree, 1)
    assert sorted(entry.name for entry in (root / "pids").iterdir() if entry.is_dir()) == ["perennial-2", "somebody"]
