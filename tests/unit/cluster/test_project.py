"""The digest of an image's content: changes with what the image is made of, and with nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from cluster import project
from cluster.cli import commands
from cluster.errors import ClusterError
from cluster.project import ImageRecipe, content_digest, copied_files

DOCKERFILE = """\
ARG BASE_IMAGE
FROM ${BASE_IMAGE} AS packages
COPY pyproject.toml uv.lock ./
FROM ${BASE_IMAGE}
COPY --from=packages /app /app
COPY --chown=65532:65532 source \\
  /app/source
"""


@pytest.fixture
def recipe(tmp_path: Path) -> ImageRecipe:
    (tmp_path / "source" / "__pycache__").mkdir(parents=True)
    for name in ("pyproject.toml", "uv.lock", "source/a.py", "source/b.py"):
        (tmp_path / name).write_text(name)
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    return ImageRecipe("perennial/thing", tmp_path / "Dockerfile", tmp_path)


def test_what_the_dockerfile_copies_is_found_and_nothing_of_other_stages(recipe: ImageRecipe) -> None:
    (recipe.context / "README.md").write_text("not copied")
    names = [str(path.relative_to(recipe.context)) for path in copied_files(DOCKERFILE, recipe)]
    assert names == ["pyproject.toml", "source/a.py", "source/b.py", "uv.lock"]


def test_the_same_content_has_the_same_digest(recipe: ImageRecipe) -> None:
    before = content_digest(recipe, "base")
    (recipe.context / "source" / "a.py").touch()
    (recipe.context / "source" / "__pycache__" / "a.cpython-311.pyc").write_text("compiled")
    (recipe.context / "README.md").write_text("not copied")
    assert content_digest(recipe, "base") == before


def test_changed_added_renamed_and_executable_files_each_change_the_digest(recipe: ImageRecipe) -> None:
    seen = {content_digest(recipe, "base")}
    (recipe.context / "source" / "a.py").write_text("changed")
    seen.add(content_digest(recipe, "base"))
    (recipe.context / "source" / "c.py").write_text("")
    seen.add(content_digest(recipe, "base"))
    (recipe.context / "source" / "c.py").rename(recipe.context / "source" / "d.py")
    seen.add(content_digest(recipe, "base"))
    (recipe.context / "source" / "d.py").chmod(0o755)
    seen.add(content_digest(recipe, "base"))
    assert len(seen) == 5


def test_dockerfile_base_and_arguments_count_too(recipe: ImageRecipe) -> None:
    plain = content_digest(recipe, "base")
    other_base = content_digest(recipe, "base2")
    other_arguments = content_digest(replace(recipe, arguments={"A": "1"}), "base")
    recipe.dockerfile.write_text(DOCKERFILE + "USER 1\n")
    assert len({plain, other_base, other_arguments, content_digest(recipe, "base")}) == 4


def test_a_copy_of_everything_is_the_whole_context_but_for_caches(recipe: ImageRecipe) -> None:
    (recipe.context / ".git").mkdir()
    (recipe.context / ".git" / "HEAD").write_text("x")
    names = {path.name for path in copied_files("FROM x\nCOPY . /app\n", recipe)}
    assert names == {"Dockerfile", "pyproject.toml", "uv.lock", "a.py", "b.py"}


def test_a_pattern_is_expanded(recipe: ImageRecipe) -> None:
    assert [path.name for path in copied_files("FROM x\nCOPY source/*.py /app/\n", recipe)] == ["a.py", "b.py"]


def test_a_copy_of_nothing_names_the_dockerfile_and_the_path(recipe: ImageRecipe) -> None:
    with pytest.raises(ClusterError, match=r"Dockerfile: COPY missing\.txt finds nothing"):
        copied_files("FROM x\nCOPY missing.txt /\n", recipe)


def test_a_missing_dockerfile_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="does not exist"):
        content_digest(ImageRecipe("x", tmp_path / "Dockerfile", tmp_path), "base")


def test_an_image_is_found_by_its_last_word(tmp_path: Path) -> None:
    assert project.recipe(tmp_path, "training") == project.recipe(tmp_path, "perennial/training")


def test_an_unknown_image_is_refused_with_those_that_exist(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=r"no image 'tranning'; it has: perennial/operator"):
        project.recipe(tmp_path, "tranning")


# ---- what a person asks for ----

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("folder", sorted(path.parent for path in (ROOT / "examples").glob("*/Dockerfile")), ids=lambda f: f.name)
def test_every_example_is_pushed_by_its_folder_on_the_image_that_its_dockerfile_names(folder: Path) -> None:
    found = project.asked(ROOT, str(folder), None, {})
    assert (found.name, found.context) == (f"own/{folder.name}", folder)
    assert found.parent == (None if folder.name == "pytorch" else "perennial/training")
    assert copied_files(found.dockerfile.read_text(), found)


def test_a_folder_gets_the_name_and_the_arguments_that_are_given(recipe: ImageRecipe) -> None:
    found = project.asked(ROOT, str(recipe.context), "team/trainer", {"REVISION": "abc"})
    assert found == ImageRecipe("team/trainer", recipe.dockerfile, recipe.context, None, {"REVISION": "abc"})
    assert project.asked(ROOT, f"{recipe.context}/source/..", "a", {}).context == recipe.context


def test_a_name_of_the_project_is_its_image_though_there_is_a_folder_of_that_name() -> None:
    for name in ("operator", "perennial/operator"):
        assert project.asked(ROOT, name, None, {}) == project.recipe(ROOT, "perennial/operator")
    with pytest.raises(ClusterError, match="are for a folder of yours, and runtime is an image of the project"):
        project.asked(ROOT, "runtime", "mine", {})


@pytest.mark.parametrize(
    ("start", "parent"),
    [
        ("ARG BASE_IMAGE=perennial/runtime\nFROM ${BASE_IMAGE}\n", "perennial/runtime"),
        ("arg BASE_IMAGE=perennial/training\nFROM ${BASE_IMAGE}\n", "perennial/training"),
        ("ARG BASE_IMAGE=python:3.11-slim\nFROM ${BASE_IMAGE}\n", None),
        ("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n", None),
        ("FROM scratch\n", None),
        ("FROM --platform=linux/amd64 scratch AS bare\n", None),
    ],
)
def test_the_base_is_what_the_dockerfile_says(recipe: ImageRecipe, start: str, parent: str | None) -> None:
    recipe.dockerfile.write_text(start)
    assert project.asked(ROOT, str(recipe.context), "a", {}).parent == parent


@pytest.mark.parametrize(
    ("start", "name", "words"),
    [
        ("FROM python:3.11\n", "a", "would have to be pulled, and none is: begin with ARG BASE_IMAGE=perennial/training"),
        ("FROM scratch AS one\nFROM debian\n", "a", "would have to be pulled"),
        ("FROM scratch\n", "Team/trainer", "Team/trainer is no name for an image: give one with --name"),
        ("FROM scratch\n", "a:latest", "a:latest is no name for an image"),
    ],
)
def test_what_cannot_be_built_or_called_so_is_told_before_anything_is_begun(
    recipe: ImageRecipe, start: str, name: str, words: str
) -> None:
    recipe.dockerfile.write_text(start)
    with pytest.raises(ClusterError, match=words):
        project.asked(ROOT, str(recipe.context), name, {})


def test_what_is_neither_an_image_nor_a_folder_is_told_with_the_images_that_there_are(tmp_path: Path) -> None:
    for text in ("runtme", str(tmp_path)):
        with pytest.raises(ClusterError, match="neither a folder with a Dockerfile nor one of the project's images: perenn"):
            project.asked(ROOT, text, None, {})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["push", "operator", "runtime", "--name", "a"], "--name is for one folder"),
        (["push", "--name", "a"], "--name is for one folder"),
        (["push", "x", "--build-arg", "REVISION"], "'REVISION' is no NAME=VALUE"),
    ],
)
def test_a_wrong_command_line_is_told_without_a_cluster(words: list[str], said: str) -> None:
    done = CliRunner().invoke(commands, words)
    assert done.exit_code == 2
    assert said in done.stderr
