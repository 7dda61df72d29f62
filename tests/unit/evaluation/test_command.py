"""`recmesh evaluate` on files and on a data set, from the command line."""

import json
from collections.abc import Sequence
from math import log2
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from recmesh.cli.main import app
from recmesh.dataset import read, synthetic
from recmesh.errors import DataError, RecmeshError, SettingsError


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    if done.exception is not None:
        raise done.exception
    return done.output


def pairs(path: Path, rows: Sequence[tuple[str, str]]) -> Path:
    path.write_text("user_id,sku_id\n" + "".join(f"{user},{item}\n" for user, item in rows), encoding="utf-8")
    return path


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    return pairs(tmp_path / "truth.csv", [("ann", "01"), ("ann", "2"), ("bob", "2"), ("eve", "3"), ("ann", "2")])


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    """Ann gets one of two wanted items at rank two (item 1 is not item 01), Bob none, and Eve has no list."""
    rows = [("ann", "1"), ("ann", "2"), ("ann", "2"), ("bob", "9"), ("zed", "3")]
    return pairs(tmp_path / "predictions.csv", rows)


def test_predictions_get_the_scores_worked_out_by_hand(predictions: Path, truth: Path) -> None:
    found = json.loads(run("--predictions", predictions, "--truth", truth, "--k", "1,10", "--json"))
    second = 1 / log2(3)
    assert found["recall@1"] == {"mean": 0.0, "error": 0.0}
    # Recalls 0.5, 0, 0: mean 1/6, standard deviation sqrt(1/18), of three users.
    assert found["recall@10"]["mean"] == pytest.approx(1 / 6)
    assert found["recall@10"]["error"] == pytest.approx((1 / 18) ** 0.5 / 3**0.5)
    assert found["ndcg@10"]["mean"] == pytest.approx(second / (1 + second) / 3)
    assert (found["users"], found["users_without_predictions"], found["not_counted"]) == (3, 1, 1)


def test_the_table_shows_the_scores_with_intervals(predictions: Path, truth: Path) -> None:
    shown = run("--predictions", predictions, "--truth", truth)
    assert "recall@50" in shown
    # 1/6 ± 1.96 * 0.13608, cut at 0.
    assert "0.1667" in shown and "0.0000 to 0.4334" in shown
    assert "3 users, 1 of them without predictions" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["--predictions", "p.csv"],
        ["--truth", "t.csv"],
        ["--split", "folder"],
        ["r1", "--predictions", "p.csv", "--truth", "t.csv"],
        ["--predictions", "p.csv", "--truth", "t.csv", "--k", "ten"],
        ["--predictions", "p.csv", "--truth", "t.csv", "--k", "0"],
    ],
)
def test_wrong_options_are_an_error_in_one_line(arguments: list[str]) -> None:
    with pytest.raises(SettingsError) as error:
        run(*arguments)
    assert "\n" not in str(error.value)


def test_an_error_names_the_unusable_file(predictions: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: no such file"):
        run("--predictions", predictions, "--truth", tmp_path / "none.csv")
    empty = pairs(tmp_path / "empty.csv", [])
    with pytest.raises(DataError, match="there is nothing to score against"):
        run("--predictions", predictions, "--truth", empty)
    (tmp_path / "other.csv").write_text("user,item\n1,2\n")
    with pytest.raises(DataError, match="no column user_id, sku_id"):
        run("--predictions", tmp_path / "other.csv", "--truth", predictions)


def test_an_empty_store_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecmeshError, match="no release to evaluate"):
        run("--store", tmp_path / "store")


def table(path: Path) -> pl.DataFrame:
    return pl.read_csv(path, infer_schema=False)


def test_a_split_keeps_later_actions_out_of_the_training_data(tmp_path: Path) -> None:
    shop = synthetic(tmp_path / "shop", users=300, products=250)
    shown = run("--split", shop, "--out", tmp_path / "cut")
    cut = tmp_path / "cut"
    train, whole = read(cut / "train"), read(shop)
    day = train.actions["time"].max()
    assert isinstance(day, int)
    later = whole.actions.filter(pl.col("time") > day)
    assert 0.15 < len(later) / len(whole.actions) < 0.3
    assert train.schema.action.weights == whole.schema.action.weights
    assert train.items.equals(whole.items)
    cold = table(cut / "queries_cold.csv")
    known = set(train.users["user_id"])
    assert cold.columns == whole.users.columns and known.isdisjoint(cold["user_id"])
    seen = set(train.actions.select(pl.col("user_id", "sku_id").cast(pl.String)).rows())
    novel, repeat = (set(table(cut / f"truth_{name}.csv").rows()) for name in ("novel", "repeat"))
    assert novel and novel < repeat and novel.isdisjoint(seen)
    assert repeat <= set(later.select(pl.col("user_id", "sku_id").cast(pl.String)).rows())
    for name in ("novel", "repeat", "cold"):
        queries, truth = table(cut / f"queries_{name}.csv"), table(cut / f"truth_{name}.csv")
        assert set(queries["user_id"]) == set(truth["user_id"])
        assert f"--queries {cut}/queries_{name}.csv" in shown
    assert f"make up DATASET={cut}/train" in shown


