"""Where a trainer is checked: the folders and files of the contract, made-up rows or a file of the user's, and the command's run.

As the train Job has it (`perennial.manifests.jobs`): inputs that cannot be written, one folder for outputs, HOME and TMPDIR at
/tmp, a user that is not root, no standard input. Used by `perennial_runtime.check`.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perennial_runtime.check_wish import CATEGORICAL, NUMERIC, Finding, Wish, WrongWish
from perennial_runtime.contract import (
    EXIT_REFUSED,
    FEWEST_CLASSES,
    MODEL_BYTES_LIMIT,
    MOST_CLASSES,
    MULTICLASS,
    PARITY_ROWS,
    REGRESSION,
)

WORDS = ("basic", "plus", "family", "basic ünd more")
CLASSES = ("high", "low", "middle", "ünder")
"""Of a made-up label that has several; the last is rare."""
MISSING = 0.05
MADE = 0.1
"""Share of the rows that are called synthetic."""
GROUPS = 20
READABLE = 0o444
EVERYBODY = 0o777  # any user, as the pod's fsGroup gives it


@dataclass(frozen=True, slots=True)
class Ground:
    """The folders, and what was found while they were made."""

    root: Path
    findings: list[Finding] = field(default_factory=list)

    @property
    def base(self) -> Path:
        return self.root / "perennial"

    @property
    def train(self) -> Path:
        return self.base / "data" / "train.parquet"

    @property
    def params(self) -> Path:
        return self.base / "params.json"

    @property
    def out(self) -> Path:
        return self.base / "out"

    @property
    def home(self) -> Path:
        """As in the pod; in a scratch root a folder of that."""
        return Path("/tmp") if self.root == Path("/") else self.root / "tmp"  # noqa: S108 - what HOME is in the pod


@contextmanager
def ground(wish: Wish, only: str | None) -> Iterator[Ground]:
    """The folders as long as the block lasts. Raises WrongWish."""
    made = Ground(wish.root)
    if only == "outputs":
        _look_for_inputs(made)
        yield made
        return
    try:
        if made.out.is_dir() and any(made.out.iterdir()):
            raise WrongWish(f"{made.out} is not empty: remove what is in it, or judge it by --only outputs")
        was_there = made.base.is_dir()
        for folder in (made.train.parent, made.out, made.home):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WrongWish(_no_place(made, error)) from None
    try:
        _write_inputs(wish, made)
        yield made
    finally:
        if not wish.keep:
            _clear(made, was_there=was_there)


def _no_place(made: Ground, error: OSError) -> str:
    return (
        f"{made.base} cannot be made ({error.strerror}): start the image as root, or mount a folder there "
        "(docker run --tmpfs /perennial:mode=1777), or give --root DIR to a trainer that reads PERENNIAL_ROOT"
    )


def _look_for_inputs(made: Ground) -> None:
    for path in (made.train, made.params):
        if not path.is_file():
            raise WrongWish(f"{path} is not there: --only outputs judges a folder that --only inputs began")


def _clear(made: Ground, *, was_there: bool) -> None:
    """What this made; the folder itself stays where it was mounted."""
    made.train.parent.chmod(EVERYBODY)
    scratch = [made.home] if made.root != Path("/") else []
    for path in [*scratch, *([made.base] if not was_there else made.base.iterdir())]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


# ---- inputs ----


def _write_inputs(wish: Wish, made: Ground) -> None:
    try:
        import polars as pl  # noqa: PLC0415 - an image may have none
    except ImportError:
        raise WrongWish(
            "this image has no polars, which writes train.parquet: make the inputs in Perennial's training image "
            "(--only inputs), then run this image by itself, then --only outputs there"
        ) from None
    frame, kinds = (_made_up(wish, pl), {}) if wish.data is None else _given(wish, pl)
    classes = sorted(frame[wish.named("label")[0].name].unique().to_list()) if wish.task == MULTICLASS else []
    try:
        made.train.parent.chmod(EVERYBODY)  # an earlier --only inputs closed it
        for path in (made.train, made.params):
            path.unlink(missing_ok=True)
        frame.write_parquet(made.train)
        made.params.write_text(json.dumps(_params(wish, kinds, classes), indent=2, sort_keys=True) + "\n")
        for path in (made.train, made.params):
            path.chmod(READABLE)
        for folder in (made.out, *([made.home] if made.root != Path("/") else [])):
            folder.chmod(EVERYBODY)
        made.train.parent.chmod(0o555)
    except OSError as error:
        raise WrongWish(_no_place(made, error)) from None


def _params(wish: Wish, kinds: dict[str, str], classes: list[Any]) -> dict[str, object]:
    """As `perennial_runtime.fetch` writes it."""
    return {
        "task": wish.task,
        "features": [{"name": one.name, "kind": kinds.get(one.name, one.kind)} for one in wish.named("feature")],
        "label": wish.named("label")[0].name,
        "time": wish.one("time"),
        **({"group": group} if (group := wish.one("group")) else {}),
        **({"synthetic": made} if (made := wish.one("synthetic")) else {}),
        **({"weight": weight} if (weight := wish.one("weight")) else {}),
        **({"classes": classes} if classes else {}),
        "seed": wish.seed,
        "hyperparameters": wish.hyperparameters,
        "parity": {"rows": PARITY_ROWS},
        "limits": {"modelBytes": MODEL_BYTES_LIMIT},
        "resume": False,
    }


def _made_up(wish: Wish, pl: Any) -> Any:
    """Rows with a law to learn, one a minute; some values are missing, and the first row has none at all."""
    chance = random.Random(wish.seed)  # noqa: S311 - made-up data
    rows = range(wish.rows)
    columns: dict[str, Any] = {}
    score = [0.0] * wish.rows
    for place, one in enumerate(wish.named("feature")):
        numeric = one.kind == NUMERIC
        values: list[Any] = [chance.gauss(10, 5) if numeric else chance.choice(WORDS) for _ in rows]
        for row, value in enumerate(values):
            score[row] += ((value - 10) / 5 if numeric else WORDS.index(value) - 1.5) / (place + 1)
        shown = [None if row == 0 or chance.random() < MISSING else value for row, value in enumerate(values)]
        columns[one.name] = pl.Series(one.name, shown, dtype=pl.Float64 if numeric else pl.String)
    label, moment = wish.named("label")[0].name, wish.one("time")
    columns[label] = pl.Series(label, _labels(wish.task, score, chance)[: wish.rows])
    frame = pl.DataFrame(columns)
    if moment is not None:
        begin = pl.datetime(2024, 1, 1, time_zone="UTC", time_unit="us")
        frame = frame.with_columns((begin + pl.duration(minutes=pl.int_range(pl.len()))).alias(moment))
    frame = frame.with_columns([pl.Series(one.name, [f"r{row}" for row in rows]) for one in wish.named("id")])
    frame = frame.with_columns([pl.Series(one.name, [f"g{row % GROUPS}" for row in rows]) for one in wish.named("group")])
    made = [pl.Series(one.name, [chance.random() < MADE for _ in rows]) for one in wish.named("synthetic")]
    weights = [pl.Series(one.name, [chance.uniform(0.5, 2.0) for _ in rows]) for one in wish.named("weight")]
    return frame.with_columns([*made, *weights])


def _labels(task: str, score: list[float], chance: random.Random) -> list[int] | list[float] | list[str]:
    """By the law of the score; of each class at least one."""
    if task == REGRESSION:
        return [10 * value + chance.gauss(0, 1) for value in score]
    if task == MULTICLASS:
        high, low, middle, under = CLASSES
        noisy = [value + chance.gauss(0, 0.5) for value in score]
        told = [under if value < -2 else low if value < -0.5 else middle if value < 0.5 else high for value in noisy]
        return [*told[: -2 * len(CLASSES)], *CLASSES, *CLASSES]
    drawn = [int(chance.random() < 1 / (1 + math.exp(-value))) for value in score]
    return [*drawn[:-2], 0, 1]


def _given(wish: Wish, pl: Any) -> tuple[Any, dict[str, str]]:
    """The user's rows as `prepare` types them, and what each feature is. Raises WrongWish."""
    try:
        frame = pl.read_parquet(wish.data)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise WrongWish(f"--data {wish.data} cannot be read as Parquet: {str(error)[:200]}") from None
    absent = [one.name for one in wish.columns if one.name not in frame.columns]
    if absent:
        raise WrongWish(f"--data {wish.data} has no column {', '.join(absent)}; it has {', '.join(frame.columns[:20])}")
    kinds = {
        one.name: NUMERIC if frame[one.name].dtype.is_numeric() or frame[one.name].dtype == pl.Boolean else CATEGORICAL
        for one in wish.named("feature")
    }
    types = {NUMERIC: pl.Float64, CATEGORICAL: pl.String}
    casts = [pl.col(name).cast(types[kind]) for name, kind in kinds.items()]
    label, moment = wish.named("label")[0].name, wish.one("time")
    kept = [pl.col(one.name).cast(pl.String) for role in ("id", "group") for one in wish.named(role)]
    kept += [pl.col(one.name).cast(pl.Float64) for one in wish.named("weight")]
    kept += [_flag(pl.col(one.name), pl) for one in wish.named("synthetic")]
    times = [pl.col(moment)] if moment is not None else []
    is_text = frame[label].dtype in (pl.String, pl.Categorical, pl.Enum)
    of_label = _classes(wish, frame[label]) if wish.task == MULTICLASS else _label(wish.task, pl.col(label), pl, is_text=is_text)
    typed = pl.DataFrame([_cast(wish, frame, one, pl) for one in (*casts, of_label, *times, *kept)])
    typed = typed if moment is None else typed.sort(moment)
    _check_label(wish, typed[label], is_other=typed[label].null_count() > frame[label].null_count())
    for one in wish.named("synthetic"):
        if typed[one.name].null_count():
            raise WrongWish(f"--data {wish.data}: column {one.name!r} is not true or false, or 1 or 0, in every row")
    return typed, kinds


