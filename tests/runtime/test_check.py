"""`python -m perennial_runtime.check`: what it makes, how it runs a command, and what it says of outputs, right and wrong."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest

from perennial_runtime import check, check_ground, check_outputs, fetch
from perennial_runtime.check_ground import Ground
from perennial_runtime.check_wish import Finding, WrongWish
from perennial_runtime.contract import USER, TrainSpec
from perennial_runtime.store import Store
from runtime.check_world import COLUMNS, ROOT, levels, trained, wish
from runtime.evaluate_world import model, truth
from runtime.test_onnx_check import failing_for

Spoil = Callable[[Ground], object]
AS_ROOT = os.geteuid() == 0


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs, and the outputs of a trainer that keeps the contract."""
    root = tmp_path_factory.mktemp("made")
    with check_ground.ground(wish(root, "--only", "inputs", "--rows", "60"), "inputs") as ground:
        write_model(ground, model())
        write_parity(ground, truth(pl.read_parquet(ground.train)))
        (ground.out / "metrics.json").write_text('{"roc_auc": 0.7}')
        (ground.out / "progress.jsonl").write_text('{"step": 1, "of": 2}\n{"step": 2, "of": 2, "loss": 0.5}\n')
        (ground.out / "checkpoint").mkdir()
        (ground.out / "checkpoint" / "weights").write_bytes(b"x")
    return root


def write_model(ground: Ground, body: onnx.ModelProto) -> None:
    (ground.out / "model.onnx").write_bytes(body.SerializeToString())


def write_parity(ground: Ground, scores: np.ndarray[Any, Any]) -> None:
    pl.DataFrame({"row": np.arange(len(scores)), "score": scores}).write_parquet(ground.out / "parity.parquet")


def judged(kept: Path, tmp_path: Path, spoil: Spoil, *options: str) -> list[Finding]:
    """What is found once something was spoiled."""
    shutil.copytree(kept, tmp_path / "root")
    wanted = wish(tmp_path / "root", "--only", "outputs", *options)
    with check_ground.ground(wanted, "outputs") as ground:
        spoil(ground)
        return list(check_outputs.findings(wanted, ground))


# ---- what it says of outputs ----


def test_outputs_that_keep_the_contract_are_told_one_by_one(kept: Path, tmp_path: Path) -> None:
    found = levels(judged(kept, tmp_path, lambda ground: None))
    assert (found["wrong"], found["note"]) == ([], [])
    words = "\n".join(found["ok"])
    assert "model.onnx: loads, takes the 2 features, scores 60 rows in [0, 1]" in words
    assert "model.onnx: answers rows with missing values and with unseen texts" in words
    assert "parity.parquet: model.onnx scores as the trainer did, to " in words
    assert "metrics.json: shown as claims: roc_auc 0.7" in words
    assert "progress.jsonl: its newest line: step 2, of 2, loss 0.5" in words
    assert "checkpoint/: 1 files are kept" in words


def linked(ground: Ground) -> None:
    (ground.out / "model.onnx").rename(ground.base / "elsewhere")
    (ground.out / "model.onnx").symlink_to(ground.base / "elsewhere")


def off(ground: Ground) -> None:
    scores = truth(pl.read_parquet(ground.train))
    scores[7] += 0.01
    write_parity(ground, scores)


