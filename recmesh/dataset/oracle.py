"""The true preferences behind a generated shop."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from recmesh.errors import DataError

FAVOURITE_SHARE = 0.5
"""Share of a user's visits to one of the two favourite categories; the others follow the user's segment."""

STYLE_LIFT = 4.0
"""How much more often a user chooses an item of the own taste than an equally popular one."""

_SEGMENTS, _ITEMS, _USERS = "_oracle.json", "_oracle_items.parquet", "_oracle_users.parquet"

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Taste:
    """What users prefer: their segment, two favourite categories [users, 2], and the style of items they like."""

    segment: _Ints
    favourites: _Ints
    style: _Ints

    @staticmethod
    def join(parts: "list[Taste]") -> "Taste":
        """Return the tastes of all users of the parts."""
        return Taste(
            np.concatenate([part.segment for part in parts]),
            np.concatenate([part.favourites for part in parts]),
            np.concatenate([part.style for part in parts]),
        )


_NOBODY = Taste(np.zeros(0, np.int64), np.zeros((0, 2), np.int64), np.zeros(0, np.int64))


@dataclass(frozen=True)
class Oracle:
    """Gives the probability of each item in an order. Item k has the id k + 1, user k the id k + 1.

    Attributes:
        category: Of each item.
        style: Of each item; users prefer one of them.
        weight: Popularity of each item.
        segments: Share of each category in the visits of each segment [segments, categories].
        tastes: Of all users.
    """

    category: _Ints
    style: _Ints
    weight: _Floats
    segments: _Floats
    tastes: Taste = _NOBODY

    @classmethod
    def build(cls, category: _Ints, style: _Ints, weight: _Floats, segments: _Floats) -> "Oracle":
        """Return the oracle of a shop that has no users yet."""
        return cls(category.astype(np.int64), style.astype(np.int64), weight, segments)

    @property
    def styles(self) -> int:
        """Number of styles."""
        return int(self.style.max()) + 1

    def probabilities(self, user_id: str) -> _Floats:
        """Return the probability of each item, in the order of ids, in an order of a user.

        Raises:
            DataError: There is no such user.
        """
        if not (user_id.isdigit() and 0 < int(user_id) <= len(self.tastes.segment)):
            raise DataError(f"the oracle has no user {user_id}")
        user = int(user_id) - 1
        categories = (1 - FAVOURITE_SHARE) * self.segments[self.tastes.segment[user]]
        np.add.at(categories, self.tastes.favourites[user], FAVOURITE_SHARE / 2)
        lifted = self.weight * np.where(self.style == self.tastes.style[user], STYLE_LIFT, 1.0)
        totals = np.bincount(self.category, lifted, minlength=len(categories))
        shares: _Floats = categories[self.category] * lifted / totals[self.category]
        return shares

    def ranking(self, user_id: str, size: int) -> dict[str, float]:
        """Return the most probable items of a user with their probabilities, best first.

        No ranking that knows only the user finds more of the next order's item in its first `size`.
        """
        shares = self.probabilities(user_id)
        best = np.argsort(-shares, kind="stable")[:size]
        return {str(item + 1): float(shares[item]) for item in best.tolist()}

    def draw_category(self, rng: np.random.Generator, segment: _Ints) -> _Ints:
        """Draw a category for each of some segments."""
        upper = np.cumsum(self.segments, axis=1)
        upper[:, -1] = 1.0
        flat = (upper + np.arange(len(upper))[:, None]).ravel()
        drawn: _Ints = np.searchsorted(flat, segment + rng.random(len(segment)), side="right") % upper.shape[1]
        return drawn

    def draw_user_category(self, rng: np.random.Generator, taste: Taste, user: _Ints) -> _Ints:
        """Draw a category for a visit of each of some users."""
        favourite = taste.favourites[user, rng.integers(0, 2, len(user))]
        other = self.draw_category(rng, taste.segment[user])
        return np.where(rng.random(len(user)) < FAVOURITE_SHARE, favourite, other)

    def draw_item(self, rng: np.random.Generator, taste: Taste, user: _Ints, category: _Ints) -> _Ints:
        """Draw an item of a category for each of some users, by popularity and taste."""
        order, start, total = self._groups
        style = self._draw_style(rng, taste.style[user], category)
        group = category * self.styles + style
        upper = self._upper
        at = np.searchsorted(upper, start[group] + rng.random(len(user)) * total[group], side="right")
        # Rounding can lead past the end of a group.
        last = np.searchsorted(upper, start[group] + total[group], side="left")
        drawn: _Ints = order[np.minimum(at, last)]
        return drawn

    def _draw_style(self, rng: np.random.Generator, liked: _Ints, category: _Ints) -> _Ints:
        total = self._groups[2].reshape(-1, self.styles)
        style = np.zeros(len(category), np.int64)
        random = rng.random(len(category))
        lift = np.where(np.eye(self.styles, dtype=bool), STYLE_LIFT, 1.0)
        upper = np.cumsum(total[:, None, :] * lift[None], axis=2)
        upper /= upper[:, :, -1:]
        for number in range(self.styles - 1):
            style += random >= upper[category, liked, number]
        return style

    @cached_property
    def _groups(self) -> tuple[_Ints, _Floats, _Floats]:
        """The items sorted by category and style, and the weight before and inside each group."""
        group = self.category * self.styles + self.style
        groups = self.segments.shape[1] * self.styles
        order = np.argsort(group, kind="stable")
        upper = np.cumsum(self.weight[order])
        ends = np.searchsorted(group[order], np.arange(groups), side="right")
        below = np.concatenate([[0.0], upper])[ends]
        start = np.concatenate([[0.0], below[:-1]])
        return order, start, below - start

    @cached_property
    def _upper(self) -> _Floats:
        upper: _Floats = np.cumsum(self.weight[self._groups[0]])
        return upper

    def save(self, folder: Path) -> None:
        """Write the oracle beside the data."""
        pl.DataFrame(
            {
                "sku_id": np.arange(1, len(self.category) + 1),
                "category": self.category,
                "style": self.style,
                "weight": self.weight,
            }
        ).write_parquet(folder / _ITEMS)
        pl.DataFrame(
            {
                "user_id": np.arange(1, len(self.tastes.segment) + 1),
                "segment": self.tastes.segment,
                "favourite_1": self.tastes.favourites[:, 0],
                "favourite_2": self.tastes.favourites[:, 1],
                "style": self.tastes.style,
            }
        ).cast({pl.Int64: pl.Int32}).write_parquet(folder / _USERS)
        content = {
            "favourite_share": FAVOURITE_SHARE,
            "style_lift": STYLE_LIFT,
            "category_shares_by_segment": self.segments.tolist(),
        }
        (folder / _SEGMENTS).write_text(json.dumps(content, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "Oracle":
        """Read the oracle of a generated data set.

        Raises:
            DataError: The folder has none.
        """
        if not (folder / _SEGMENTS).is_file():
            raise DataError(f"{folder}: has no {_SEGMENTS}; only synthetic:users=.. makes one")
        items = pl.read_parquet(folder / _ITEMS, glob=False)
        users = pl.read_parquet(folder / _USERS, glob=False).cast(pl.Int64)
        content = json.loads((folder / _SEGMENTS).read_text(encoding="utf-8"))
        favourites = users.select("favourite_1", "favourite_2").to_numpy()
        taste = Taste(users["segment"].to_numpy(), favourites, users["style"].to_numpy())
        return cls(
            items["category"].to_numpy(),
            items["style"].to_numpy(),
            items["weight"].to_numpy(),
            np.array(content["category_shares_by_segment"]),
            taste,
        )