def _label(task: str, column: Any, pl: Any, *, is_text: bool) -> Any:
    """As `prepare` types a label of one task or the other; null of a text that is none."""
    if task == REGRESSION:
        return column.cast(pl.Float64, strict=not is_text)
    return _flag(column, pl).cast(pl.Int64) if is_text else column.cast(pl.Int64)


def _cast(wish: Wish, frame: Any, column: Any, pl: Any) -> Any:
    """One column as `prepare` types it. Raises WrongWish without Polars' own words, which quote values of rows."""
    try:
        return frame.select(column).to_series()
    except pl.exceptions.PolarsError:
        name = column.meta.output_name()
        role = next(one.role for one in wish.columns if one.name == name)
        words = f"column {name!r} is of type {frame[name].dtype}, and not every row's value fits the role {role}"
        raise WrongWish(f"--data {wish.data}: {words}; prepare would refuse it too") from None


def _classes(wish: Wish, cells: Any) -> Any:
    """A label of several classes by the rules of `prepare`. Raises WrongWish with its words."""
    from perennial_runtime.answers import Refused  # noqa: PLC0415 - both for --data alone
    from perennial_runtime.class_labels import ClassLabels  # noqa: PLC0415

    try:
        return ClassLabels(cells.name, ()).add(cells, (0, str(wish.data)), 1, is_text=False)
    except Refused as refused:
        raise WrongWish(f"--data {refused.message}") from None