def without_score(ground: Ground) -> None:
    body = model()
    body.graph.output[0].name = body.graph.node[-1].output[0] = "probability"
    write_model(ground, body)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda ground: (ground.out / "model.onnx").unlink(), "model.onnx: the trainer ended without writing out/model.onnx"),
        (linked, "model.onnx: out/model.onnx is a link or no file"),
        (lambda ground: (ground.out / "model.onnx").write_bytes(b""), "model.onnx: it has 0 bytes"),
        (lambda ground: (ground.out / "model.onnx").chmod(0o600), "model.onnx: it may be read by its owner alone"),
        (lambda ground: (ground.out / "model.onnx").write_bytes(b"pickle"), "model.onnx: OnnxBroken: "),
        (without_score, "OnnxScoreMissing: model.onnx has no output named 'score' (it has probability)"),
        (lambda ground: write_model(ground, failing_for(check_outputs.UNSEEN)), "for a row whose texts no training row holds"),
        (off, "parity.parquet: ParityOff: the scores of model.onnx differ from the trainer's own (parity.parquet) by up to 0.01"),
        (lambda ground: write_parity(ground, np.zeros(3)), "parity.parquet: ParityBroken: "),
        (lambda ground: (ground.out / "metrics.json").write_text("0.7"), "metrics.json: nothing of it would be shown"),
        (lambda ground: (ground.out / "progress.jsonl").write_text("50 %\n"), "progress.jsonl: its newest line is no JSON"),
        (lambda ground: (ground.out / "checkpoint" / "old").mkdir(), "checkpoint/: 1 files are kept, 1 entries are left out"),
    ],
    ids=[
        "no model", "a link", "an empty file", "closed to others", "no ONNX", "another output", "an unseen text fails",
        "another model's scores", "too few rows", "claims of no name", "progress in words", "a folder in the checkpoint",
    ],
)  # fmt: skip
def test_output_that_breaks_the_contract_is_told_with_what_to_do(kept: Path, tmp_path: Path, spoil: Spoil, words: str) -> None:
    wrong = levels(judged(kept, tmp_path, spoil))["wrong"]
    assert any(words in one for one in wrong), wrong
    assert len(wrong) == 1


def test_optional_outputs_are_not_missed(kept: Path, tmp_path: Path) -> None:
    def without(ground: Ground) -> None:
        shutil.rmtree(ground.out / "checkpoint")
        for name in ("metrics.json", "progress.jsonl"):
            (ground.out / name).unlink()

    found = levels(judged(kept, tmp_path, without))
    assert found["wrong"] == []
    assert len(found["note"]) == 3


def test_limit_of_parity_is_the_manifests(kept: Path, tmp_path: Path) -> None:
    assert levels(judged(kept, tmp_path, off, "--max-difference", "0.02"))["wrong"] == []


def test_image_without_the_packages_is_told_where_its_outputs_can_be_judged(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_outputs, "PACKAGES", ("numpy", "no_such_package"))
    wrong = levels(judged(kept, tmp_path, lambda ground: None))["wrong"]
    assert [one.partition(" -> ")[0] for one in wrong] == [
        "model and scores: they were not read: this image has no no_such_package"
    ]
    assert wrong[0].endswith("in Perennial's training image")


# ---- what it makes ----


def test_inputs_are_those_of_a_train_job(tmp_path: Path) -> None:
    wanted = wish(tmp_path, "--rows", "300", "--seed", "3", "--hyperparameter", "trees=5")
    with check_ground.ground(wanted, None) as ground:
        rows, params = pl.read_parquet(ground.train), json.loads(ground.params.read_text())
    assert dict(rows.schema) == {
        "hour": pl.Float64,
        "carrier": pl.String,
        "late": pl.Int64,
        "at": pl.Datetime("us", "UTC"),
        "flight": pl.String,
    }
    assert rows["at"].is_sorted()
    assert set(rows["late"]) == {0, 1}
    assert all(rows[name].null_count() for name in ("hour", "carrier"))
    schema = {"features": [{"name": "hour", "kind": "numeric"}, {"name": "carrier", "kind": "categorical"}], "label": "late"}
    spec = TrainSpec("v", "u", 1, "s", "t", "s", 3, hyperparameters={"trees": 5.0})
    store = Store((tmp_path / "store").as_uri())
    given = replace(spec, schema=store.put_bytes(json.dumps({**schema, "time": "at"}).encode()), train=store.put_bytes(b"rows"))
    fetch.fetch(given, store, tmp_path / "rows", tmp_path / "params.json", tmp_path / "none")
    assert params == json.loads((tmp_path / "params.json").read_text())


def test_inputs_may_have_no_time_and_a_group(tmp_path: Path) -> None:
    columns = ("hour:feature", "late:label", "household:group")
    with check_ground.ground(wish(tmp_path, "--rows", "400", columns=columns), None) as ground:
        frame = pl.read_parquet(ground.train)
        params = json.loads(ground.params.read_text())
    assert frame.columns == ["hour", "late", "household"]
    assert frame["household"].n_unique() == check_ground.GROUPS
    assert (params["time"], params["group"]) == (None, "household")


