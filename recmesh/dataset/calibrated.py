"""A generated shop of any size, with the published statistics of JData 2019 and a known truth.

docs/adr/027-generated-data-of-a-real-size.md describes the model. Users are generated in blocks, each with a random
number generator and a file of its own, so that memory does not depend on the number of actions, and the files depend
only on the parameters.

The truth is written beside the data: `oracle.Oracle` gives the probability of each item in an order of a user.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from recmesh.dataset.oracle import Oracle, Taste
from recmesh.dataset.times import DAY_MS
from recmesh.errors import DataError
from recmesh.spelling import did_you_mean

# Published figures of JData 2019.
USERS, ITEMS, ACTIONS, DAYS = 1_608_707, 352_539, 37_214_269, 74
TYPE_COUNTS = {"view": 33_151_074, "order": 2_193_489, "follow": 826_761, "comment": 600_979, "cart": 441_966}
FIRST_CART_DAY = 66
DAYS_WITHOUT_VIEWS = (55, 56)
UNLISTED_SHARE = 1 - 36_858_846 / 37_214_269
UNLISTED_USER_SHARE = 1 - 1_602_150 / USERS
BUYERS_BY_DAY = np.concatenate(
    [
        np.full(7, 37.0),
        np.linspace(37, 5.4, 9)[1:],
        np.linspace(5.4, 28, 9)[1:],
        np.tile([26, 27, 29, 31, 32, 30, 28], 8),
    ]
)[:DAYS]
"""Thousands of buyers on each day: a low at the Spring Festival, on day 14, and weeks of 25,000 to 32,000 after."""

# Chosen so that the figures above and those in the tests come out.
SAME_VISIT_SHARE = 0.45
PRELUDE_SHARE, MIN_LAG_DAYS, MAX_LAG_DAYS = 0.35, 0.6, 18.0
SAME_ITEM_SHARE = 0.1
BROWSING_VISITS_A_USER = 0.25
TARGET_SHARE = 0.75
POPULARITY_SIGMA, ACTIVITY_SIGMA = 2.55, 1.0

MIN_USERS, MIN_ITEMS = 100, 240
CATEGORIES, SEGMENTS, TASTES = 80, 12, 4
ITEMS_A_SHOP, ITEMS_A_BRAND = 34, 70
BLOCK_USERS = 1 << 16
START_MS = 1_517_443_200_000  # 2018-02-01

SCHEMA = """\
# A generated shop with the published statistics of JData 2019. The files `_oracle*` hold the true preferences.
user:
  id: user_id
  fields:
    age: {kind: categorical}
    sex: {kind: categorical}
    city_level: {kind: categorical}
    province: {kind: categorical}
    city: {kind: categorical}
    country: {kind: categorical}
item:
  id: sku_id
  fields:
    brand: {kind: categorical}
    shopid: {kind: categorical}
    cate: {kind: categorical}
action:
  user: user_id
  item: sku_id
  time: action_time
  type: type
  weights: {view: 0.1, follow: 0.5, cart: 1, order: 3, comment: 0}   # a comment follows an order and adds nothing