def _check_label(wish: Wish, typed: Any, *, is_other: bool) -> None:
    """Raises WrongWish where the label is none that the task is for; `is_other`: it is text that stands for no such thing."""
    if is_other:
        wanted = "finite numbers" if wish.task == REGRESSION else "0 and 1"
        todo = f"give --task {MULTICLASS} where it names {FEWEST_CLASSES} to {MOST_CLASSES} classes, or make two classes 0 and 1"
        raise WrongWish(f"--data {wish.data}: column {typed.name!r} is text, and --task {wish.task} is for {wanted}: {todo}")
    where, found = f"--data {wish.data}: column {typed.name!r}", typed.unique().to_list()
    if wish.task == REGRESSION:
        if not typed.is_finite().fill_null(value=False).all():
            raise WrongWish(f"{where} is no finite number in every row")
    elif wish.task == MULTICLASS:
        if not FEWEST_CLASSES <= len(found) <= MOST_CLASSES:
            wanted = f"{FEWEST_CLASSES} to {MOST_CLASSES} different texts or whole numbers"
            raise WrongWish(f"{where} holds {len(found)}, and --task {MULTICLASS} is for {wanted}")
    elif not set(found) <= {0, 1}:
        raise WrongWish(f"{where} holds more than 0 and 1")


def _flag(column: Any, pl: Any) -> Any:
    """True and false of what prepare takes for them, else null."""
    words = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
    return column.cast(pl.String).str.to_lowercase().replace_strict(words, default=None, return_dtype=pl.Boolean)


# ---- the run ----