def test_rows_can_be_the_users_own_as_prepare_types_them(tmp_path: Path) -> None:
    given = pl.DataFrame(
        {"hour": [3, 1], "carrier": ["AA", None], "late": [True, False], "at": [2, 1], "flight": [7, 8], "x": [0, 0]}
    )
    given.write_parquet(tmp_path / "mine.parquet")
    wanted = wish(tmp_path, "--data", str(tmp_path / "mine.parquet"), columns=(*COLUMNS[:1], "carrier:feature", *COLUMNS[2:]))
    with check_ground.ground(wanted, None) as ground:
        rows, params = pl.read_parquet(ground.train), json.loads(ground.params.read_text())
    assert rows.rows() == [(1.0, None, 0, 1, "8"), (3.0, "AA", 1, 2, "7")]
    assert [one["kind"] for one in params["features"]] == ["numeric", "categorical"]


def test_nothing_is_left_unless_it_is_asked_for(tmp_path: Path) -> None:
    with check_ground.ground(wish(tmp_path), None) as ground:
        assert ground.train.is_file()
    assert list(tmp_path.iterdir()) == []
    with check_ground.ground(wish(tmp_path, "--keep"), None):
        pass
    assert (tmp_path / "perennial" / "params.json").is_file()


def test_inputs_can_be_made_again_in_the_same_folder_by_a_user_who_is_not_root(root: Path) -> None:
    root.chmod(0o777)
    before = os.geteuid()
    try:
        os.seteuid(USER if AS_ROOT else before)
        for seed in ("1", "2"):
            with check_ground.ground(wish(root, "--keep", "--seed", seed), None) as made:
                assert json.loads(made.params.read_text())["seed"] == int(seed)
    finally:
        os.seteuid(before)


def test_outputs_that_are_there_are_not_taken_for_this_runs(kept: Path) -> None:
    with pytest.raises(WrongWish, match="is not empty"), check_ground.ground(wish(kept), None):
        pass
    assert (kept / "perennial" / "out" / "model.onnx").is_file()


# ---- how it runs a command ----


def ran(root: Path, *command: str, options: tuple[str, ...] = ()) -> list[Finding]:
    wanted = wish(root, "--rows", "5", *options, command=command)
    with check_ground.ground(wanted, None) as ground:
        return list(check_ground.run(wanted, ground))


@pytest.fixture
def root() -> Iterator[Path]:
    """A folder that any user may enter; pytest's own are for one."""
    with tempfile.TemporaryDirectory(prefix="perennial-check-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_command_finds_what_the_train_container_has(root: Path) -> None:
    seen = root / "perennial" / "out" / "seen"
    reads_only = f"[ ! -w {root}/perennial/data/train.parquet ]"
    script = f'{reads_only} && env > "$PERENNIAL_ROOT/perennial/out/seen" && touch "$HOME/a" "$TMPDIR/b"'
    wanted = wish(root, "--rows", "5", "--seed", "4", command=("sh", "-c", script))
    with check_ground.ground(wanted, None) as ground:
        found = list(check_ground.run(wanted, ground))
        given = dict(line.split("=", 1) for line in seen.read_text().splitlines() if "=" in line)
        user = seen.stat().st_uid
    assert [one.level for one in found if one.what == "command"] == ["ok"]
    assert (given["PERENNIAL_SEED"], given["PERENNIAL_DEVICE"], given["PERENNIAL_ACCELERATOR"]) == ("4", "cpu", "")
    assert user == (USER if AS_ROOT else os.geteuid())
    assert user != 0


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("sh", "-c", "exit 3"), "ended with exit code 3"),
        (("sh", "-c", "exit 64"), "ended with 64, which says that the input is wrong"),
        (("sh", "-c", "kill -9 $$"), "was killed by SIGKILL"),
        (("sh", "-c", "kill -11 $$"), "was ended by signal 11 (Segmentation fault)"),
        (("sh", "-c", "kill -40 $$"), "was ended by signal 40"),
        (("/nowhere/trainer",), "there is no /nowhere/trainer"),
        (("/etc/passwd",), "/etc/passwd may not be run by user"),
    ],
)
def test_command_that_ends_badly_is_told_with_what_to_do(root: Path, command: tuple[str, ...], words: str) -> None:
    (found,) = [one for one in ran(root, *command) if one.what == "command"]
    assert (found.level, words in found.found) == ("wrong", True), found
    assert found.todo


