"""Small models, trained and exported as PaddleRec does it: keys of configs, names of inputs, names of files.

    PYTHONHASHSEED=0 python paddlerec.py DATA FOLDER...

For each folder, trains the model of config.yaml and saves it below runner.model_save_path. Then answers the queries of
asked.json with the saved model and Paddle Inference, and writes the answers to answers.json.

The script was written for these tests and shares no code with recmesh. It computes inputs from the files of the data
set on its own, so that its answers are the ground truth for an import. Configs have two additional keys, `model`
(deepfm, dnn, dssm, movie) and `mode` (static, dygraph). Queries are pairs of a user and an item for rankers, and of a
side (user, item) and an id for towers.
"""

import csv
import json
import os
import random
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import paddle
import yaml
from paddle import inference, nn
from paddle.nn import functional
from paddle.static import InputSpec

USER = ("age", "sex", "city_level", "province", "city", "district")
ITEM = ("sku_id", "brand", "shop", "cate")
SLOTS = (*USER, *ITEM)
SCALE = {"age": 6.0, "city_level": 6.0, "province": 31.0, "city": 310.0, "brand": 60.0, "cate": 10.0}
WORDS, TERMS, STEPS = 64, 3, 60
RANKERS = ("deepfm", "dnn")

Array = npt.NDArray[Any]
Inputs = dict[str, Array]
Config = dict[str, Any]
Pairs = Sequence[tuple[str, str]]


class Data:
    """Users, items and actions of a data set in the v0 form."""

    def __init__(self, folder: Path) -> None:
        self.users = {r[0]: dict(zip(USER, r[1:], strict=True)) for r in _rows(folder / "users.dat")}
        self.items = {r[0]: dict(zip(ITEM, r, strict=True)) for r in _rows(folder / "products.dat")}
        self.skus = sorted(self.items)
        with (folder / "actions.csv").open() as file:
            self.actions = [(r["user_id"], r["sku_id"]) for r in csv.DictReader(file)]

    def batches(self, size: int) -> Iterator[tuple[Pairs, Array]]:
        """Batches of pairs, half of which are actions, and their labels [size, 1]."""
        rng = random.Random(1)
        liked = rng.choices(self.actions, k=STEPS * size)
        pairs = [pair if n % 2 else (pair[0], rng.choice(self.skus)) for n, pair in enumerate(liked)]
        labels = np.arange(len(pairs))[:, None] % 2
        for at in range(0, len(pairs), size):
            yield pairs[at : at + size], labels[at : at + size]


def _rows(path: Path) -> list[list[str]]:
    return [line.split(":") for line in path.read_text().splitlines()]


def criteo(config: Config, data: Data, pairs: Pairs) -> Inputs:
    """Inputs of DeepFM and DNN by name, as in their Criteo reader: hashed slots C1, C2, ... and a dense input."""
    hyper, rows = config["hyper_parameters"], [data.users[user] | data.items[sku] for user, sku in pairs]
    inputs: Inputs = {}
    for k in range(hyper["sparse_inputs_slots"] - 1):
        name = SLOTS[k % len(SLOTS)]
        ids = [[hash(f"{14 + k}{row[name]}") % hyper["sparse_feature_number"]] for row in rows]
        inputs[f"C{k + 1}"] = np.array(ids, np.int64)
    scaled = [list(SCALE)[k % len(SCALE)] for k in range(hyper["dense_input_dim"])]
    inputs["dense_input"] = np.array([[float(row[name]) / SCALE[name] for name in scaled] for row in rows], np.float32)
    return inputs


def bag(texts: Iterable[str]) -> Array:
    """A bag of hashed words, the input of a DSSM for a query or a document."""
    marks = np.zeros(WORDS, np.float32)
    marks[[hash(text) % WORDS for text in texts]] = 1
    return marks


def tower(config: Config, data: Data, side: str, keys: Sequence[str]) -> Inputs:
    """Inputs of a tower by name."""
    rows = [data.users[key] | {"userid": key} if side == "user" else data.items[key] for key in keys]
    if config["model"] == "dssm":
        name, fields = ("query", USER[:2]) if side == "user" else ("doc_pos", ITEM[:2])
        return {name: np.array([np.concatenate([bag([row[field]]) for field in fields]) for row in rows])}
    size = config["hyper_parameters"]["sparse_feature_number"]
    names = {"userid": "userid", "age": "age", "sex": "sex"}
    if side == "item":
        names = {"movieid": "sku_id", "genres": "cate"}
    inputs = {name: np.array([[hash(row[field]) % size] for row in rows], np.int64) for name, field in names.items()}
    if side == "item":
        inputs["title"] = np.array([[hash(row["brand"]) % size] + [0] * (TERMS - 1) for row in rows], np.int64)
    return inputs