repeats: true
missing: ["-1"]
"""

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Size:
    """What can be chosen. The same values give the same files."""

    users: int = USERS // 100
    items: int = ITEMS // 100
    actions: int = ACTIONS // 100
    days: int = DAYS
    seed: int = 7

    @classmethod
    def parse(cls, text: str) -> "Size":
        """Read `users=..,items=..,actions=..,days=..,seed=..`; what is left out follows the number of users.

        Raises:
            DataError: A key is unknown, or a value is not a possible number.
        """
        given: dict[str, int] = {}
        known = [field.name for field in fields(cls)]
        for part in text.split(","):
            key, _, value = part.strip().partition("=")
            if key not in known:
                raise DataError(f'synthetic: unknown key "{key}": one of {", ".join(known)}{did_you_mean(key, known)}')
            if key in given:
                raise DataError(f"synthetic: {key} is given twice")
            if not re.fullmatch(r"\d{1,12}", value, re.ASCII):
                raise DataError(f'synthetic: {key}="{value}" is not a number')
            given[key] = int(value)
        users = given.get("users", cls.users)
        scaled = {"items": max(users * ITEMS // USERS, MIN_ITEMS), "actions": users * ACTIONS // USERS}
        size = replace(cls(), **{**scaled, **given})
        size.check()
        return size

    def check(self) -> None:
        """Check that the structure fits.

        Raises:
            DataError: A number is too small or too large.
        """
        limits = {
            "users": (MIN_USERS, 1 << 30),
            "items": (MIN_ITEMS, 1 << 28),
            "actions": (20 * self.users, 1 << 40),
            "days": (14, 3650),
        }
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise DataError(f"synthetic: {name}={value} must be between {least} and {most}")


def write(size: Size, folder: Path) -> str:
    """Write the tables and the oracle. Returns the schema."""
    oracle = _shop(size)
    _products(size, oracle).write_parquet(folder / "products.parquet")
    (folder / "actions").mkdir()
    users, tastes = [], []
    for number, (first, last) in enumerate(_blocks(size.users)):
        rng = np.random.default_rng([size.seed, 1, number])
        profile, taste = _profiles(rng, oracle, first, last)
        users.append(profile)
        tastes.append(taste)
        actions = _actions(rng, size, oracle, taste, first, last)
        actions.write_parquet(folder / "actions" / f"actions-{number:05}.parquet")
    pl.concat(users).write_parquet(folder / "users.parquet")
    replace(oracle, tastes=Taste.join(tastes)).save(folder)
    return SCHEMA


def _blocks(users: int) -> Iterator[tuple[int, int]]:
    for first in range(0, users, BLOCK_USERS):
        yield first, min(first + BLOCK_USERS, users)


def _shop(size: Size) -> Oracle:
    """Return the items and the preferences of segments, without users."""
    rng = np.random.default_rng([size.seed, 0])
    shares = np.sort(rng.dirichlet(np.full(CATEGORIES, 0.7)))[::-1] * 0.9 + 0.1 / CATEGORIES
    category = rng.choice(CATEGORIES, size.items, p=shares)
    category[:CATEGORIES] = np.arange(CATEGORIES)  # none is empty
    weight = rng.lognormal(0, POPULARITY_SIGMA, size.items)
    segments = np.stack([rng.dirichlet(shares * CATEGORIES * 0.3 + 0.02) for _ in range(SEGMENTS)])
    return Oracle.build(category, rng.integers(0, TASTES, size.items), weight, segments)


def _products(size: Size, oracle: Oracle) -> pl.DataFrame:
    rng = np.random.default_rng([size.seed, 2])
    # A shop and a brand stay within a category. The brand says which style an item has.
    shop = _within(rng, oracle.category, ITEMS_A_SHOP)
    brand = _within(rng, oracle.category * TASTES + oracle.style, ITEMS_A_BRAND)
    return pl.DataFrame(
        {"sku_id": np.arange(1, size.items + 1), "brand": brand + 1, "shopid": shop + 1, "cate": oracle.category + 1},
        schema=dict.fromkeys(("sku_id", "brand", "shopid", "cate"), pl.Int32),
    )


def _within(rng: np.random.Generator, group: _Ints, size: int) -> _Ints:
    """Divide each group of items into parts of `size` items on average. Returns the part of each item."""
    parts = np.maximum(np.bincount(group) // size, 1)
    first = np.cumsum(parts) - parts
    # The square makes the first part of a group the largest.
    part: _Ints = first[group] + (rng.random(len(group)) ** 2 * parts[group]).astype(np.int64)
    return part


def _profiles(rng: np.random.Generator, oracle: Oracle, first: int, last: int) -> tuple[pl.DataFrame, Taste]:
    users = last - first
    age, sex, level = rng.integers(1, 7, users), rng.integers(0, 2, users), rng.integers(1, 7, users)
    province = rng.integers(1, 32, users)
    city = province * 10 + rng.integers(0, 10, users)
    segment = ((age - 1) // 2 * 2 + sex) * 2 + (level - 1) // 3
    hidden = {"age": rng.random(users) < 0.02, "sex": rng.random(users) < 0.05, "place": rng.random(users) < 0.03}
    profile = pl.DataFrame(
        {
            "user_id": np.arange(first + 1, last + 1),
            "age": age,
            "sex": np.where(hidden["sex"], -1, sex),
            "city_level": level,
            "province": province,
            "city": city,
            "country": city * 8 + rng.integers(0, 8, users),
        },
        schema=dict.fromkeys(("user_id", "age", "sex", "city_level", "province", "city", "country"), pl.Int32),
    )
    place = pl.Series(hidden["place"])
    profile = profile.with_columns(
        pl.when(~pl.Series(hidden["age"])).then("age").alias("age"),
        *(pl.when(~place).then(name).alias(name) for name in ("city_level", "province", "city", "country")),
    )
    favourites = np.stack([oracle.draw_category(rng, segment) for _ in range(2)], axis=1)
    return profile, Taste(segment, favourites, rng.integers(0, TASTES, users))


@dataclass(frozen=True)
class _Visits:
    """Visits to a category: who, when (ms since the start), and the item that most of its views are of."""

    user: _Ints
    time: _Ints
    category: _Ints
    target: _Ints


def _quota(size: Size, first: int, last: int) -> dict[str, int]:
    """Return the number of actions of each type of a block of users. All blocks together have `size.actions`."""
    counts = {}
    total, below, above = sum(TYPE_COUNTS.values()), 0, 0
    for name, count in TYPE_COUNTS.items():
        below, above = above, above + count
        all_users = size.actions * above // total - size.actions * below // total
        counts[name] = all_users * last // size.users - all_users * first // size.users
    return counts


def _actions(rng: np.random.Generator, size: Size, oracle: Oracle, taste: Taste, first: int, last: int) -> pl.DataFrame:
    quota = _quota(size, first, last)
    users = last - first
    activity = rng.lognormal(0, ACTIVITY_SIGMA, users)
    activity /= activity.sum()
    orders = _orders(rng, size, oracle, taste, activity, quota["order"])
    preludes = _preludes(rng, oracle, taste, orders)
    who = rng.choice(users, int(BROWSING_VISITS_A_USER * users), p=activity)
    category = oracle.draw_user_category(rng, taste, who)
    browsing = _Visits(who, _times(rng, size.days, len(who)), category, oracle.draw_item(rng, taste, who, category))
    views = _views(rng, oracle, taste, [orders, preludes, browsing], quota["view"])
    views = replace(views, time=_moved_views(rng, views.time, size.days))
    parts = {
        "view": views,
        "order": orders,
        "follow": _followers(rng, views, quota["follow"]),
        "comment": _comments(rng, size.days, orders, quota["comment"]),
        "cart": _carts(rng, size.days, views, quota["cart"]),
    }
    return _table(rng, size, parts, first, last)


def _orders(
    rng: np.random.Generator, size: Size, oracle: Oracle, taste: Taste, activity: _Floats, count: int
) -> _Visits:
    """Return the orders. Every user has one, and those who are active have more, some of them in the same visit."""
    users = len(activity)
    user = np.concatenate([np.arange(users), rng.choice(users, count - users, p=activity)])
    time = _times(rng, size.days, count)
    same = (np.arange(count) >= users) & (rng.random(count) < SAME_VISIT_SHARE)
    time[same] = time[user[same]] + rng.integers(1, 600_000, int(same.sum()))
    category = oracle.draw_user_category(rng, taste, user)
    category[same] = category[user[same]]
    return _Visits(
        user, np.minimum(time, size.days * DAY_MS - 1), category, oracle.draw_item(rng, taste, user, category)
    )


def _preludes(rng: np.random.Generator, oracle: Oracle, taste: Taste, orders: _Visits) -> _Visits:
    """Return earlier visits to the category of an order, at a log-uniform distance; most orders have none."""
    lag = MIN_LAG_DAYS * (MAX_LAG_DAYS / MIN_LAG_DAYS) ** rng.random(len(orders.user)) * DAY_MS
    time = orders.time - lag.astype(np.int64)
    kept = (rng.random(len(time)) < PRELUDE_SHARE) & (time >= 0)
    user, category, bought = orders.user[kept], orders.category[kept], orders.target[kept]
    other = oracle.draw_item(rng, taste, user, category)
    return _Visits(user, time[kept], category, np.where(rng.random(len(user)) < SAME_ITEM_SHARE, bought, other))


def _views(rng: np.random.Generator, oracle: Oracle, taste: Taste, visits: list[_Visits], count: int) -> _Visits:
    """Return `count` views, in the 40 minutes before the end of a visit. Each order has one of its item."""
    orders = visits[0]
    user, time, category, target = (
        np.concatenate([getattr(part, name) for part in visits]) for name in ("user", "time", "category", "target")
    )
    share = rng.lognormal(0, 1, len(user))
    sure = min(len(orders.user), count)
    per_visit = rng.multinomial(count - sure, share / share.sum())
    per_visit[:sure] += 1
    visit = np.repeat(np.arange(len(user)), per_visit)
    first = np.concatenate([[True], visit[1:] != visit[:-1]]) if count else np.zeros(0, bool)
    item = target[visit]
    free = ~first & (rng.random(count) >= TARGET_SHARE)
    item[free] = oracle.draw_item(rng, taste, user[visit[free]], category[visit[free]])
    before = rng.integers(1_000, 2_400_000, count)
    return _Visits(user[visit], np.maximum(time[visit] - before, 0), category[visit], item)


def _followers(rng: np.random.Generator, views: _Visits, count: int) -> _Visits:
    chosen = rng.choice(len(views.user), count, replace=False)
    return _Visits(
        views.user[chosen],
        views.time[chosen] + rng.integers(1, 60_000, count),
        views.category[chosen],
        views.target[chosen],
    )


def _comments(rng: np.random.Generator, days: int, orders: _Visits, count: int) -> _Visits:
    """Return comments on orders, about a week after them, or before the end of the data."""
    chosen = rng.choice(len(orders.user), count, replace=False)
    time = orders.time[chosen]
    left = days * DAY_MS - 1 - time
    lag = np.minimum(rng.exponential(7, count) * DAY_MS + DAY_MS, left * rng.random(count))
    return _Visits(orders.user[chosen], time + lag.astype(np.int64), orders.category[chosen], orders.target[chosen])


def _carts(rng: np.random.Generator, days: int, views: _Visits, count: int) -> _Visits:
    """Return carts after views. They are recorded in the last days only."""
    late = np.flatnonzero(views.time >= days * FIRST_CART_DAY // DAYS * DAY_MS)
    if not len(late):
        late = np.arange(len(views.user))
    chosen = rng.choice(late, count, replace=len(late) < count)
    time = np.minimum(views.time[chosen] + rng.integers(1, 60_000, count), days * DAY_MS - 1)
    return _Visits(views.user[chosen], time, views.category[chosen], views.target[chosen])


def _times(rng: np.random.Generator, days: int, count: int) -> _Ints:
    """Return times by the published number of buyers a day, between 8 and 24 o'clock."""
    shape = np.concatenate([BUYERS_BY_DAY, np.resize(BUYERS_BY_DAY[-7:], max(days - DAYS, 0))])[:days]
    day = rng.choice(days, count, p=shape / shape.sum())
    moments: _Ints = day * DAY_MS + rng.integers(DAY_MS // 3, DAY_MS, count)
    return moments


def _moved_views(rng: np.random.Generator, time: _Ints, days: int) -> _Ints:
    """Move views from the two days without views to the two weeks before."""
    first, last = DAYS_WITHOUT_VIEWS
    on_these_days = (days > last) & (time >= first * DAY_MS) & (time < (last + 1) * DAY_MS)
    moved: _Ints = np.where(on_these_days, time - 2 * DAY_MS * rng.integers(1, 8, len(time)), time)
    return moved


def _table(rng: np.random.Generator, size: Size, parts: dict[str, _Visits], first: int, last: int) -> pl.DataFrame:
    user = np.concatenate([part.user for part in parts.values()])
    item = np.concatenate([part.target for part in parts.values()]) + 1
    time = np.concatenate([part.time for part in parts.values()]) + START_MS
    kinds = np.repeat(np.arange(len(parts)), [len(part.user) for part in parts.values()])
    # A few items are gone from the product table. Their ids follow those of the listed ones.
    gone = _unlisted(rng, user, last - first)
    item[gone] = size.items + 1 + item[gone] % (size.items // 50 + 1)
    order = np.argsort(time, kind="stable")
    return pl.DataFrame(
        {
            "user_id": (user[order] + first + 1).astype(np.int32),
            "sku_id": item[order].astype(np.int32),
            "time": time[order],
        }
    ).select(
        "user_id",
        "sku_id",
        action_time=pl.from_epoch("time", time_unit="ms"),
        type=pl.Series(list(parts), dtype=pl.Enum(list(parts))).gather(kinds[order]),
    )


def _unlisted(rng: np.random.Generator, user: _Ints, users: int) -> npt.NDArray[np.bool_]:
    """Choose the actions on items that the product table does not list: all actions of a few users, and some more."""
    few = rng.choice(users, round(UNLISTED_USER_SHARE * users), replace=False)
    share = (UNLISTED_SHARE - UNLISTED_USER_SHARE) / (1 - UNLISTED_USER_SHARE)
    chosen: npt.NDArray[np.bool_] = np.isin(user, few) | (rng.random(len(user)) < share)
    return chosen
