"""Realistic requests for testing a model: users of the data set, their histories, and the candidates of recall."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from recmesh.contract import DETAILED_ACTIONS
from recmesh.dataset import DataSet
from recmesh.features import CHANNELS, Encoder, User
from recmesh.features.mapped_inputs import Texts
from recmesh.features.mapping import ITEM_ID, USER_ID
from recmesh.features.spec import Ints
from recmesh.retrieval import Retriever

RECORDED_REQUESTS = 240
"""Number of requests for testing a model."""

_MAX_ITEMS = 300
_UNSEEN_VALUE = "never seen"


@dataclass(frozen=True)
class Request:
    """A request to rank.

    Attributes:
        user: The user who asks.
        items: Positions of items in the catalogue.
        unlisted: Fields of items outside the catalogue.
        new_only: Whether the user wants only items without an action in the history.
    """

    user: User
    items: Ints
    unlisted: Sequence[Mapping[str, str]]
    new_only: bool


def make_requests(encoder: Encoder, data: DataSet, seed: int) -> list[Request]:
    """Make requests of all kinds: with and without history, missing and unseen values, 1 to 300 items, unlisted items.

    At least half of them have two items or more.
    """
    rng = np.random.default_rng(seed)
    retriever = Retriever(encoder)
    unseen = dict.fromkeys(data.items.columns, _UNSEEN_VALUE)
    requests = []
    for number, user in enumerate(_users(encoder, data, rng)):
        new_only = bool(number % 2)
        found = retriever.in_memory(user, CHANNELS, new_only=new_only)
        merged = retriever.merge(found, encoder.segment(user, new_only), size=_MAX_ITEMS).items
        others = rng.integers(len(encoder.catalogue), size=20, dtype=np.int32)
        items = np.unique(np.concatenate([merged, others]))
        items = items[: 1 if number % 4 == 0 else _MAX_ITEMS]
        requests.append(Request(user, items, [unseen] * (number % 7 == 0), new_only))
    return requests


def item_texts(encoder: Encoder, data: DataSet) -> Texts:
    """The fields of the items in the catalogue, as the data set has them; None for missing values."""
    spec = encoder.spec
    catalogue = pl.DataFrame({ITEM_ID: encoder.catalogue.sku_ids}, schema={ITEM_ID: pl.String})
    own = data.items.with_columns(pl.col(ITEM_ID).cast(pl.String))
    joined = catalogue.join(own, on=ITEM_ID, how="left", maintain_order="left")
    return {
        name: [None if value in spec.missing else value for value in joined[name].cast(pl.String).to_list()]
        for name in own.columns
    }


def _users(encoder: Encoder, data: DataSet, rng: np.random.Generator) -> Iterator[User]:
    """RECORDED_REQUESTS users; a small data set repeats some."""
    ids = data.users[USER_ID].cast(pl.String).to_list()
    chosen = rng.permutation(len(ids))[:RECORDED_REQUESTS]
    actions = data.actions.with_columns(pl.col(USER_ID, "sku_id", "type").cast(pl.String))
    actions = actions.filter(pl.col(USER_ID).is_in([ids[row] for row in chosen.tolist()]))
    histories = actions.sort("time", descending=True, maintain_order=True).partition_by(USER_ID, as_dict=True)
    for number in range(RECORDED_REQUESTS):
        row = int(chosen[number % len(chosen)])
        profile = {name: value for name, value in data.users.row(row, named=True).items() if value is not None}
        for name in profile:
            if name != USER_ID and number % 5 < 2 and rng.random() < 0.5:
                profile[name] = ("", _UNSEEN_VALUE)[number % 5]
        history = histories.get((ids[row],))
        if history is None or number % 4 == 3:
            yield encoder.user(profile)
        else:
            columns = (history[name][:DETAILED_ACTIONS].to_list() for name in ("sku_id", "time", "type", "value"))
            yield encoder.user(profile, *columns)
