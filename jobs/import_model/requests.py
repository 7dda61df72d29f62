"""Real requests to try a model on: users of the data set with their histories, and items that recall gives them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from jobs.train.data.rows import HISTORY
from recmesh.dataset import DataSet
from recmesh.features import CHANNELS, Encoder, User
from recmesh.features.mapped_inputs import Texts
from recmesh.features.mapping import ITEM_ID, USER_ID
from recmesh.features.spec import Ints
from recmesh.retrieval import Retriever

RECORDED = 240
"""Requests that a model is tried on."""

_LARGE = 300
_STRANGE = "never seen"


@dataclass(frozen=True)
class Asked:
    """One request: who asks, for which items of the catalogue, and for which others, by their fields."""

    user: User
    items: Ints
    unlisted: Sequence[Mapping[str, str]]
    new_only: bool


def requests(encoder: Encoder, data: DataSet, seed: int) -> list[Asked]:
    """Requests of all kinds: with and without a history, missing and unseen values, 1 to 300 items, unlisted ones.

    At least every other one has two items or more.
    """
    rng = np.random.default_rng(seed)
    retriever = Retriever(encoder)
    strange = {field.name: _STRANGE for field in encoder.spec.item_fields} | {ITEM_ID: _STRANGE}
    asked = []
    for number, user in enumerate(_users(encoder, data, rng)):
        new_only = bool(number % 2)
        found = retriever.in_memory(user, CHANNELS, new_only=new_only)
        merged = retriever.merge(found, encoder.segment(user, new_only), size=_LARGE).items
        others = rng.integers(len(encoder.catalogue), size=20, dtype=np.int32)
        items = np.unique(np.concatenate([merged, others]))
        items = items[: 1 if number % 4 == 0 else _LARGE]
        asked.append(Asked(user, items, [strange] * (number % 7 == 0), new_only))
    return asked


def item_texts(encoder: Encoder, data: DataSet) -> Texts:
    """The fields of the catalogue's items as the data set has them; None where it has not."""
    spec = encoder.spec
    catalogue = pl.DataFrame({ITEM_ID: encoder.catalogue.sku_ids}, schema={ITEM_ID: pl.String})
    own = data.items.with_columns(pl.col(ITEM_ID).cast(pl.String))
    joined = catalogue.join(own, on=ITEM_ID, how="left", maintain_order="left")
    return {
        name: [None if value in spec.missing else value for value in joined[name].cast(pl.String).to_list()]
        for name in (ITEM_ID, *(field.name for field in spec.item_fields))
    }


def _users(encoder: Encoder, data: DataSet, rng: np.random.Generator) -> Iterator[User]:
    """RECORDED users, some of them twice in a small data set."""
    ids = data.users[USER_ID].cast(pl.String).to_list()
    chosen = rng.permutation(len(ids))[:RECORDED]
    actions = data.actions.with_columns(pl.col(USER_ID, "sku_id", "type").cast(pl.String))
    actions = actions.filter(pl.col(USER_ID).is_in([ids[row] for row in chosen.tolist()]))
    histories = actions.sort("time", descending=True, maintain_order=True).partition_by(USER_ID, as_dict=True)
    for number in range(RECORDED):
        row = int(chosen[number % len(chosen)])
        profile = {name: value for name, value in data.users.row(row, named=True).items() if value is not None}
        for name in profile:
            if name != USER_ID and number % 5 < 2 and rng.random() < 0.5:
                profile[name] = ("", _STRANGE)[number % 5]
        history = histories.get((ids[row],))
        if history is None or number % 4 == 3:
            yield encoder.user(profile)
        else:
            columns = (history[name][:HISTORY].to_list() for name in ("sku_id", "time", "type", "value"))
            yield encoder.user(profile, *columns)
