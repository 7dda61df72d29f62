"""The inputs that the encoder computes for requests."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from recmesh.errors import InvalidRequest, ReleaseError
from recmesh.features import Catalogue, Encoder, User
from recmesh.features.encoder import ITEM_VECTORS
from recmesh.features.mapped_inputs import MappedInputs, MappedModels
from recmesh.features.spec import DAY_MS, Array
from recmesh.values import ActionWeights, ValueRule
from tests.unit.features.toy import AS_OF, encoder


def buyer(made: Encoder, *actions: tuple[str, int], older: tuple[str, ...] = (), age: str = "1") -> User:
    """Make a user with orders of (sku, days ago), newest first."""
    times = [AS_OF - days * DAY_MS for _, days in actions]
    return made.user(
        {"age": age}, [sku for sku, _ in actions], times, ["order"] * len(times), [1.0] * len(times), older
    )


def rated(rule: ValueRule, view: float = 0.1) -> Encoder:
    """Make the encoder of a data set with values."""
    made = encoder()
    made.action_weights = ActionWeights.of({"view": view, "order": 1.0}, rule)
    return made


def column(made: Encoder, user: User, name: str, skus: str = "abcd") -> Array:
    """Return a dense input of the items."""
    inputs = made.ranker_inputs(user, made.catalogue.encode(list(skus)), new_only=False)
    values: Array = inputs["dense"][:, made.spec.dense.index(name)]
    return values


def test_actions_at_the_same_time_count_once() -> None:
    made = encoder()
    owned = buyer(made, ("b", 1), ("a", 1), ("a", 1), ("a", 5), ("unknown", 9)).owned
    assert owned.items.tolist() == [1, 0]
    assert owned.counts.tolist() == [1, 2]
    assert owned.steps.tolist() == [0, 0]
    assert owned.days.tolist() == [1, 1]


def test_the_order_of_a_history_does_not_matter() -> None:
    made = encoder()
    first, second = (buyer(made, *actions).owned for actions in ([("a", 1), ("b", 2)], [("b", 2), ("a", 1)]))
    assert first.items.tolist() == second.items.tolist()
    assert first.weights.tolist() == second.weights.tolist()


def test_action_types_have_their_weights() -> None:
    made = encoder()
    user = made.user({}, ["a", "b", "c"], [AS_OF] * 3, ["order", "view", "share"], [1.0] * 3)
    assert user.owned.strength.tolist() == pytest.approx([1.0, 0.1, 0.1])


def test_what_is_not_positive_is_seen_but_not_owned() -> None:
    made = rated(ValueRule.parse(">= 3"), view=0)
    times = [AS_OF - days * DAY_MS for days in range(4)]
    user = made.user({}, list("abcd"), times, ["order", "order", "view", "order"], [2.0, 3.0, 5.0, 4.0])
    assert user.owned.items.tolist() == [1, 3]
    assert user.owned.strength.tolist() == [1, 1]
    assert user.owned.steps.tolist() == [1, 3]
    assert user.seen.tolist() == [0, 1, 2, 3]
    assert made.segment(user, False) == "repeat"


def test_a_returned_item_is_not_owned() -> None:
    made = rated(ValueRule())
    times = [AS_OF - days * DAY_MS for days in (1, 2, 3, 4)]
    user = made.user({}, ["a", "b", "a", "c"], times, ["order"] * 4, [-1.0, 2.0, 1.0, -1.0])
    assert user.owned.items.tolist() == [1]
    assert user.seen.tolist() == [0, 1, 2]
    only_returned = made.user({}, ["a", "a"], times[:2], ["order"] * 2, [-1.0, 1.0])
    assert made.segment(only_returned, True) == "cold"
    assert made.tower_inputs(only_returned)["items"].tolist() == [[0]]


def test_larger_values_make_stronger_items() -> None:
    made = rated(ValueRule(weighted=True))
    user = made.user({}, ["a", "b"], [AS_OF] * 2, ["order", "order"], [3.0, 1.0])
    assert user.owned.strength.tolist() == [2, 1]
    assert made.tower_inputs(user)["weights"].tolist() == [[2, 1]]


def test_columns_of_different_lengths_are_rejected() -> None:
    with pytest.raises(InvalidRequest, match="same length"):
        encoder().user({}, ["a", "b"], [1], ["order"], [1.0])


def test_ids_alone_are_actions_of_the_strongest_type_at_the_end_of_the_data() -> None:
    made = encoder()
    strongest = max(made.spec.action_weights, key=made.spec.action_weights.__getitem__)
    alone = made.user({"age": "1"}, ["b", "unknown", "a"], older_sku_ids=["c"])
    full = made.user({"age": "1"}, ["b", "unknown", "a"], [AS_OF] * 3, [strongest] * 3, [1.0] * 3, ["c"])
    assert alone.now == full.now
    for name in ("items", "times", "types", "values", "older"):
        assert getattr(alone.history, name).tolist() == getattr(full.history, name).tolist()
    assert full.history.times.tolist() == [AS_OF] * 3


def test_history_and_new_only_decide_the_segment() -> None:
    made, novelty = encoder(), encoder(repeats=False)
    anonymous, known, stranger = buyer(made), buyer(made, ("a", 1)), buyer(made, ("unknown", 1))
    assert [made.segment(anonymous, False), made.segment(known, True), made.segment(known, False)] == [
        "cold", "novel", "repeat",
    ]  # fmt: skip
    assert novelty.segment(known, False) == "novel"
    assert made.segment(stranger, False) == "cold"


def test_now_is_the_later_of_the_release_and_the_newest_action() -> None:
    made = encoder()
    assert buyer(made, ("a", 3)).now == AS_OF
    assert buyer(made, ("a", -7)).now == AS_OF + 8 * DAY_MS


def test_votes_follow_the_neighbour_lists_of_the_history() -> None:
    made = encoder()
    user = buyer(made, ("a", 1))
    logs, relative = ([0, np.log1p(20 * 0.5), np.log1p(20 * 0.25), 0], [0, 1, 0.5**0.3, 0])
    assert column(made, user, "cosine").tolist() == pytest.approx(logs, rel=1e-6)
    assert column(made, user, "relative_cosine").tolist() == pytest.approx(relative, rel=1e-6)
    assert not column(made, buyer(made), "cosine").any()


def test_the_lift_depends_on_the_value_of_the_user() -> None:
    made = encoder()
    young, old = (column(made, buyer(made, age=age), "lift_age") for age in ("1", "2"))
    assert young[0] == pytest.approx(np.log((30 + 10) / (40 * 0.5 + 10)))
    assert young[0] > old[0]
    assert not column(made, buyer(made, age="never seen"), "lift_age").any()


def test_inputs_about_categories_and_own_items() -> None:
    made = encoder()
    user = buyer(made, ("a", 1), ("a", 8))
    assert column(made, user, "cate_lift")[0] == column(made, user, "cate_lift")[1]
    assert column(made, user, "cate_lift")[0] > column(made, user, "cate_lift")[2]
    assert column(made, user, "owned").tolist() == [1, 0, 0, 0]
    assert column(made, user, "own_count")[0] == pytest.approx(np.log1p(2))


def test_the_inputs_of_an_item_do_not_depend_on_the_other_items() -> None:
    made = encoder()
    user = buyer(made, ("a", 1), ("b", 4))
    together = made.ranker_inputs(user, np.arange(5, dtype=np.int32), True, user_vector=np.ones(3, np.float32))
    for item in range(5):
        alone = made.ranker_inputs(user, np.array([item], np.int32), True, user_vector=np.ones(3, np.float32))
        for name, values in alone.items():
            assert np.array_equal(values[0], together[name][item])


def test_unlisted_items_are_encoded_by_their_fields() -> None:
    made = encoder()
    user = buyer(made, ("a", 1))
    inputs = made.ranker_inputs(user, np.array([0], np.int32), False, [{"cate": "tea", "price": "3"}, {}])
    dense, sparse = inputs["dense"], inputs["sparse"]
    assert dense.shape == (3, len(made.spec.dense)) and dense.dtype == np.float32
    assert sparse.shape == (3, len(made.spec.columns)) and sparse.dtype == np.int64
    assert sparse[0, 2] == sparse[1, 2] != sparse[2, 2]
    lift = made.spec.dense.index("cate_lift")
    assert dense[0, lift] == dense[1, lift] and dense[2, lift] == 0
    assert np.isfinite(dense).all()


@pytest.mark.parametrize("clock", [True, False])
def test_sparse_inputs_stay_inside_their_table(clock: bool) -> None:
    made = encoder(clock=clock)
    user = made.user({"age": "never seen"})
    inputs = made.ranker_inputs(user, np.arange(5, dtype=np.int32), False, [{"cate": "x", "price": "x"}])
    assert inputs["sparse"].min() >= 0
    assert inputs["sparse"].max() < sum(made.spec.columns)
    unknown = {field: vocabulary.unknown for field, vocabulary in made.vocabularies.items() if vocabulary.unknown}
    assert unknown == {"user.age": 1, "item.cate": 1, "item.price": 1}


def test_tower_inputs_number_items_from_1() -> None:
    made = encoder()
    anonymous = made.tower_inputs(buyer(made))
    assert anonymous["items"].tolist() == [[0]] and anonymous["weights"].tolist() == [[0]]
    known = made.tower_inputs(buyer(made, ("b", 1), ("a", 2)))
    assert known["items"].tolist() == [[2, 1]] and known["fields"].tolist() == [[2]]
    assert made.item_tower_inputs({"cate": "tea"})["item"].tolist() == [0]
    assert made.item_tower_inputs({"cate": "tea"}, "00123")["item"].tolist() == [5]


def test_a_saved_encoder_computes_the_same_inputs(tmp_path: Path) -> None:
    made = encoder()
    made.save(tmp_path)
    np.save(tmp_path / ITEM_VECTORS, np.eye(5, 3, dtype=np.float32))
    loaded = Encoder.load(tmp_path)
    vector = np.ones(3, np.float32)
    items = np.arange(5, dtype=np.int32)
    before, after = (
        version.ranker_inputs(buyer(version, ("a", 1)), items, False, [{"cate": "tea"}], vector)
        for version in (made, loaded)
    )
    assert all(np.array_equal(before[name], after[name]) for name in before)


def saved(folder: Path) -> Path:
    encoder().save(folder)
    np.save(folder / ITEM_VECTORS, np.eye(5, 3, dtype=np.float32))
    return folder


@pytest.mark.parametrize("content", [None, b"", b"x", b"PK\x03\x04 of no archive", b"{}"])
@pytest.mark.parametrize(
    "name",
    [
        "features/statistics.npz",
        "features/catalogue.npz",
        "features/spec.json",
        "features/vocabularies.json",
        "item_vectors.npy",
    ],
)
def test_the_error_names_a_damaged_or_missing_file(tmp_path: Path, name: str, content: bytes | None) -> None:
    damaged = saved(tmp_path) / name
    if content is None:
        damaged.unlink()
    else:
        damaged.write_bytes(content)
    with pytest.raises(ReleaseError, match=rf"{damaged.stem}|damaged catalogue|damaged release") as raised:
        Encoder.load(tmp_path)
    assert "train again" in str(raised.value)


@pytest.mark.parametrize("name", ["statistics.npz", "catalogue.npz"])
def test_an_archive_without_an_array_is_damaged(tmp_path: Path, name: str) -> None:
    saved(tmp_path)
    with (tmp_path / "features" / name).open("wb") as file:
        np.savez(file, other=np.zeros(1))
    with pytest.raises(ReleaseError, match="train again"):
        Encoder.load(tmp_path)


def test_towers_without_fields_get_a_field_of_zeros() -> None:
    made = encoder()
    bare = Encoder(
        made.spec, [], [], Catalogue.build(["a"], [], np.zeros((1, 0), np.float32)), made.statistics, made.item_vectors
    )
    assert {name: array.tolist() for name, array in bare.item_tower_inputs({}).items()} == {
        "item": [0],
        "fields": [[0]],
    }
    assert {name: array.tolist() for name, array in bare.item_tower_row(0).items()} == {"item": [1], "fields": [[0]]}
    assert bare.tower_inputs(bare.user({}))["fields"].tolist() == [[0]]


def test_an_item_is_described_to_its_tower_by_its_number_and_its_codes() -> None:
    made = encoder()
    tea = {"item": [0], "fields": [[2, 3]]}
    assert {
        name: array.tolist() for name, array in made.item_tower_inputs({"cate": "tea", "price": "7"}).items()
    } == tea
    assert {name: array.tolist() for name, array in made.item_tower_row(1).items()} == {"item": [2], "fields": [[2, 3]]}


def test_a_user_is_described_to_the_tower_by_the_newest_items() -> None:
    """The tower of the release reads four."""
    made = encoder()
    inputs = made.tower_inputs(buyer(made, ("a", 1), ("b", 2), ("c", 3), ("d", 4), ("00123", 5)))
    assert inputs["items"].tolist() == [[1, 2, 3, 4]]
    assert inputs["weights"].tolist() == [[1, 1, 1, 1]]


class _Imported:
    """An imported ranker that shows what it is given."""

    def of_items(self, user: User, items: object, unlisted: object) -> dict[str, Any]:
        return {"profile": dict(user.profile), "unlisted": unlisted}


def test_imported_models_get_fields_in_the_spelling_of_the_data_set() -> None:
    """Legacy clients write whole numbers as "1.0"; other fields, and values that the data set lacks, stay."""
    made, imported = encoder(), cast("MappedInputs", _Imported())
    made = Encoder(
        made.spec,
        made._user_vocabularies,
        made._item_vocabularies,
        made.catalogue,
        made.statistics,
        made.item_vectors,
        MappedModels(ranker=imported),
    )
    user = made.user({"age": "1.0", "job": "3.0"})
    inputs: Any = made.ranker_inputs(user, np.array([0], np.int32), False, [{"cate": "tea", "price": "7.0"}])
    assert inputs["profile"] == {"age": "1", "job": "3.0"}
    assert inputs["unlisted"] == [{"cate": "tea", "price": "7.0"}]
    assert made.user({"age": "9.0"}).profile == {"age": "9.0"}
