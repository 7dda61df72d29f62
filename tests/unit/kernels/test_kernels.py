"""The compiled kernels agree with plain numpy, for releases and users of many shapes."""

import numpy as np
import pytest

from recmesh import kernels
from recmesh.features import Catalogue, Encoder, FeatureSpec, Lists, Statistics
from recmesh.features.encoder import padded
from recmesh.features.ranker_inputs import column_sizes, dense_names
from recmesh.features.spec import DAY_MS, Array, Field, Floats, Ints, Kind, Popularity
from recmesh.features.vocabulary import Vocabulary
from recmesh.kernels import Scratch
from tests.unit.kernels import reference

ITEMS, AS_OF = 80, 400 * DAY_MS
SHAPES: dict[str, tuple[tuple[int, ...], tuple[tuple[Kind, int], ...]]] = {
    "fields of every kind": ((4, 3), (("categorical", 1), ("multi", 3), ("numeric", 1))),
    "no fields": ((), ()),
    "users only": ((5,), ()),
    "numbers first": ((), (("numeric", 1), ("categorical", 1))),
}


def lists(random: np.random.Generator) -> Lists:
    """Make random neighbour lists."""
    lengths = random.integers(0, 12, ITEMS)
    start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = np.concatenate([random.permutation(ITEMS)[:n] for n in lengths]).astype(np.int32)
    return Lists(start, items, random.normal(0.3, 0.5, len(items)).astype(np.float32))


def encoder(shape: str, clock: bool, random: np.random.Generator) -> Encoder:
    """Make the encoder of a random release. Its item fields have 8 codes each."""
    user_sizes, item_kinds = SHAPES[shape]
    user = tuple(Field(name=f"u{k}", kind="categorical") for k in range(len(user_sizes)))
    item = tuple(
        Field(name=f"i{k}", kind=kind, width=width, bounds=tuple(range(5)) if kind == "numeric" else ())
        for k, (kind, width) in enumerate(item_kinds)
    )
    popularities = (Popularity(name="all"), Popularity(name="9d", days=9), Popularity(name="first", first_only=True))
    spec = FeatureSpec(
        as_of=AS_OF, repeats=True, clock=clock, granularity=DAY_MS, user_fields=user, item_fields=item,
        action_weights={"view": 0.2, "order": 1.0}, popularities=popularities, neutral_logit=-1.5,
    )  # fmt: skip
    sizes = [size + 2 for size in user_sizes]
    spec = spec.model_copy(update={"dense": dense_names(spec), "columns": column_sizes(spec, sizes, [8] * len(item))})
    vocabularies = (
        [Vocabulary(field, [str(k) for k in range(count)], ()) for field, count in zip(user, user_sizes, strict=True)],
        [Vocabulary(field, () if field.kind == "numeric" else [str(k) for k in range(6)], ()) for field in item],
    )
    codes = [random.integers(0, 8, (ITEMS, width)).astype(np.int32) for _, width in item_kinds]
    catalogue = Catalogue.build(
        [str(k) for k in range(ITEMS)], codes, random.normal(size=(ITEMS, len(item))).astype(np.float32)
    )
    vectors = padded(random.normal(size=(ITEMS, 5)).astype(np.float32))
    return Encoder(spec, *vocabularies, catalogue, statistics(len(item), sizes, random), vectors)