def test_command_that_takes_too_long_is_ended_with_all_that_it_started(root: Path) -> None:
    found = ran(
        root, "sh", "-c", f"sleep 600 & echo $! > {root}/perennial/out/child; wait", options=("--timeout", "0.3", "--keep")
    )
    assert "ran longer than 0 s" in found[-1].found
    child = int((root / "perennial" / "out" / "child").read_text())
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(child)
        ended, _, _ = select.select([descriptor], [], [], 20)  # it was killed, and dies when it gets a CPU
        os.close(descriptor)
        assert ended


# ---- the program ----


def test_whole_of_it_ends_with_1_and_a_table_where_nothing_is_written(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    columns = [word for column in COLUMNS for word in ("--column", column)]
    assert check.main(["--root", str(root), "--rows", "5", *columns, "--", "true"]) == 1
    told = capfd.readouterr().out
    assert "ok     command         ended with 0" in told
    assert "wrong  model.onnx      the trainer ended without writing" in told
    assert told.rstrip().endswith("findings are wrong")


def test_whole_of_it_ends_with_0_where_all_is_right(kept: Path, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out, columns = root / "made", [word for column in COLUMNS for word in ("--column", column)]
    shutil.copytree(kept / "perennial" / "out", out)
    command = ["sh", "-c", f'cp -r {out}/. "$PERENNIAL_ROOT/perennial/out/"']
    assert check.main(["--root", str(root), "--rows", "60", *columns, "--", *command]) == 0
    assert capfd.readouterr().out.rstrip().endswith("nothing is wrong")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no command is given"),
        (("--column", "a:feature", "--", "true"), "describe one label, at least one feature, and at most one time"),
        (("--column", "a:fetaure", "--", "true"), "is no NAME:ROLE"),
        (("--column", "a:feature:date", "--", "true"), "is no NAME:ROLE"),
        (("--user", "0", *(word for one in COLUMNS for word in ("--column", one)), "--", "true"), "root is never run"),
        (("--user", str(2**31), *(word for one in COLUMNS for word in ("--column", one)), "--", "true"), "from 1 to 2147483647"),
        (("--hyperparameter", "trees=many", "--", "true"), "is no NAME=NUMBER"),
        (("--hyperparameter", "trees=nan", "--", "true"), "is no NAME=NUMBER"),
        (("--hyperparameter", "=5", "--", "true"), "is no NAME=NUMBER"),
        (("--timeout", "nan", *(word for one in COLUMNS for word in ("--column", one)), "--", "true"), "numbers above 0"),
        (("--rows", "many"), "invalid int value"),
        (("--only", "outputs"), "is not there"),
        (("--data", "/nowhere", *(word for one in COLUMNS for word in ("--column", one)), "--", "true"), "cannot be read"),
    ],
)
def test_wrong_command_line_ends_with_64_and_says_what_to_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    try:
        code: object = check.main(["--root", str(tmp_path), *arguments])
    except SystemExit as error:
        code = error.code
    assert code == 64
    assert words in capsys.readouterr().err


