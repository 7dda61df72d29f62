"""Models as PaddleRec trains them, for tests of the import: configs, mappings and answers."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.servers import ROOT
from tests.shop import TRAINING_PYTHON

HASH = "python3.11" if sys.version_info >= (3, 11) else "python3.4"
"""The text hash of this interpreter, which the training environment shares, under PYTHONHASHSEED=0."""

PROFILE = ("age", "sex", "city_level", "province", "city", "country")
_SOURCES = (*(f"user.{name}" for name in PROFILE), "item.sku_id", "item.brand", "item.shopid", "item.cate")
_DIVISORS = {
    "user.age": 6,
    "user.city_level": 6,
    "user.province": 31,
    "user.city": 310,
    "item.brand": 60,
    "item.cate": 10,
}
_SIZE, _WORDS = 1009, 64

Config = dict[str, Any]
Query = tuple[str, str]
"""A user and an item for a ranker; a side (user, item) and an id for towers."""


@dataclass(frozen=True)
class Trained:
    """A trained model.

    Attributes:
        folder: Where it was saved.
        answers: Scores or vectors that Paddle Inference gives for inputs made by the script.
    """

    folder: Path
    answers: Mapping[Query, Any]

    def write_mapping(self, mapping: Mapping[str, Any]) -> Path:
        """Write the mapping into the folder of the model. Returns the folder."""
        return write_mapping(self.folder, mapping)


def trained(folder: Path, data: Path, models: Mapping[str, tuple[Config, Sequence[Query]]]) -> dict[str, Trained]:
    """Train models below a folder, all in one process.

    Args:
        folder: Where the models go.
        data: The data set.
        models: Config and queries of each model, by name.

    Returns:
        The models, by name.
    """
    for name, (config, asked) in models.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "config.yaml").write_text(yaml.safe_dump(config))
        (folder / name / "asked.json").write_text(json.dumps(asked))
    script = [str(TRAINING_PYTHON), str(ROOT / "tests" / "train" / "paddlerec.py")]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
    folders = [str(folder / name) for name in models]
    ended = subprocess.run([*script, str(data), *folders], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return {name: _trained(folder / name, config, queries) for name, (config, queries) in models.items()}


def _trained(folder: Path, config: Config, asked: Sequence[Query]) -> Trained:
    runner = config["runner"]
    answers = json.loads((folder / "answers.json").read_text())
    return Trained(
        folder / runner["model_save_path"] / str(runner["epochs"] - 1), dict(zip(asked, answers, strict=True))
    )


def ranker_config(model: str, mode: str, slots: int, dense: int, *, with_label: bool = False) -> Config:
    """A config of models/rank/deepfm or dnn with small layers; `with_label` exports the training label as an input."""
    feeds = [*(f"C{k}" for k in range(1, slots + 1)), "dense_input"]
    score = "softmax_0.tmp_0" if model == "dnn" else "sigmoid_0.tmp_0"
    return {
        "model": model,
        "mode": mode,
        "runner": {
            "epochs": 3,
            "train_batch_size": 64,
            "model_save_path": "output_model",
            "use_inference": True,
            "save_inference_feed_varnames": [*feeds, "label"] if with_label else feeds,
            "save_inference_fetch_varnames": ["mean_0.tmp_0" if with_label else score],
        },
        "hyper_parameters": {
            "sparse_inputs_slots": slots + 1,
            "sparse_feature_number": _SIZE,
            "sparse_feature_dim": 9,
            "dense_input_dim": dense,
            "fc_sizes": [32, 16],
        },
    }


def ranker_mapping(mode: str, slots: int, dense: int) -> dict[str, Any]:
    """The mapping of the model of that config."""
    sparse, dense_name, first = (
        ("sparse_inputs_{}", "dense_inputs", 0) if mode == "dygraph" else ("C{}", "dense_input", 1)
    )
    inputs: dict[str, Any] = {
        sparse.format(k + first): hashed(_SOURCES[k % len(_SOURCES)], _SIZE, str(14 + k)) for k in range(slots)
    }
    names = [list(_DIVISORS)[k % len(_DIVISORS)] for k in range(dense)]
    inputs[dense_name] = [{"from": name, "number": {"divide": _DIVISORS[name]}} for name in names]
    return {"inputs": inputs}


def dssm_config() -> Config:
    """A config of a DSSM with small layers."""
    runner = {"epochs": 1, "train_batch_size": 32, "model_save_path": "output_model"}
    return {"model": "dssm", "mode": "static", "runner": runner, "hyper_parameters": {"fc_sizes": [32, 16]}}


def dssm_mapping() -> dict[str, Any]:
    """The mapping of the DSSM: bags of hashed words on both sides."""

    def bags(*sources: str) -> list[dict[str, Any]]:
        return [{**hashed(source, _WORDS), "multi_hot": True, "width": _WORDS} for source in sources]

    return {
        "user": tower("user", {"query": bags("user.age", "user.sex")}) | {"normalize": True},
        "item": tower("item", {"doc_pos": bags("item.sku_id", "item.brand")}) | {"normalize": True},
    }


def movie_config() -> Config:
    """A config of the movie recommender, whose movie tower keeps the batch size of its training."""
    return {
        "model": "movie",
        "mode": "static",
        "runner": {"epochs": 1, "train_batch_size": 1, "model_save_path": "output_model"},
        "hyper_parameters": {"sparse_feature_number": _SIZE, "sparse_feature_dim": 9, "fc_sizes": [16, 8]},
    }


def movie_mapping() -> dict[str, Any]:
    """The mapping of the movie recommender."""
    users = {"userid": "user.user_id", "age": "user.age", "sex": "user.sex"}
    items = {"movieid": "item.sku_id", "genres": "item.cate"}
    title = {**hashed("item.brand", _SIZE), "split": " ", "missing": 0}
    return {
        "user": tower("user", {name: hashed(source, _SIZE) for name, source in users.items()}),
        "item": tower("item", {name: hashed(source, _SIZE) for name, source in items.items()} | {"title": title}),
    }


def hashed(source: str, size: int, prefix: str = "") -> dict[str, Any]:
    """A slot that hashes a field to `size` ids."""
    return {"from": source, "hash": {"by": HASH, "size": size, "prefix": prefix}}


def tower(side: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping of one of the towers."""
    return {"model": f"{side}/rec_inference", "inputs": dict(inputs)}


def write_mapping(folder: Path, mapping: Mapping[str, Any]) -> Path:
    """Write a mapping into a folder, which is created if needed. Returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mapping.yaml").write_text(yaml.safe_dump(dict(mapping), sort_keys=False))
    return folder