def statistics(item_fields: int, user_sizes: list[int], random: np.random.Generator) -> Statistics:
    """Make random statistics."""
    values = sum(user_sizes)
    found = [np.sort(random.permutation(ITEMS)[: random.integers(0, ITEMS)]) for _ in range(values)]
    start = np.concatenate([[0], np.cumsum([len(items) for items in found])]).astype(np.int64)
    return Statistics(
        as_of=AS_OF,
        popularity=random.normal(-6, 2, (ITEMS + 1, 3)).astype(np.float32),
        buyers=random.integers(0, 50, ITEMS + 1).astype(np.float32),
        repeat_rate=random.random(ITEMS + 1).astype(np.float32),
        first_seen=(AS_OF - random.integers(-3, 200, ITEMS + 1) * DAY_MS).astype(np.int64),
        lift_offset=np.cumsum([0, *user_sizes[:-1]], dtype=np.int64)[: len(user_sizes)],
        lift_start=start,
        lift_items=np.concatenate([*found, []]).astype(np.int32),
        lift_counts=random.integers(1, 30, int(start[-1])).astype(np.float32),
        value_share=random.random(values).astype(np.float32),
        top=np.zeros((3, 1), np.int32),
        value_top=np.zeros((values, 1), np.int32),
        order=np.arange(ITEMS, dtype=np.int32),
        code_share=[np.log(random.dirichlet(np.ones(8))).astype(np.float32) for _ in range(item_fields)],
        # The table of the last field is empty, as if it were too large.
        code_lift=[
            random.normal(size=(values, 8) if k < max(item_fields - 1, 1) else (0, 0)).astype(np.float32)
            for k in range(item_fields)
        ],
        cosine=lists(random),
        ridge=lists(random),
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("clock", [True, False])
@pytest.mark.parametrize("actions", [0, 1, 60])
def test_ranker_inputs_agree_with_numpy(shape: str, clock: bool, actions: int) -> None:
    random = np.random.default_rng(actions)
    made = encoder(shape, clock, random)
    days = np.sort(random.integers(0, 40, actions))
    history = [str(k) for k in random.integers(0, ITEMS + 9, actions)]  # Some are outside the catalogue.
    profile = {field.name: str(random.integers(0, 5)) for field in made.spec.user_fields}
    kinds = random.choice(["view", "order", "other"], actions).tolist()
    user = made.user(profile, history, [AS_OF - int(day) * DAY_MS for day in days], kinds, [1.0] * actions)
    items = random.permutation(ITEMS)[:50].astype(np.int32)
    unlisted = [{"i0": "2", "i1": "1|4", "i2": "3.5"}, {}]
    codes, numbers = made._encode_items(unlisted)
    vector = random.normal(size=5).astype(np.float32)
    for user_vector in (vector, None):
        got = made.ranker_inputs(user, items, False, unlisted, user_vector)
        for row, item in enumerate([*items.tolist(), -1, -1]):
            own_codes = [c[item] for c in made.catalogue.codes] if item >= 0 else [c[row - 50] for c in codes]
            number = made.catalogue.numbers[item] if item >= 0 else numbers[row - 50]
            wanted = reference.ranker_row(made, user, item, own_codes, number, user_vector)
            expected = [wanted.get(name, 0.0) for name in made.spec.dense]
            np.testing.assert_allclose(got["dense"][row], expected, rtol=2e-5, atol=2e-5)
            segment = made.segment(user, False)
            assert got["sparse"][row].tolist() == reference.sparse_row(made, user, segment, own_codes)


@pytest.mark.parametrize("actions", [1, 7, 200])
def test_histories_and_votes_agree_with_numpy(actions: int) -> None:
    random = np.random.default_rng(actions)
    made = encoder("no fields", True, random)
    times = AS_OF - np.sort(random.integers(0, 30, actions)) * DAY_MS
    kinds = random.choice(["view", "order", "other"], actions).tolist()
    items = [str(k) for k in random.integers(0, 2 * ITEMS, actions)]
    user = made.user({}, items, times.tolist(), kinds, [1.0] * actions)
    expected = reference.owned(user)
    for got, wanted in zip(user.owned, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-6)
    for votes, lists_ in zip(made.votes(user), (made.statistics.ridge, made.statistics.cosine), strict=True):
        wanted_votes, order = reference.votes(lists_, expected), np.argsort(votes.items)
        assert votes.items[order].tolist() == wanted_votes.items.tolist()
        np.testing.assert_allclose(votes.all[order], wanted_votes.all, atol=1e-6)
        np.testing.assert_allclose(votes.recent[order], wanted_votes.recent, atol=1e-6)


@pytest.mark.parametrize("count", [0, 1, 5, 300])
@pytest.mark.parametrize("depth", [0, 1, 20, 1000])
@pytest.mark.parametrize("above", [-np.inf, 0.0])
def test_selection_agrees_with_numpy(count: int, depth: int, above: float) -> None:
    random = np.random.default_rng(count)
    items = random.permutation(1000)[:count].astype(np.int32)
    scores = random.integers(-5, 6, count).astype(np.float32)  # Many are equal.
    exclude = random.permutation(1000)[:400].astype(np.int32)
    scratch = Scratch(1000)
    for _ in range(2):  # The scratch memory must be clean after a call.
        got = kernels.best(items, scores, depth, scratch, exclude, above)
        wanted = reference.best(items, scores, depth, exclude, above)
        assert got[0].tolist() == wanted[0].tolist()
        assert got[1].tolist() == wanted[1].tolist()


def test_selection_orders_zeros_and_infinities() -> None:
    items, scores = np.arange(5, dtype=np.int32), np.array([-0.0, np.inf, 0.0, -1e30, 1e-30], np.float32)
    assert kernels.best(items, scores, 9, Scratch(5))[0].tolist()[:2] == [1, 4]


def test_fusion_agrees_with_numpy() -> None:
    random = np.random.default_rng(0)
    given = [random.permutation(100)[:n].astype(np.int32) for n in (30, 0, 50)]
    items, sums = kernels.fuse(given, (1.0, 9.0, 0.5), 60, Scratch(100))
    wanted = reference.fuse(given, (1.0, 9.0, 0.5), 60)
    assert dict(zip(items.tolist(), sums.tolist(), strict=True)) == pytest.approx(wanted)


@pytest.mark.parametrize(
    "wrong", [np.zeros(3, np.float64), np.zeros(6, np.float32)[::2], np.zeros((2, 3), np.float32).T]
)
def test_arrays_of_other_types_and_layouts_are_rejected(wrong: Array) -> None:
    items: Ints = np.arange(3, dtype=np.int32)
    scores: Floats = wrong
    with pytest.raises(TypeError):
        kernels.best(items, scores, 2, Scratch(3))