def run(wish: Wish, made: Ground) -> Iterator[Finding]:
    """The command to its end, and what is told by how it ended."""
    yield from _place(made)
    as_root = os.geteuid() == 0
    user: dict[str, Any] = {"user": wish.user, "group": wish.user, "extra_groups": []} if as_root else {}
    name = wish.user if as_root else os.geteuid()
    if not as_root and os.geteuid() != wish.user:
        yield _other_user(wish, made, name)
    if as_root and (closed := _closed(made.base, wish.user)) is not None:
        words = f"user {wish.user}, as which it runs, may not enter {closed}"
        yield Finding("wrong", "command", words, f"chmod o+x {closed}, or start this as a user that is not root")
        return
    began = time.monotonic()
    try:
        process = subprocess.Popen(
            wish.command, env=environment(wish, made), stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), cwd=None,
            start_new_session=True, **user,
        )  # fmt: skip
    except OSError as error:
        yield _not_started(wish, made, name, error)
        return
    try:
        code = process.wait(wish.timeout)
    except subprocess.TimeoutExpired:
        _kill(process)
        words = f"it ran longer than {wish.timeout:.0f} s and was ended"
        yield Finding("wrong", "command", words, "make it shorter by --hyperparameter or --rows, or raise --timeout")
        return
    except BaseException:
        _kill(process)
        raise
    yield _ended(code, time.monotonic() - began, name)


def _other_user(wish: Wish, made: Ground, name: int) -> Finding:
    words = f"it runs as user {name}, which started this; in the cluster it runs as {wish.user}"
    if made.root != Path("/"):  # most often on somebody's machine and in no image
        return Finding("note", "user", words, f"see that user {wish.user} may read the files of its image")
    return Finding("note", "user", words, f"set spec.training.runAsUser: {name}, or start this as that user")


def _closed(folder: Path, user: int) -> Path | None:
    """The first folder on the way that a user of no other group may not enter."""
    for one in (*reversed(folder.parents), folder):
        found = one.stat()
        bit = stat.S_IXUSR if found.st_uid == user else stat.S_IXGRP if found.st_gid == user else stat.S_IXOTH
        if not found.st_mode & bit:
            return one
    return None


def _place(made: Ground) -> Iterator[Finding]:
    if made.root != Path("/") or os.statvfs("/").f_flag & os.ST_RDONLY:
        return
    words = "it can be written here, and in the cluster only /tmp and /perennial/out can"
    yield Finding(
        "note", "root file system", words, "docker run --read-only --tmpfs /tmp:exec,mode=1777 --tmpfs /perennial:mode=1777"
    )


def environment(wish: Wish, made: Ground) -> dict[str, str]:
    """Of the command: the image's own, and what the train Job gives it."""
    scratch = {} if made.root == Path("/") else {"PERENNIAL_ROOT": str(made.root)}
    return {
        **os.environ,
        "HOME": str(made.home),
        "TMPDIR": str(made.home),
        "PERENNIAL_SEED": str(wish.seed),
        "PERENNIAL_DEVICE": "cpu",
        "PERENNIAL_ACCELERATOR": "",
        **scratch,
    }


def _not_started(wish: Wish, made: Ground, user: int, error: OSError) -> Finding:
    program = wish.command[0]
    if isinstance(error, FileNotFoundError):
        return Finding("wrong", "command", f"there is no {program}", "correct training.command, or the image")
    if error.errno == 1:
        words = f"it could not be started as user {user}: this container may not change its user"
        return Finding("wrong", "command", words, f"docker run --user {user}, and no --cap-drop")
    words = f"{program} may not be run by user {user}: {error.strerror}"
    todo = "give it to everybody (chmod a+rx, its folders too), or set spec.training.runAsUser"
    here = "" if made.root == Path("/") else "; outside of an image, start this as a user that is not root"
    return Finding("wrong", "command", words, f"{todo}{here}")


def _ended(code: int, seconds: float, user: int) -> Finding:
    if code == 0:
        return Finding("ok", "command", f"ended with 0 after {seconds:.1f} s as user {user}")
    if code == EXIT_REFUSED:
        words = "ended with 64, which says that the input is wrong: the version is refused and not tried again"
        return Finding("wrong", "command", words, "end with 64 only where another attempt would not help")
    if code == -signal.SIGKILL:
        return Finding("wrong", "command", "was killed by SIGKILL", "give it more memory, or less data")
    if code < 0:
        words = f"was ended by signal {-code} ({signal.strsignal(-code) or 'no name'})"
        return Finding(
            "wrong", "command", words, "see what it wrote above; it is a fault of the command or of a library that it uses"
        )
    todo = "see what it wrote above; where permission was denied, open its files to everybody or set spec.training.runAsUser"
    return Finding("wrong", "command", f"ended with exit code {code} as user {user}", todo)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """With all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