class DeepFM(nn.Layer):  # type: ignore[misc]  # Paddle has no types
    """A DeepFM that gives the probability of an action."""

    def __init__(self, hyper: Config) -> None:
        super().__init__()
        size, dim, dense = hyper["sparse_feature_number"], hyper["sparse_feature_dim"], hyper["dense_input_dim"]
        self.first, self.embedding = nn.Embedding(size, 1, sparse=True), nn.Embedding(size, dim, sparse=True)
        self.dense_first = self.create_parameter([dense], default_initializer=nn.initializer.Constant(1.0))
        self.dense_embedding = self.create_parameter([1, dense, dim])
        self.width = dim * (dense + hyper["sparse_inputs_slots"] - 1)
        self.deep = layers([self.width, *hyper["fc_sizes"], 1])

    def forward(self, sparse_inputs: list[paddle.Tensor], dense_inputs: paddle.Tensor) -> paddle.Tensor:
        """Score pairs, float32 [N, 1]."""
        ids = paddle.concat(sparse_inputs, 1)
        linear = self.first(ids).sum(1) + (dense_inputs * self.dense_first).sum(1, keepdim=True)
        factors = paddle.concat([self.embedding(ids), dense_inputs.unsqueeze(2) * self.dense_embedding], 1)
        crossed = 0.5 * (factors.sum(1).square() - factors.square().sum(1)).sum(1, keepdim=True)
        return functional.sigmoid(linear + crossed + self.deep(factors.reshape([-1, self.width])))


class DNN(nn.Layer):  # type: ignore[misc]  # Paddle has no types
    """A network that gives the logits of two classes."""

    def __init__(self, hyper: Config) -> None:
        super().__init__()
        self.embedding = nn.Embedding(hyper["sparse_feature_number"], hyper["sparse_feature_dim"], sparse=True)
        self.width = hyper["sparse_feature_dim"] * (hyper["sparse_inputs_slots"] - 1)
        self.deep = layers([self.width + hyper["dense_input_dim"], *hyper["fc_sizes"], 2])

    def forward(self, sparse_inputs: list[paddle.Tensor], dense_inputs: paddle.Tensor) -> paddle.Tensor:
        """Logits of pairs, float32 [N, 2]."""
        embedded = self.embedding(paddle.concat(sparse_inputs, 1)).reshape([-1, self.width])
        return self.deep(paddle.concat([embedded, dense_inputs], 1))