def test_it_starts_with_the_standard_library_alone() -> None:
    environment = {"PYTHONPATH": str(ROOT / "serving"), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-S", "-m", "perennial_runtime.check", "--help"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--column NAME:ROLE[:KIND]" in done.stdout


def test_image_without_polars_is_told_the_three_steps() -> None:
    environment = {"PYTHONPATH": str(ROOT / "serving"), "PATH": os.environ["PATH"]}
    columns = [word for one in COLUMNS for word in ("--column", one)]
    done = subprocess.run(
        [sys.executable, "-S", "-m", "perennial_runtime.check", "--root", "/tmp/perennial-no-polars", *columns, "--", "true"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 64
    assert "this image has no polars" in done.stderr
    shutil.rmtree("/tmp/perennial-no-polars", ignore_errors=True)


TRAINS = """
import os
from pathlib import Path
from perennial_runtime.recipes.train import train
base = Path(os.environ["PERENNIAL_ROOT"]) / "perennial"
train("gradient-boosting", base / "params.json", base / "data" / "train.parquet", base / "out")
"""


def test_regression_is_checked_as_one(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(TRAINS)
    found = levels(trained(tmp_path / "root", script, "--task", "regression", "--hyperparameter", "max_iter=10"))
    assert found["wrong"] == []
    words = "\n".join(found["ok"])
    assert "model.onnx: loads, takes the 2 features, predicts finite numbers for 400 rows" in words
    assert "parity.parquet: model.onnx predicts as the trainer did, to " in words
    assert "rmse" in words


def test_outputs_of_a_classifier_are_none_of_a_regression(kept: Path, tmp_path: Path) -> None:
    def told_otherwise(ground: Ground) -> None:
        params = json.loads(ground.params.read_text())
        ground.params.chmod(0o644)
        ground.params.write_text(json.dumps({**params, "task": "regression"}))

    found = levels(judged(kept, tmp_path, told_otherwise, "--task", "regression"))
    assert any("OnnxPredictionMissing: model.onnx has no output named 'prediction'" in one for one in found["wrong"])


def test_several_classes_are_checked_as_such(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(TRAINS)
    found = levels(trained(tmp_path / "root", script, "--task", "multiclass", "--hyperparameter", "max_iter=10"))
    assert found["wrong"] == []
    words = "\n".join(found["ok"])
    assert "model.onnx: loads, takes the 2 features, gives each of 400 rows a probability of each class, 1 together" in words
    assert "model.onnx: answers rows with missing values and with unseen texts" in words
    assert "parity.parquet: model.onnx answers as the trainer did, to " in words
    assert "log_loss" in words


IN_ANOTHER_ORDER = """
import json, os
from pathlib import Path
from perennial_runtime.recipes.train import train
base = Path(os.environ["PERENNIAL_ROOT"]) / "perennial"
params = json.loads((base / "params.json").read_text())
params["classes"] = params["classes"][1:] + params["classes"][:1]
(base / "out" / "other.json").write_text(json.dumps(params))
train("logistic-regression", base / "out" / "other.json", base / "data" / "train.parquet", base / "out")
"""


def test_probabilities_in_another_order_than_the_classes_are_told_by_the_labels(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(IN_ANOTHER_ORDER)
    (wrong,) = levels(trained(tmp_path / "root", script, "--task", "multiclass"))["wrong"]
    assert wrong.startswith("model.onnx: its probabilities are in another order than params.json's classes")
    assert "column 0 looks like 'low', column 1 looks like 'middle'" in wrong
    assert wrong.endswith("-> put the columns in the order of params.json's classes, in parity.parquet too")


def test_rows_without_their_labels_say_nothing_of_an_order() -> None:
    rows = pl.DataFrame({"hour": np.arange(60.0)})
    schema = {"task": "multiclass", "classes": ["a", "b", "c"], "label": "late"}
    found = np.eye(3)[np.arange(60) % 3]
    assert list(check_outputs._order(schema, rows, found)) == []
    labels = pl.Series("late", ["bca"[row % 3] for row in range(60)])
    assert len(list(check_outputs._order(schema, rows.with_columns(labels), found))) == 1


TELLS_OTHERWISE = """
import polars as pl
told = pl.read_parquet(base / "out" / "parity.parquet")
told.rename({"probability_0": "probability_1", "probability_1": "probability_0"}).write_parquet(base / "out" / "parity.parquet")
"""


def test_trainers_own_probabilities_in_another_order_than_its_models_are_told(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(TRAINS + TELLS_OTHERWISE)
    found = trained(tmp_path / "root", script, "--task", "multiclass", "--hyperparameter", "max_iter=10")
    (wrong,) = levels(found)["wrong"]
    assert wrong.startswith("parity.parquet: ParityOff: the probabilities of model.onnx differ from the trainer's own")
    assert "in another order (probability_1 is the model's column 0, probability_0 is the model's column 1)" in wrong
    assert "maxAbsDifference" not in wrong


def test_made_up_classes_are_named_in_their_order_and_each_has_rows(tmp_path: Path) -> None:
    with check_ground.ground(wish(tmp_path, "--only", "inputs", "--rows", "50", "--task", "multiclass"), "inputs") as ground:
        labels, params = pl.read_parquet(ground.train)["late"], json.loads(ground.params.read_text())
    assert params["classes"] == sorted(set(labels)) == ["high", "low", "middle", "ünder"]
    assert (labels.value_counts()["count"] >= 2).all()


@pytest.mark.parametrize(
    ("labels", "classes"),
    [(["b", "c", "a", "b"], ["a", "b", "c"]), ([10, 9, 100, 9], [9, 10, 100]), ([1.0, 3.0, 2.0, 2.0], [1, 2, 3])],
)
def test_classes_of_a_file_of_ones_own_are_its_labels(tmp_path: Path, labels: list[Any], classes: list[Any]) -> None:
    newest_first = pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2024, 1, 4), "1d", eager=True).reverse()
    rows = pl.DataFrame({"hour": [1.0, 2.0, 3.0, 4.0], "late": labels, "at": newest_first})
    rows.write_parquet(tmp_path / "rows.parquet")
    options = ("--only", "inputs", "--task", "multiclass", "--data", str(tmp_path / "rows.parquet"))
    columns = ("hour:feature", "at:time", "late:label")
    with check_ground.ground(wish(tmp_path / "root", *options, columns=columns), "inputs") as ground:
        assert json.loads(ground.params.read_text())["classes"] == classes
        assert sorted(set(pl.read_parquet(ground.train)["late"])) == classes


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 1, 1, 0], "column 'late' holds 2, and --task multiclass is for 3 to 50"),
        (["a", "b", "c", None], r"column 'late', row 4 is empty \(1 of the 4 rows read with it\): leave rows without a label"),
        (["a", "b", "", "c"], "column 'late', row 3 is empty"),
        (["a", "b", "c", "d" * 64], "row 4 has over 63 signs"),
        ([1.0, 2.5, 3.0, 4.0], "row 2 is no whole number of at most 15 digits"),
        ([1.0, 2.0, 3.0, 1e18], "row 4 is no whole number of at most 15 digits"),
        ([[1], [2], [3], [4]], "is of type List"),
    ],
)
def test_labels_that_are_no_classes_are_a_wrong_wish(tmp_path: Path, labels: list[Any], words: str) -> None:
    pl.DataFrame({"hour": [1.0, 2.0, 3.0, 4.0], "late": labels}).write_parquet(tmp_path / "rows.parquet")
    options = ("--only", "inputs", "--task", "multiclass", "--data", str(tmp_path / "rows.parquet"))
    wanted = wish(tmp_path / "root", *options, columns=("hour:feature", "late:label"))
    with pytest.raises(WrongWish, match=words), check_ground.ground(wanted, "inputs"):
        pass


@pytest.mark.parametrize(
    ("task", "wanted"), [("classification", "is for 0 and 1"), ("regression", "is for finite numbers")], ids=["two", "numbers"]
)
def test_label_of_text_is_told_of_the_task_for_it_and_never_by_a_value(tmp_path: Path, task: str, wanted: str) -> None:
    pl.DataFrame({"hour": [1.0, 2.0, 3.0], "late": ["gold", "silver", "1"]}).write_parquet(tmp_path / "rows.parquet")
    options = ("--only", "inputs", "--task", task, "--data", str(tmp_path / "rows.parquet"))
    wanted_rows = wish(tmp_path / "root", *options, columns=("hour:feature", "late:label"))
    with pytest.raises(WrongWish) as caught, check_ground.ground(wanted_rows, "inputs"):
        pass
    assert f"column 'late' is text, and --task {task} {wanted}: give --task multiclass" in str(caught.value)
    assert "gold" not in str(caught.value)


def test_label_of_text_that_prepare_takes_for_0_and_1_is_taken(tmp_path: Path) -> None:
    pl.DataFrame({"hour": [1.0, 2.0, 3.0], "late": ["TRUE", "0", "1.0"]}).write_parquet(tmp_path / "rows.parquet")
    options = ("--only", "inputs", "--data", str(tmp_path / "rows.parquet"))
    with check_ground.ground(wish(tmp_path / "root", *options, columns=("hour:feature", "late:label")), "inputs") as ground:
        assert pl.read_parquet(ground.train)["late"].to_list() == [1, 0, 1]


def test_column_that_does_not_fit_its_role_is_named_without_its_values(tmp_path: Path) -> None:
    pl.DataFrame({"hour": [1.0, 2.0], "late": [0, 1], "pays": ["1.5", "much"]}).write_parquet(tmp_path / "rows.parquet")
    options = ("--only", "inputs", "--data", str(tmp_path / "rows.parquet"))
    wanted = wish(tmp_path / "root", *options, columns=("hour:feature", "late:label", "pays:weight"))
    with pytest.raises(WrongWish) as caught, check_ground.ground(wanted, "inputs"):
        pass
    assert "column 'pays' is of type String, and not every row's value fits the role weight" in str(caught.value)
    assert "much" not in str(caught.value)


def test_fewer_rows_than_classes_are_a_wrong_wish(tmp_path: Path) -> None:
    with pytest.raises(WrongWish, match="needs 3 rows at least"):
        wish(tmp_path, "--task", "multiclass", "--rows", "2")
    with check_ground.ground(wish(tmp_path, "--only", "inputs", "--task", "multiclass", "--rows", "3"), "inputs") as ground:
        assert json.loads(ground.params.read_text())["classes"] == ["high", "low", "middle"]


def test_params_of_several_classes_that_name_none_are_told(kept: Path, tmp_path: Path) -> None:
    def told_otherwise(ground: Ground) -> None:
        params = json.loads(ground.params.read_text())
        ground.params.chmod(0o644)
        ground.params.write_text(json.dumps({**params, "task": "multiclass"}))

    (wrong,) = levels(judged(kept, tmp_path, told_otherwise, "--task", "multiclass"))["wrong"]
    assert "params.json: the schema of several classes lists no 3 to 50 classes -> let --only inputs write it" in wrong


def test_weight_is_made_up_and_named_for_the_trainer(tmp_path: Path) -> None:
    wanted = wish(tmp_path, "--only", "inputs", "--rows", "50", columns=(*COLUMNS, "pays:weight"))
    with check_ground.ground(wanted, "inputs") as ground:
        assert json.loads(ground.params.read_text())["weight"] == "pays"
        assert (pl.read_parquet(ground.train)["pays"] > 0).all()
    with pytest.raises(WrongWish, match="at most one time, group, weight and synthetic"):
        wish(tmp_path, columns=(*COLUMNS, "a:weight", "b:weight"))


def test_rows_that_were_made_are_told_to_the_trainer(tmp_path: Path) -> None:
    columns = (*COLUMNS, "made:synthetic")
    with check_ground.ground(wish(tmp_path, "--rows", "400", columns=columns), None) as ground:
        frame, params = pl.read_parquet(ground.train), json.loads(ground.params.read_text())
    assert params["synthetic"] == "made"
    assert frame.schema["made"] == pl.Boolean
    assert 0 < frame["made"].sum() < 200
    with pytest.raises(WrongWish, match="at most one time, group, weight and synthetic"):
        wish(tmp_path, columns=(*columns, "other:synthetic"))


@pytest.mark.parametrize("given", [[True, False], [1, 0], [1.0, 0.0], ["True", "0"]], ids=str)
def test_made_rows_of_the_users_own_are_as_prepare_reads_them(tmp_path: Path, given: list[object]) -> None:
    columns, path = ("hour:feature", "late:label", "made:synthetic"), tmp_path / "mine.parquet"
    rows = {"hour": [1, 2], "late": [0, 1]}
    pl.DataFrame({**rows, "made": given}).write_parquet(path)
    with check_ground.ground(wish(tmp_path / "root", "--data", str(path), columns=columns), None) as ground:
        assert pl.read_parquet(ground.train)["made"].to_list() == [True, False]
    for wrong in ([True, None], ["yes", "no"], [2, 0]):
        pl.DataFrame({**rows, "made": wrong}).write_parquet(path)
        wanted = wish(tmp_path / "root", "--data", str(path), columns=columns)
        with pytest.raises(WrongWish, match="'made' is not true or false"), check_ground.ground(wanted, None):
            pass


# ---- without Docker ----


@pytest.fixture(scope="module")
def environment() -> Iterator[Path]:
    """The Python of a virtual environment with what this one has, in a folder that any user may enter."""
    with tempfile.TemporaryDirectory(prefix="perennial-check-venv-") as folder:
        Path(folder).chmod(0o755)
        subprocess.run([interpreter(), "-m", "venv", "--without-pip", f"{folder}/venv"], check=True)
        python = Path(folder) / "venv" / "bin" / "python"
        (packages,) = (Path(folder) / "venv" / "lib").glob("python*/site-packages")
        (packages / "here.pth").write_text(f"{ROOT / 'serving'}\n{sysconfig.get_paths()['purelib']}\n")
        yield python


def interpreter() -> str:
    """One that another user may run too, where there is one: root's own is often root's alone."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    others = [found for folder in ("/usr/bin", "/usr/local/bin") if (found := shutil.which(name, path=folder))]
    return next((one for one in (sys.executable, *others) if not AS_ROOT or runs(USER, one, "-c", "")), sys.executable)


def runs(user: int, *words: str | Path) -> bool:
    """Whether a command of another user ends well."""
    with suppress(PermissionError):
        return (
            subprocess.run(words, user=user, group=user, extra_groups=[], cwd="/", capture_output=True, check=False).returncode
            == 0
        )
    return False


def checked(python: Path, *words: str, user: int | None = None) -> subprocess.CompletedProcess[str]:
    """What a person types, as a user who is not root where there is another."""
    given: dict[str, Any] = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    plain = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [python, "-m", "perennial_runtime.check", *words],
        env=plain, cwd=python.parent, capture_output=True, text=True, check=False, **given,
    )  # fmt: skip


TRAINER = ROOT / "examples" / "scikit-learn" / "train.py"
DESCRIBED = tuple(word for column in COLUMNS for word in ("--column", column))


def test_without_docker_a_trainer_is_checked_in_a_plain_virtual_environment(environment: Path, root: Path) -> None:
    """By a user who is not root. Where root's Python is root's alone, root is told that the trainer's user may not run it."""
    another = AS_ROOT and runs(USER, environment, "-c", "import polars, sklearn, perennial_runtime.check")
    root.chmod(0o777)
    script = root / "train.py"
    script.write_text(TRAINER.read_text())
    words = ("--root", str(root / "scratch"), "--rows", "300", "--hyperparameter", "trees=5", *DESCRIBED, "--", str(environment))
    done = checked(environment, *words, str(script), user=USER if another else None)
    if AS_ROOT and not another:
        assert done.returncode == 1
        assert "outside of an image, start this as a user that is not root" in done.stdout
        return
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ended with 0 after" in done.stdout
    assert "parity.parquet  model.onnx scores as the trainer did" in done.stdout
    assert done.stdout.rstrip().endswith("nothing is wrong")
    assert not (root / "scratch" / "perennial").exists()


def test_a_folder_that_the_trainers_user_may_not_enter_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    wanted = wish(tmp_path / "inner", "--rows", "5", "--user", str(USER if AS_ROOT else os.geteuid()))
    with check_ground.ground(wanted, None) as ground:
        found = [one for one in check_ground.run(wanted, ground) if one.what == "command"]
    if AS_ROOT:
        assert "may not enter" in found[0].found
        assert found[0].todo.startswith("chmod o+x /")
    else:
        assert found[0].level == "ok", "it is its own user's"
