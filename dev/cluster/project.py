"""The project's own images and a user's: which Dockerfile, on which other image, and a digest of what goes into each, its tag.

A push of unchanged content asks the registry for the tag and is done.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cluster.errors import ClusterError
from cluster.images import BASE_IMAGE

COPY = re.compile(r"^\s*(?:COPY|ADD)\s+(.+)$", re.IGNORECASE)
FLAG = re.compile(r"^--(\w+)(?:=(\S+))?$")
BASE = re.compile(r"^\s*(?i:ARG)\s+BASE_IMAGE(?:=(\S+))?\s*$", re.MULTILINE)
NEEDED = re.compile(r"^\s*FROM\s+(?:--\S+\s+)*(?!scratch\b|--)\S+", re.IGNORECASE | re.MULTILINE)
NAME = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*")
"""Of an image in a registry."""
SKIPPED_DIRECTORIES = {"__pycache__", ".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache"}


@dataclass(frozen=True, slots=True)
class ImageRecipe:
    """A Dockerfile and its context; `parent` names another image of the project that takes the place of BASE_IMAGE."""

    name: str
    dockerfile: Path
    context: Path
    parent: str | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)


def recipes(repository: Path) -> dict[str, ImageRecipe]:
    """The images by name, parents first."""

    def of(name: str, dockerfile: str, parent: str | None = None) -> ImageRecipe:
        # an image on another of ours builds its packages on the plain base, so that our code is in none of their layers
        arguments = {"PYTHON_IMAGE": BASE_IMAGE} if parent else {}
        return ImageRecipe(name, repository / dockerfile, repository, parent, arguments)

    known = (
        of("perennial/operator", "operator/Dockerfile"),
        of("perennial/runtime", "serving/Dockerfile"),
        of("perennial/training", "serving/training.Dockerfile", parent="perennial/runtime"),
    )
    return {recipe.name: recipe for recipe in known}


def names(repository: Path) -> list[str]:
    return list(recipes(repository))


def recipe(repository: Path, name: str) -> ImageRecipe:
    """By full name or by its last word."""
    known = recipes(repository)
    found = known.get(name) or known.get(f"perennial/{name}")
    if found is None:
        raise ClusterError(f"The project has no image {name!r}; it has: {', '.join(known)}.")
    return found


def asked(repository: Path, text: str, name: str | None, arguments: Mapping[str, str]) -> ImageRecipe:
    """What a person means: an image of the project, or a folder with a Dockerfile; its image is called `name`, or own/<folder>.

    The image that takes the place of BASE_IMAGE is the one that the Dockerfile gives as its default, where that is the project's.
    """
    known = recipes(repository)
    if text in known or f"perennial/{text}" in known:
        if name or arguments:
            raise ClusterError(f"--name and --build-arg are for a folder of yours, and {text} is an image of the project.")
        return recipe(repository, text)
    folder = Path(text).resolve()
    dockerfile = folder / "Dockerfile"
    if not dockerfile.is_file():
        raise ClusterError(f"{text} is neither a folder with a Dockerfile nor one of the project's images: {', '.join(known)}.")
    called = name or f"own/{folder.name.lower()}"
    if not NAME.fullmatch(called):
        raise ClusterError(f"{called} is no name for an image: give one with --name, of a-z, 0-9, -, _, . and /.")
    content = dockerfile.read_text()
    base = BASE.search(content)
    if base is None and NEEDED.search(content):
        raise ClusterError(
            f"{text}/Dockerfile starts from an image that would have to be pulled, and none is: begin with "
            "ARG BASE_IMAGE=perennial/training and FROM ${BASE_IMAGE}; with another default it is Debian with Python 3.11."
        )
    parent = base.group(1) if base is not None and base.group(1) in known else None
    return ImageRecipe(called, dockerfile, folder, parent, arguments)


def content_digest(recipe: ImageRecipe, base: str) -> str:
    """Of the Dockerfile, its arguments, the image it starts from, and every file that a COPY or ADD takes from the context."""
    if not recipe.dockerfile.is_file():
        raise ClusterError(f"{recipe.name}: the Dockerfile {recipe.dockerfile} does not exist.")
    text = recipe.dockerfile.read_text()
    total = hashlib.sha256(f"{base}\0{text}\0{sorted(recipe.arguments.items())}\0".encode())
    for path in copied_files(text, recipe):
        executable = path.stat().st_mode & 0o111 != 0
        total.update(f"{path.relative_to(recipe.context)}\0{executable}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:20]


def copied_files(dockerfile: str, recipe: ImageRecipe) -> list[Path]:
    """The files of the context that the Dockerfile copies, in a fixed order."""
    found: set[Path] = set()
    for source in _sources(dockerfile):
        matches = sorted(recipe.context.glob(source.strip("/"))) if source not in (".", "./") else [recipe.context]
        if not matches:
            raise ClusterError(f"{recipe.dockerfile}: COPY {source} finds nothing below {recipe.context}.")
        for match in matches:
            found.update(_files(match))
    return sorted(found)


def _sources(dockerfile: str) -> Iterator[str]:
    """What COPY and ADD take from the context; copies from other stages and images are not of the context."""
    for line in dockerfile.replace("\\\n", " ").splitlines():
        found = COPY.match(line)
        if found is None:
            continue
        words = found.group(1).split()
        flags = [match for word in words if (match := FLAG.match(word))]
        if any(flag.group(1) == "from" for flag in flags):
            continue
        yield from [word for word in words if not FLAG.match(word)][:-1]


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        if path.suffix != ".pyc":
            yield path
        return
    for child in path.iterdir():
        if child.name not in SKIPPED_DIRECTORIES:
            yield from _files(child)
