"""Models trained as PaddleRec trains them become releases with the answers of Paddle Inference."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.json_format import ParseDict

from recmesh.errors import ReleaseError
from recmesh.features import Encoder
from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.user_info_pb2 import History, UserInfo
from recmesh.releases import ModelStore, ReferenceRequest, beats_popularity, read_manifest
from recmesh.serving.compute_gate import ComputeGate
from recmesh.serving.models import UnknownValues, UserFeatureCache
from recmesh.serving.stages import RequestUser, ScoreQuery
from services.rank.app import warmed
from services.rank.backend import OnnxBackend
from services.rank.core import RankCore, RankRelease
from tests.servers import ROOT
from tests.train import elsewhere
from tests.train.conftest import Run, inside
from tests.train.elsewhere import PROFILE, Trained, ranker_config, ranker_mapping, write_mapping

SMALL, LARGE = (10, 2), (26, 13)
"""Numbers of sparse slots and of dense inputs. Criteo has 26 and 13."""

RANKERS = {
    "deepfm": (ranker_config("deepfm", "static", *SMALL), ranker_mapping("static", *SMALL)),
    "dnn": (ranker_config("dnn", "static", *LARGE), ranker_mapping("static", *LARGE) | {"output": {"column": 1}}),
    "deepfm, dygraph": (ranker_config("deepfm", "dygraph", *LARGE), ranker_mapping("dygraph", *LARGE)),
    "dnn, dygraph": (
        ranker_config("dnn", "dygraph", *SMALL),
        ranker_mapping("dygraph", *SMALL) | {"output": {"column": 1, "softmax": True}},
    ),
}
TOWERS = {
    "dssm": (elsewhere.dssm_config(), elsewhere.dssm_mapping()),
    "movie": (elsewhere.movie_config(), elsewhere.movie_mapping()),
}
WITH_LABEL = ranker_config("deepfm", "static", *SMALL, with_label=True)

Wrong = tuple[Callable[[dict[str, Any]], object], str]
Fields = Mapping[str, Mapping[str, str]]
"""The fields of users or items, by id."""


def _slot(name: str, slot: Any) -> Callable[[dict[str, Any]], object]:
    return lambda mapping: mapping["inputs"].update({name: slot})


def _renamed(mapping: dict[str, Any]) -> None:
    mapping["inputs"]["C11"] = mapping["inputs"].pop("C10")


def _without_items(mapping: dict[str, Any]) -> None:
    for name, slot in mapping["inputs"].items():
        if name != "dense_input" and slot["from"].startswith("item."):
            mapping["inputs"][name] = {"constant": 0}


def _scaled(divide: float) -> list[dict[str, Any]]:
    return [{"from": f"user.{name}", "number": {"divide": divide}} for name in ("country", "city")]


WRONG_RANKERS: dict[str, Wrong] = {
    "name": (_renamed, "inputs.C11: rec_inference.pdmodel has no such input; its inputs are C1, C2, "),
    "left out": (lambda m: m["inputs"].pop("C3"), "also needs C3 (int64 [-1, 1]), which the mapping lacks"),
    "shape": (
        _slot("dense_input", {"from": "user.age", "number": {}}),
        "inputs.dense_input: the mapping gives 1 columns, the model expects 2",
    ),
    "dtype": (_slot("C1", {"from": "user.age", "number": {}}), "inputs.C1: the model expects ids (int64)"),
    "ids as floats": (
        _slot("dense_input", [elsewhere.hashed("user.age", 7), {"constant": 0}]),
        "inputs.dense_input: the model expects floats (float32)",
    ),
    "field": (
        _slot("C1", elsewhere.hashed("user.agee", 7)),
        "inputs.C1: from user.agee: the data set has no such field; its fields are age, ",
    ),
    "table": (
        _slot("C7", elsewhere.hashed("item.sku_id", 2014)),
        "inputs.C7: from item.sku_id: the mapping gives ids up to 2013, and the model fails: ",
    ),
    "vocabulary": (
        _slot("C8", {"from": "item.brand", "vocabulary": {"acme": 1}}),
        "inputs.C8: the vocabulary has none of the ",
    ),
    "all ones": (
        _slot("dense_input", _scaled(1)),
        " for most items of a request, in ",
    ),
    "not finite": (_slot("dense_input", _scaled(1e-35)), "mapping.yaml: the score is nan; the largest input is "),
    "no item": (_without_items, "mapping.yaml: the score is the same for all items of a request, in "),
    "output": (lambda m: m.update(output={"number": 1}), "output.number: 1: the model has 1: "),
    "column": (lambda m: m.update(output={"column": 1}), "output.column: 1: there are 1"),
    "two rules": (
        _slot("C1", elsewhere.hashed("user.age", 7) | {"bounds": [1]}),
        "inputs.C1.0: give exactly one of hash, vocabulary, bounds and number; found hash, bounds",
    ),
    "unknown key": (lambda m: m.update(speed=9), "speed: Extra inputs are not permitted"),
    "no model": (lambda m: m.update(model="nothing"), "nothing.pdmodel: no such file"),
}


def _wrong_side(mapping: dict[str, Any]) -> None:
    mapping["user"]["inputs"]["query"][0]["from"] = "item.brand"


def _too_narrow(mapping: dict[str, Any]) -> None:
    mapping["item"]["inputs"]["doc_pos"][0]["hash"]["size"] = 99


def _no_inputs_read(mapping: dict[str, Any]) -> None:
    mapping["user"]["inputs"]["query"] = {"constant": 0}


WRONG_TOWERS: dict[str, Wrong] = {
    "side": (_wrong_side, "user: inputs.query: from item.brand: a user tower has no access to item"),
    "bag": (_too_narrow, "item: inputs.doc_pos: multi_hot: ids up to 98 do not fit into 64 columns"),
    "one vector": (_no_inputs_read, "user: all 240 vectors are equal: they do not depend on the inputs of the tower"),
}


@pytest.fixture(scope="session")
def store(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> ModelStore:
    """A separate store in which the trained release is active."""
    folder = tmp_path_factory.mktemp("import") / "store"
    shutil.copytree(trained.store.url, folder)
    own = ModelStore(str(folder))
    own.activate(trained.release)
    return own


@pytest.fixture(scope="session")
def users(shop_data: Path) -> Fields:
    """Some users of the shop, read from its file."""
    rows = [line.split(":") for line in (shop_data / "users.dat").read_text().splitlines()]
    return {row[0]: dict(zip(PROFILE, row[1:], strict=True)) for row in rows[::60]}


@pytest.fixture(scope="session")
def items(shop_data: Path) -> Fields:
    """All items of the shop, read from its file."""
    rows = [line.split(":") for line in (shop_data / "products.dat").read_text().splitlines()]
    return {row[0]: dict(zip(("brand", "shopid", "cate"), row[1:], strict=True)) for row in rows}


@pytest.fixture(scope="session")
def models(
    shop_data: Path, users: Fields, items: Fields, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Trained]:
    """All models, trained on the shop, with their mappings in the same folders."""
    pairs = [(user, item) for user in users for item in items]
    sides = [*(("user", user) for user in users), *(("item", item) for item in items)]
    plans = {name: (config, pairs) for name, (config, _) in RANKERS.items()}
    plans |= {name: (config, sides) for name, (config, _) in TOWERS.items()}
    made = elsewhere.trained(tmp_path_factory.mktemp("models"), shop_data, {**plans, "label": (WITH_LABEL, [])})
    for name, (_, mapping) in {**RANKERS, **TOWERS, "label": RANKERS["deepfm"]}.items():
        made[name].write_mapping(mapping)
    return made


IMPORT_ALL = """
import json, sys
from pathlib import Path
from jobs.import_model.pipeline import import_models
from recmesh.progress import Reporter
from jobs.train.report.incumbent import Incumbent
from recmesh.errors import RecmeshError
from recmesh.releases import ModelStore
store, data, work = ModelStore(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
made = {}
for name, base, *folders in json.loads(sys.argv[4]):
    ranker, towers = (Path(folder) if folder else None for folder in folders)
    try:
        outcome = import_models(store, made.get(base, ""), data, ranker, towers, work, Reporter())
        made[name] = outcome.release
    except RecmeshError as error:
        made[name] = f"refused: {error}"
store.activate(made["deepfm"], ())
facts = Incumbent.of(store, work, None, None).facts()
store.rollback(())
print(json.dumps([made, facts.model_dump()]))
"""


@pytest.fixture(scope="session")
def imported(
    store: ModelStore, models: dict[str, Trained], shop_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, str], dict[str, Any]]:
    """The imports, all run in one process.

    Returns:
        The release or the error of each import, by name, and the report of a training about an active imported release.
    """
    folder = tmp_path_factory.mktemp("imports")
    at = {name: str(model.folder) for name, model in models.items()}
    cases = [
        ("deepfm", "", at["deepfm"], ""),
        ("deepfm again", "", at["deepfm"], ""),
        ("dssm", "deepfm", "", at["dssm"]),
        ("dnn", "", at["dnn"], ""),
        ("deepfm, dygraph", "", at["deepfm, dygraph"], ""),
        ("dnn, dygraph", "", at["dnn, dygraph"], at["movie"]),
    ]
    for name, (spoil, _) in WRONG_RANKERS.items():
        mapping = copy.deepcopy(RANKERS["deepfm"][1])
        spoil(mapping)
        mapping["model"] = f"{at['deepfm']}/{mapping.get('model', 'rec_inference')}"
        cases.append((name, "", str(write_mapping(folder / name, mapping)), ""))
    for name, (spoil, _) in WRONG_TOWERS.items():
        cases.append((name, "", "", str(write_mapping(folder / name, _towers(spoil, at["dssm"], at["dssm"])))))
    both = write_mapping(folder / "dimensions", _towers(lambda mapping: None, at["dssm"], at["movie"]))
    cases.append(("dimensions", "", "", str(both)))
    cases.append(("damaged", "", str(damaged(models["deepfm"].folder, folder / "damaged")), ""))
    made, facts = inside(IMPORT_ALL, store.url, str(shop_data), str(folder / "work"), json.dumps(cases))
    return made, facts


@pytest.fixture(scope="session")
def imports(imported: tuple[dict[str, str], dict[str, Any]]) -> dict[str, str]:
    """The release or the error of each import, by name."""
    return imported[0]


def _towers(spoil: Callable[[dict[str, Any]], object], user: str, item: str) -> dict[str, Any]:
    mapping = {"user": elsewhere.dssm_mapping()["user"], "item": elsewhere.dssm_mapping()["item"]}
    if item != user:
        mapping["item"] = elsewhere.movie_mapping()["item"]
    spoil(mapping)
    for side, folder in (("user", user), ("item", item)):
        mapping[side]["model"] = f"{folder}/{mapping[side]['model']}"
    return mapping


def damaged(model: Path, folder: Path) -> Path:
    """A folder with a model whose weights are truncated."""
    shutil.copytree(model, folder)
    weights = folder / "rec_inference.pdiparams"
    weights.write_bytes(weights.read_bytes()[:1000])
    return folder


class FixedRelease:
    """A provider of releases that has only the release in `folder`."""

    def __init__(self, folder: Path, gate: ComputeGate) -> None:
        encoder = Encoder.load(folder)
        user_features = UserFeatureCache(encoder, folder)
        self._release = warmed(encoder, user_features, UnknownValues("rank", encoder), OnnxBackend(folder, gate))

    def get(self, release: str = "") -> tuple[str, RankRelease]:
        return "fixed", self._release


def user_info(user_id: str, fields: Mapping[str, str]) -> UserInfo:
    """A user with fields that have numbers of their own."""
    return ParseDict({"user_id": user_id, **fields}, UserInfo())


def item_info(sku_id: str, fields: Mapping[str, str]) -> ItemInfo:
    """An item with fields that have numbers of their own."""
    return ParseDict({"sku_id": sku_id, **fields}, ItemInfo())


async def served(folder: Path, user: UserInfo, **query: Any) -> list[float]:
    """The scores that rank gives with a release, in the order of the query."""
    gate = ComputeGate()
    core = RankCore(FixedRelease(folder, gate), gate)
    answer = await core.rank(ScoreQuery(**{"user": RequestUser(user, History()), "ids": (), **query}), 5.0)
    by_id = dict(zip(answer.ids, answer.scores, strict=True))
    return [by_id[sku] for sku in (*query.get("ids", ()), *(item.sku_id for item in query.get("items", ())))]


@pytest.mark.parametrize(("release", "ranker"), [*((name, name) for name in RANKERS), ("dssm", "deepfm")])
async def test_an_imported_ranker_gives_the_scores_of_the_original_model(
    release: str,
    ranker: str,
    models: dict[str, Trained],
    imports: dict[str, str],
    store: ModelStore,
    users: Fields,
    items: Fields,
    tmp_path: Path,
) -> None:
    folder = store.fetch(imports[release], tmp_path)
    for number, (user_id, profile) in enumerate(users.items()):
        info = user_info(user_id, profile)
        scores = await served(folder, info, ids=list(items), debiased=number % 2 == 1)
        expected = [models[ranker].answers[user_id, item] for item in items]
        np.testing.assert_allclose(scores, expected, atol=1e-5)
        assert np.ptp(expected) > 1e-3


def test_the_manifest_names_the_origin_of_the_models(
    imports: dict[str, str], store: ModelStore, tmp_path: Path
) -> None:
    folder = store.fetch(imports["deepfm"], tmp_path)
    manifest = read_manifest(folder)
    assert set(manifest.rankers.values()) == {"imported"}
    assert manifest.ranker is not None
    assert {name: tensor.width for name, tensor in manifest.ranker.inputs.items()} == {"dense": 2, "sparse": 10}
    assert set(ReferenceRequest.load(folder).outputs) == {"score", "affinity"}
    assert manifest.extra["imported"]["base"] == store.active()


def test_repeating_an_import_gives_the_same_release(imports: dict[str, str]) -> None:
    assert imports["deepfm again"] == imports["deepfm"]


async def test_an_unlisted_item_is_scored_by_its_fields_and_id(
    models: dict[str, Trained], imports: dict[str, str], store: ModelStore, users: Fields, items: Fields, tmp_path: Path
) -> None:
    folder = store.fetch(imports["deepfm"], tmp_path)
    (user_id, profile), (item, fields) = next(iter(users.items())), next(iter(items.items()))
    new = item_info("unknown item", fields)
    other = item_info("another unknown item", {name: f"{value}.0" for name, value in fields.items()})
    asked = [ItemInfo(sku_id=item), new, other]

    listed, unlisted, _ = await served(folder, user_info(user_id, profile), items=asked)

    assert listed == pytest.approx(models["deepfm"].answers[user_id, item], abs=1e-5)
    assert abs(unlisted - listed) > 1e-6, "the id must matter"


@pytest.mark.parametrize(("release", "pair"), [("dssm", "dssm"), ("dnn, dygraph", "movie")])
def test_imported_towers_give_the_vectors_of_the_original_models(
    release: str,
    pair: str,
    models: dict[str, Trained],
    imports: dict[str, str],
    store: ModelStore,
    users: Fields,
    tmp_path: Path,
) -> None:
    folder = store.fetch(imports[release], tmp_path)
    encoder, answers = Encoder.load(folder), models[pair].answers
    user_features = UserFeatureCache(encoder, folder)

    expected = _unit([answers["item", item] for item in encoder.catalogue.sku_ids], pair)
    np.testing.assert_allclose(np.load(folder / "item_vectors.npy"), expected, atol=1e-5)
    asked = [
        user_features.encode(RequestUser(user_info(user_id, profile), History()))[1]
        for user_id, profile in users.items()
    ]
    np.testing.assert_allclose(np.array(asked), _unit([answers["user", user_id] for user_id in users], pair), atol=1e-5)
    assert read_manifest(folder).dim == expected.shape[1]


def _unit(vectors: list[list[float]], pair: str) -> np.ndarray[Any, Any]:
    rows = np.array(vectors, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True) if pair == "dssm" else rows


def test_activation_without_held_out_metrics_needs_force(imports: dict[str, str], store: ModelStore) -> None:
    with pytest.raises(ReleaseError, match="models were imported: measure them"):
        store.activate(imports["deepfm"], [beats_popularity])
    with pytest.raises(ReleaseError, match=r"has no metrics\.json: its models were imported"):
        store.read(imports["deepfm"], "metrics.json")


def test_training_does_not_compare_itself_with_an_imported_release(
    imported: tuple[dict[str, str], dict[str, Any]],
) -> None:
    imports, facts = imported
    assert (facts["release"], facts["compared"]) == (imports["deepfm"], False)
    assert "may have seen the held-out labels" in facts["reason"]


@pytest.mark.parametrize("wrong", [*WRONG_RANKERS, *WRONG_TOWERS])
def test_errors_are_one_line_and_name_the_place(wrong: str, imports: dict[str, str]) -> None:
    line = imports[wrong]
    _, expected = (WRONG_RANKERS | WRONG_TOWERS)[wrong]
    assert line.startswith("refused: ")
    assert expected in line
    assert "\n" not in line
    assert f"{wrong}/mapping.yaml: " in line or ".pdmodel: no such file" in line, "the file must be named"


def test_a_damaged_model_and_towers_of_two_sizes_are_refused(imports: dict[str, str]) -> None:
    assert "damaged/rec_inference.pdmodel: Paddle 2.6.2 cannot read it: " in imports["damaged"]
    assert "user: vectors have 16 dimensions, but those of the item tower have 8" in imports["dimensions"]


def test_the_error_for_saturated_scores_names_the_largest_input(imports: dict[str, str]) -> None:
    score = r"mapping.yaml: the score is (1|0 or 1) for most items of a request, in \d+ of \d+ requests"
    figure = r"the largest input is \d{4}, inputs.dense_input: from user.country: was it scaled in training\?"
    assert re.search(f"{score}; {figure}$", imports["all ones"])
    assert imports["no item"].endswith("no input of the mapping is from item.FIELD")


def test_a_refused_import_leaves_no_release(store: ModelStore, trained: Run, imports: dict[str, str]) -> None:
    made = {release for release in imports.values() if not release.startswith("refused")}
    assert {release.id for release in store.list()} == {trained.release, *made}
    assert store.active() == trained.release


def run_import(
    store: ModelStore, data: Path, folder: Path, cwd: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "recmesh", "release", "import", "--store", store.url, "--ranker", str(folder)]
    return subprocess.run(
        [*words, "--dataset", str(data)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_model_exported_with_its_label_is_refused(
    store: ModelStore, shop_data: Path, models: dict[str, Trained], tmp_path: Path
) -> None:
    ended = run_import(store, shop_data, models["label"].folder, tmp_path)

    assert ended.returncode == ReleaseError.exit_code
    assert "also needs label (int64 [-1, 1]), which the mapping lacks" in ended.stderr
    assert ended.stderr.rstrip().endswith("export the model without its label")


def test_a_crash_of_paddle_is_reported_as_an_error_of_the_release(store: ModelStore, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nkill -ABRT $$\n")
    python.chmod(0o755)

    ended = run_import(store, tmp_path, tmp_path, tmp_path, RECMESH_TRAINING_PYTHON=str(python))

    assert ended.returncode == ReleaseError.exit_code
    assert ended.stderr.startswith("recmesh: SIGABRT ended the import: ")
