"""`kubectl perennial lint`: what it says, where, and how it ends; with the API server it is compared in tests/cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from crd_cases import BOUNDS, CASES, Case, base, deployment, edited
from manifest_corpus import EXAMPLES, corpus
from perennial.api.crd import custom_resource_definitions
from perennial.cli import documents, shapes, validation
from perennial.cli.__main__ import VERBS, main

BOMB = "x0: &x0 [a, a]\n" + "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]\n" for n in range(1, 9))
GOOD = yaml.safe_dump(deployment())


def lint(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(main, ["lint", *arguments], input=given)


def file(folder: Path, text: str | bytes, name: str = "mdep.yaml") -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


# ---- what is refused ----


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.reason)
def test_what_keeps_a_rule_is_accepted(case: Case) -> None:
    assert validation.problems(edited(base(case.kind), case.accepted)) == []


@pytest.mark.parametrize("case", [case for case in CASES if not case.update], ids=lambda case: case.reason)
def test_what_breaks_a_rule_is_refused_in_the_api_server_s_words(case: Case) -> None:
    found = "; ".join(f"{one.path}: {one.message}" for one in validation.problems(edited(base(case.kind), case.refused)))
    for word in case.words:
        assert word in found


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: bound[0])
def test_what_is_out_of_bounds_is_refused(bound: tuple[str, dict[str, object], str]) -> None:
    assert validation.problems(edited(deployment(), bound[1]))


def test_every_example_is_accepted() -> None:
    assert lint(*map(str, EXAMPLES)).exit_code == 0


def test_no_manifest_of_the_corpus_makes_it_fail() -> None:
    found = corpus()
    assert len(found) >= 150
    for manifest in found.values():
        validation.problems(manifest)


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ({"apiVersion": "perennial.dev/v1"}, "apiVersion: perennial.dev/v1 is unknown: write perennial.dev/v1alpha1"),
        ({"kind": "ModelDeploymnet"}, "kind: ModelDeploymnet is unknown"),
        ({"spec.trainng": {}}, "spec.trainng: unknown field trainng: is training meant?"),
        ({"spec": None}, "spec: missing"),
        ({"metadata": None}, "metadata: missing"),
        ({"metadata": "x"}, "metadata: missing"),
        ({"spec": []}, "spec: [] is not of type 'object'"),
    ],
)
def test_words(edits: dict[str, object], words: str) -> None:
    found = [f"{one.path}: {one.message}" for one in validation.problems(edited(deployment(), edits))]
    assert words in found[0]


# ---- what a field looks like ----


def said(edits: dict[str, object]) -> list[str]:
    return [f"{one.path}: {one.message}" for one in validation.problems(edited(deployment(), edits))]


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ({"spec.triggers": {"newData": True}}, "'object'; write e.g. newData: {interval: 5m}"),
        ({"spec.triggers": {"schedule": "@daily"}}, "'@daily' is not of type 'object'; write e.g. schedule: {cron: 0 3 * * *}"),
        ({"spec.data.holdout": 0.2}, "0.2 is not of type 'object'; write e.g. holdout: {fraction: 0.2, by: time}"),
        ({"spec.training.recipe.classWeights": "balanced"}, "write e.g. classWeights: {balanced: {}}"),
        ({"spec.training.recipe.hyperparameters": ["max_iter"]}, "write e.g. hyperparameters: {learning_rate: 0.1}"),
        ({"spec.training.resources": "2"}, "resources: {requests: {cpu: 500m, memory: 1Gi}}"),
        ({"spec.data.columns.0": "dep_hour"}, "write e.g. {name: dep_hour, role: feature}"),
        ({"spec.evaluation.gates": "roc_auc"}, "write e.g. gates: [{metric: roc_auc, minimum: 0.5}]"),
        ({"spec.evaluation.slices": "carrier"}, "write e.g. slices: [{column: carrier}]"),
        ({"spec.serving.replicas": "3"}, "'3' is not of type 'integer'; write e.g. replicas: 3"),
        ({"spec.paused": "true"}, "'true' is not of type 'boolean'; write e.g. paused: true"),
        ({"spec.paused": "on"}, "write e.g. paused: false"),
        ({"spec.training.image": 5}, "5 is not of type 'string'; write e.g. image: '5'"),
        ({"spec.training.timeout": 60}, "60 is not of type 'string'; write e.g. timeout: 1h"),
        ({"spec.triggers": {"schedule": {}}}, "spec.triggers.schedule.cron: missing: it must be given, e.g. cron: 0 3 * * *"),
    ],
    ids=lambda part: next(iter(part)) if isinstance(part, dict) else "",
)
def test_a_value_of_another_type_is_told_what_the_field_looks_like(edits: dict[str, object], words: str) -> None:
    assert words in said(edits)[0]


def test_weights_by_name_of_several_classes_are_told_once_and_in_the_words_of_their_task() -> None:
    edits = {
        "spec.training.recipe": {"task": "multiclass", "classWeights": {"weights": {"gold": 2, "silver": 1}}},
        "spec.evaluation.gates": [{"metric": "accuracy", "minimum": 0.5}],
    }
    words = "recipe.classWeights.weights is for two classes: for several take balanced: {}, or a column with role: weight"
    assert said(edits) == [f"spec.training.recipe: {words}"]


def test_a_text_that_is_no_number_and_a_list_of_everything_get_an_example_too_and_no_code_is_run() -> None:
    assert "write e.g. replicas: 1" in said({"spec.serving.replicas": "three"})[0]
    assert "write e.g. replicas: 1" in said({"spec.serving.replicas": "!!python/object:os.system"})[0]
    assert "write e.g. replicas: 1" in said({"spec.serving.replicas": "1" * 5000})[0]
    assert "write e.g. replicas: 1" in said({"spec.serving.replicas": "007"})[0]
    assert "write e.g. paused: false" in said({"spec.paused": "..."})[0], "which ends a document of YAML"
    assert "write" not in said({"spec": []})[0], "an example of everything is a page"


def fields(schema: validation.Schema, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], validation.Schema]]:
    for name, field in schema.get("properties", {}).items():
        yield (*place, name), field
        yield from fields(field, (*place, name))
    if "items" in schema:
        yield from fields(schema["items"], (*place, "0"))


def test_every_example_of_a_field_is_one_that_the_field_takes() -> None:
    definition = custom_resource_definitions()["perennial.dev_modeldeployments.yaml"]
    spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    silent = set()
    for place, field in fields(spec, ("spec",)):
        text = shapes.words(field, place[-1], None, validation.accepts)
        if text:
            assert validation.accepts(field, yaml.safe_load(text)[place[-1]]), place
        else:
            silent.add(".".join(place))
    assert silent <= {
        "spec.data", "spec.data.columns", "spec.model", "spec.model.digest", "spec.rollout",
        "spec.rollout.metrics.0.prometheus", "spec.training.recipe.classWeights.weights",
    }  # fmt: skip


# ---- files ----


def test_a_problem_is_told_with_file_line_object_and_field(tmp_path: Path) -> None:
    text = GOOD.replace("path: /delays", "path: delays")
    name = file(tmp_path, "# a comment\n---\n" + text)
    line = 3 + text.splitlines().index("      path: delays")
    done = lint(name)
    assert done.exit_code == 1
    assert done.stdout.startswith(f"{name}:{line}: ModelDeployment delays: spec.serving.route.path: ")
    assert "1 object in 1 file: 1 problem" in done.stderr


def test_json_is_for_programs(tmp_path: Path) -> None:
    done = lint("-o", "json", file(tmp_path, GOOD.replace("gw", "")))
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert {"file", "line", "kind", "name", "path", "message"} == found[0].keys()
    assert json.loads(lint("-o", "json", file(tmp_path, GOOD)).stdout) == []


def test_standard_input_folders_and_other_kinds(tmp_path: Path) -> None:
    done = lint("-", given=f"{GOOD}---\nkind: Service\napiVersion: v1\n---\n")
    assert (done.exit_code, done.stderr) == (0, "1 object in 1 file, 1 of other kinds not looked at: nothing is wrong\n")
    file(tmp_path, GOOD, "a.yaml")
    (tmp_path / "inner").mkdir()
    file(tmp_path / "inner", json.dumps(deployment()), "b.json")
    file(tmp_path, "no manifest", "README.md")
    assert lint(str(tmp_path)).stderr == "2 objects in 2 files: nothing is wrong\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1\n", "no YAML"),
        ("a: 1\nb: 2\na: 3\n", ":3: the key a is there twice"),
        ("a: !!python/object:os.system x\n", "no YAML"),
        ("a: &a [*a]\n", "an alias names what it stands in"),
        ("a: .nan\n", "nothing that a manifest can hold"),
        (b"\xff\xfe", "no text in UTF-8"),
        (BOMB, "more than 200,000 values"),
        ("a: " + "[" * 5000, "no YAML"),
    ],
    ids=["open list", "a key twice", "a Python object", "an alias of itself", "NaN", "bytes", "a bomb", "deep"],
)
def test_what_is_no_manifest_is_told_and_nothing_more(tmp_path: Path, text: str | bytes, words: str) -> None:
    done = lint(file(tmp_path, text))
    assert done.exit_code == 1
    assert words in done.stdout
    assert "Traceback" not in done.output


def test_a_folder_without_manifests_is_a_wrong_call(tmp_path: Path) -> None:
    done = lint(str(tmp_path))
    assert done.exit_code == 64
    assert "nothing was looked at" in done.stderr


def test_an_unknown_field_hides_nothing_else() -> None:
    found = validation.problems(edited(deployment(), {"spec.shadow": {}, "spec.serving.replicas": 0, "metadata.lables": {}}))
    assert {one.path for one in found} == {"spec.shadow", "spec.serving.replicas", "metadata.lables"}


def test_what_has_nothing_of_ours_is_not_called_right(tmp_path: Path) -> None:
    for given in ("", "---\n# nothing\n---\n"):
        empty = lint("-", given=given)
        assert (empty.exit_code, "no manifest in standard input: nothing was looked at" in empty.stderr) == (64, True)
    others = lint(file(tmp_path, "kind: Service\napiVersion: v1\n"))
    assert (others.exit_code, "nothing is wrong" in others.stderr) == (0, False)
    assert "none is Perennial's, so nothing was checked" in others.stderr


def test_an_unknown_field_hides_no_rule() -> None:
    steps = [{"weight": 50, "hold": "10s"}, {"weight": 10, "hold": "10s"}]
    found = validation.problems(edited(deployment(), {"spec.shadow": {}, "spec.rollout.steps": steps}))
    assert {one.path for one in found} == {"spec.shadow", "spec.rollout"}


def test_a_file_that_is_not_there_is_a_wrong_call() -> None:
    done = lint("nothing.yaml")
    assert done.exit_code == 64
    assert "nothing.yaml: no such file or folder" in done.stderr


def test_scalars_are_read_as_kubectl_reads_them() -> None:
    text = "date: 2026-01-02\ntime: 1:30\nlarge: 1e3\nyes: on\nhex: 0x10\nplain: 1.0\n"
    value = next(documents.documents(text)).value
    assert value == {"date": "2026-01-02", "time": "1:30", "large": 1000.0, "true": True, "hex": 16, "plain": 1.0}


# ---- the program ----


def test_every_verb_is_listed_and_has_help_with_examples() -> None:
    listed = CliRunner().invoke(main, ["--help"])
    for verb in VERBS:
        assert verb in listed.stdout
        assert "Examples:" in CliRunner().invoke(main, [verb, "--help"]).stdout


def test_an_unknown_verb_is_refused() -> None:
    done = CliRunner().invoke(main, ["promise"])
    assert done.exit_code == 64
    assert "promise" in done.stderr