def test_only_positive_actions_are_the_truth(tmp_path: Path) -> None:
    folder = tmp_path / "rated"
    folder.mkdir()
    (folder / "schema.yaml").write_text(
        "user: {id: u}\nitem: {id: i}\n"
        "action: {user: u, item: i, time: t, type: k, weights: {buy: 1, look: 0}, "
        'value: {column: v, positive: ">= 2"}}\n'
    )
    users = [f"{user:02}" for user in range(20)]
    (folder / "users.csv").write_text("u\n" + "".join(f"{user}\n" for user in users))
    (folder / "products.csv").write_text("i\n" + "".join(f"{item}\n" for item in "abcdefgh"))
    known = [f"{user},{item},2024-01-01,buy,2" for user in users for item in "abcdabcdabcdabcdabcdabcd"[:20]]
    # e is only looked at, f is rated low, g is returned, and d is bought again.
    later = [("e", "look", 5), ("f", "buy", 1), ("g", "buy", 3), ("g", "buy", -3), ("h", "buy", 2), ("d", "buy", 2)]
    rows = [
        f"{user},{item},2024-02-0{day},{kind},{v}" for user in users for day, (item, kind, v) in enumerate(later, 1)
    ]
    (folder / "actions.csv").write_text("u,i,t,k,v\n" + "\n".join(dict.fromkeys([*known, *rows])) + "\n")

    run("--split", folder, "--out", tmp_path / "cut")

    assert set(table(tmp_path / "cut" / "truth_novel.csv")["sku_id"]) == {"h"}
    assert set(table(tmp_path / "cut" / "truth_repeat.csv")["sku_id"]) == {"d", "h"}
    assert set(table(tmp_path / "cut" / "truth_cold.csv")["sku_id"]) <= {"a", "b", "c", "d", "h"}
    train = read(tmp_path / "cut" / "train")
    assert train.schema.action.rule == read(folder).schema.action.rule


def test_a_split_is_reproducible_and_depends_on_the_seed(tmp_path: Path) -> None:
    shop = synthetic(tmp_path / "shop", users=120, products=250)
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        run("--split", shop, "--out", tmp_path / name, "--seed", seed)
    first, again, other = ((tmp_path / name / "truth_cold.csv").read_text() for name in ("first", "again", "other"))
    assert first == again != other


def test_the_split_is_by_the_order_of_actions_if_few_users_return(tmp_path: Path) -> None:
    folder = tmp_path / "once"
    folder.mkdir()
    (folder / "schema.yaml").write_text(
        'user: {id: u, fields: {age: {kind: categorical, column: "Age"}}}\nitem: {id: i, fields: {}}\n'
        "action: {user: u, item: i, time: t, weights: {order: 1}}\nrepeats: false\n"
    )
    users = [f"{user:02}" for user in range(40)]
    (folder / "users.csv").write_text("u,Age\n" + "".join(f'{user},"a,""b"""\n' for user in users))
    (folder / "products.csv").write_text("i\n" + "".join(f"{item}\n" for item in range(10)))
    rows = [f"{user},{n},2024-01-01T{hour:02}:{n:02}:00" for hour, user in enumerate(users[:20]) for n in range(5)]
    rows += [f"{user},{n},2024-02-01T{hour:02}:{n:02}:00" for hour, user in enumerate(users[20:]) for n in range(5)]
    (folder / "actions.csv").write_text("u,i,t\n" + "\n".join(rows) + "\n")

    shown = run("--split", folder, "--out", tmp_path / "cut", "--json")

    assert json.loads(shown) == {
        "rule": "cut at 80 % of each user's own actions",
        "train": 36 * 4,
        "novel": 36,
        "cold": 4,
    }
    assert set(table(tmp_path / "cut" / "truth_novel.csv")["sku_id"]) == {"4"}
    assert read(tmp_path / "cut" / "train").users["age"].unique().to_list() == ['a,"b"']
    assert len(table(tmp_path / "cut" / "truth_cold.csv")) == 4 * 5