def layers(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers of the given sizes, with ReLU in between."""
    parts: list[nn.Layer] = []
    for number, (before, after) in enumerate(pairwise(sizes)):
        parts += [nn.Linear(before, after)] + ([nn.ReLU()] if number < len(sizes) - 2 else [])
    return nn.Sequential(*parts)


def cost_of(config: Config, answer: paddle.Tensor, label: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
    """The cost [1] and the score, which is the softmax of the logits for a DNN."""
    if config["model"] == "dnn":
        return functional.cross_entropy(answer, label).mean(), functional.softmax(answer)
    return functional.log_loss(answer, label.astype("float32")).mean(), answer


def ranker(config: Config) -> nn.Layer:
    """A ranker with random weights."""
    return (DNN if config["model"] == "dnn" else DeepFM)(config["hyper_parameters"])


def train_dygraph_ranker(config: Config, data: Data) -> None:
    """Train a ranker and save it as `tostatic`, as tools/to_static.py does."""
    net = ranker(config)
    optimizer = paddle.optimizer.Adam(0.01, parameters=net.parameters(), lazy_mode=True)
    for pairs, labels in data.batches(config["runner"]["train_batch_size"]):
        *sparse, dense = map(paddle.to_tensor, criteo(config, data, pairs).values())
        cost, _ = cost_of(config, net(sparse, dense), paddle.to_tensor(labels))
        cost.backward()
        optimizer.step()
        optimizer.clear_grad()
    net.eval()
    shapes = [[InputSpec([None, 1], "int64") for _ in sparse], InputSpec([None, dense.shape[1]], "float32")]
    paddle.jit.save(paddle.jit.to_static(net, input_spec=shapes), str(saved(config, "tostatic")))


def train_static_ranker(config: Config, data: Data) -> None:
    """Train a ranker and save it as `rec_inference` with the inputs and output of the config, as static_trainer.py."""
    hyper, runner = config["hyper_parameters"], config["runner"]
    names = [f"C{k}" for k in range(1, hyper["sparse_inputs_slots"])]
    sparse = [paddle.static.data(name, [None, 1], "int64") for name in names]
    dense = paddle.static.data("dense_input", [None, hyper["dense_input_dim"]], "float32")
    label = paddle.static.data("label", [None, 1], "int64")
    cost, _ = cost_of(config, ranker(config)(sparse, dense), label)
    steps = ((criteo(config, data, pairs), labels) for pairs, labels in data.batches(runner["train_batch_size"]))
    executor = run(cost, ({**inputs, "label": labels} for inputs, labels in steps))
    variables = paddle.static.default_main_program().global_block().vars
    feeds = [variables[name] for name in runner["save_inference_feed_varnames"]]
    fetched = [variables[name] for name in runner["save_inference_fetch_varnames"]]
    paddle.static.save_inference_model(str(saved(config, "rec_inference")), feeds, fetched, executor)


def train_towers(config: Config, data: Data) -> None:
    """Train two towers in a static program, and save them as user/rec_inference and item/rec_inference."""
    hyper, batch = config["hyper_parameters"], config["runner"]["train_batch_size"]
    table = None
    if config["model"] == "movie":
        table = nn.Embedding(hyper["sparse_feature_number"], hyper["sparse_feature_dim"])
    feeds: dict[str, list[Any]] = {}
    vectors: dict[str, Any] = {}
    for side, key in (("user", next(iter(data.users))), ("item", data.skus[0])):
        examples = tower(config, data, side, [key])
        feeds[side] = [
            paddle.static.data(name, [-1, array.shape[1]], str(array.dtype)) for name, array in examples.items()
        ]
        parts = feeds[side]
        if table:
            # The movie tower of PaddleRec has a fixed batch size.
            rows = batch if side == "item" else -1
            parts = [table(part.reshape([rows, part.shape[1]])).sum(1) for part in parts]
        vectors[side] = layers([sum(part.shape[1] for part in parts), *hyper["fc_sizes"]])(paddle.concat(parts, 1))
    label = paddle.static.data("label", [-1, 1], "float32")
    cosine = functional.cosine_similarity(vectors["user"], vectors["item"], axis=1).reshape([-1, 1])
    cost = functional.square_error_cost(cosine, label).mean()
    executor = run(cost, (tower_feed(config, data, *step) for step in data.batches(batch)))
    for side, vector in vectors.items():
        paddle.static.save_inference_model(str(saved(config, f"{side}/rec_inference")), feeds[side], [vector], executor)


def tower_feed(config: Config, data: Data, pairs: Pairs, labels: Array) -> Inputs:
    """Inputs of both towers and their labels."""
    users, skus = zip(*pairs, strict=True)
    both = tower(config, data, "user", users) | tower(config, data, "item", skus)
    return both | {"label": labels.astype(np.float32)}


def run(cost: Any, steps: Iterable[Inputs]) -> Any:
    """Train the program. Returns its executor."""
    paddle.optimizer.Adam(0.01, lazy_mode=True).minimize(cost)
    executor = paddle.static.Executor(paddle.CPUPlace())
    executor.run(paddle.static.default_startup_program())
    for feed in steps:
        executor.run(feed=feed, fetch_list=[cost])
    return executor


def saved(config: Config, name: str) -> Path:
    """Path of a saved model, without suffixes."""
    runner = config["runner"]
    prefix = Path(runner["model_save_path"]) / str(runner["epochs"] - 1) / name
    prefix.parent.mkdir(parents=True, exist_ok=True)
    return prefix


def train(config: Config, data: Data) -> None:
    """Train and save the model of a config."""
    if config["mode"] == "dygraph":
        train_dygraph_ranker(config, data)
        return
    paddle.enable_static()
    program, startup = paddle.static.Program(), paddle.static.Program()
    program.random_seed = startup.random_seed = 1
    scopes = paddle.static.program_guard(program, startup), paddle.static.scope_guard(paddle.static.Scope())
    with scopes[0], scopes[1], paddle.utils.unique_name.guard():
        (train_static_ranker if config["model"] in RANKERS else train_towers)(config, data)
    paddle.disable_static()


def answers(config: Config, data: Data, asked: Pairs) -> list[Any]:
    """Answers of the saved model, computed by Paddle Inference as tools/paddle_infer.py does."""
    if config["model"] in RANKERS:
        name = "tostatic" if config["mode"] == "dygraph" else "rec_inference"
        found = infer(predictor(saved(config, name)), criteo(config, data, asked))
        if config["model"] == "dnn" and config["mode"] == "dygraph":
            found = functional.softmax(paddle.to_tensor(found)).numpy()
        scores: list[Any] = found[:, -1].tolist()
        return scores
    predictors = {side: predictor(saved(config, f"{side}/rec_inference")) for side in ("user", "item")}
    return [infer(predictors[side], tower(config, data, side, [key]))[0].tolist() for side, key in asked]


def predictor(prefix: Path) -> inference.Predictor:
    """A predictor of a saved model."""
    settings = inference.Config(f"{prefix}.pdmodel", f"{prefix}.pdiparams")
    settings.disable_glog_info()
    return inference.create_predictor(settings)


def infer(model: inference.Predictor, inputs: Mapping[str, Array]) -> Array:
    """The first output of a predictor."""
    for name, array in zip(model.get_input_names(), inputs.values(), strict=True):
        model.get_input_handle(name).copy_from_cpu(np.ascontiguousarray(array))
    model.run()
    output: Array = model.get_output_handle(model.get_output_names()[0]).copy_to_cpu()
    return output


if __name__ == "__main__":
    shop = Data(Path(sys.argv[1]))
    for place in sys.argv[2:]:
        os.chdir(place)
        settings = yaml.safe_load(Path("config.yaml").read_text())
        paddle.seed(1)
        train(settings, shop)
        asked = json.loads(Path("asked.json").read_text())
        Path("answers.json").write_text(json.dumps(answers(settings, shop, asked) if asked else []))
