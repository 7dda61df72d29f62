"""A generated shop with the fields of the v0 contract. Its users' preferences are known, so tests can check answers.

Every user belongs to one of 12 segments: three age bands, two sexes, two bands of city level. A segment prefers three
of the 24 categories, and one of two kinds of brands. Each user has a favourite among the three categories. USER_SHARE
of a user's actions are in the favourite, SEGMENT_SHARE in any of the three, and the rest anywhere. Within these,
popularity has a long tail. Views lead to carts and orders. REPEAT_SHARE of the orders are repeated about a week later.
MISSING_SHARE of the users hide their profile ("-1").
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from recmesh.contract import ITEM_FIELDS, USER_FIELDS
from recmesh.dataset.schema import SCHEMA_FILE, v0_schema
from recmesh.dataset.times import DAY_MS
from recmesh.dataset.writing import new_folder
from recmesh.errors import DataError

USER_SHARE, SEGMENT_SHARE = 0.45, 0.35
BRAND_LIFT = 3.0
CART_SHARE, ORDER_SHARE = 0.3, 0.5
REPEAT_SHARE, MISSING_SHARE = 0.15, 0.02
MEAN_VIEWS, MIN_VIEWS = 20, 4
CATEGORIES, BRANDS_A_CATEGORY, SHOPS = 24, 8, 60
FIRST_USER, FIRST_ITEM, ITEM_STEP = 5000, 12048, 93
START_MS, DAYS = 1_517_443_200_000, 74  # from 2018-02-01

Form = Literal["csv", "v0"]
"""Form of users and products: CSV with a schema, or the .dat files of the v0 contract."""

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Shop:
    """The hidden structure.

    `category`, `brand`, `shop` and `popularity` have a number for each item; `preferred` [segments, 3] has categories.
    """

    category: _Ints
    brand: _Ints
    shop: _Ints
    popularity: _Floats
    preferred: _Ints


def synthetic(into: Path, users: int = 5000, products: int = 2000, seed: int = 7, form: Form = "csv") -> Path:
    """Create the folder of a generated data set. The folder is either complete or not there.

    Equal arguments give equal bytes. `truth.json` records the preferences.

    Args:
        into: The folder to create. It may replace a folder that was made the same way.
        users: Number of users, at least 100.
        products: Number of items, at least 240.
        seed: Of the random number generator.
        form: `v0` writes users.dat and products.dat without a schema.yaml.

    Returns:
        `into`.

    Raises:
        DataError: The numbers are too small for the structure, or `into` contains something else.
    """
    _check(users, products)
    with new_folder(into) as folder:
        write(folder, users, products, seed, form)
    return into


def write(folder: Path, users: int, products: int, seed: int = 7, form: Form = "csv") -> str:
    """Fill a folder with the tables and truth.json. Returns the schema, which is a file only in the form csv.

    Raises:
        DataError: The numbers are too small for the structure.
    """
    _check(users, products)
    rng = np.random.default_rng(seed)
    shop = _shop(rng, products)
    profile = _profiles(rng, users)
    segment = _segment(profile["age"], profile["sex"], profile["city_level"])
    favourite = shop.preferred[segment, rng.integers(0, 3, users)]
    actions = _actions(rng, shop, segment, favourite)
    hidden = rng.random(users) < MISSING_SHARE
    _write_users(folder, profile, hidden, form)
    _write_products(folder, shop, form)
    actions.write_csv(folder / "actions.csv")
    (folder / "truth.json").write_text(json.dumps(_truth(shop, segment, favourite, seed), indent=1), encoding="utf-8")
    schema = v0_schema().dump()
    if form == "csv":
        (folder / SCHEMA_FILE).write_text(schema, encoding="utf-8")
    return schema


def _check(users: int, products: int) -> None:
    if users < 100 or products < 10 * CATEGORIES:
        raise DataError(
            f"synthetic needs at least 100 users and {10 * CATEGORIES} products, not {users} and {products}"
        )


def _shop(rng: np.random.Generator, products: int) -> _Shop:
    category = rng.permutation(np.arange(products) % CATEGORIES)
    brand = category * BRANDS_A_CATEGORY + rng.integers(0, BRANDS_A_CATEGORY, products)
    popularity: _Floats = np.reciprocal(rng.permutation(products) + 10.0)
    preferred = np.stack([rng.permutation(CATEGORIES)[:3] for _ in range(12)])
    return _Shop(category, brand, rng.integers(0, SHOPS, products), popularity, preferred)


def _profiles(rng: np.random.Generator, users: int) -> dict[str, _Ints]:
    """Return profile codes: age 1-6, sex 0-1, city level 1-6, province, city and district (country)."""
    province = rng.integers(1, 32, users)
    city = province * 10 + rng.integers(0, 5, users)
    return {
        "age": rng.integers(1, 7, users),
        "sex": rng.integers(0, 2, users),
        "city_level": rng.integers(1, 7, users),
        "province": province,
        "city": city,
        "country": city * 6 + rng.integers(0, 6, users),
    }


def _segment(age: _Ints, sex: _Ints, city_level: _Ints) -> _Ints:
    return ((age - 1) // 2 * 2 + sex) * 2 + (city_level - 1) // 3


def _item_weights(shop: _Shop, segment: int) -> _Floats:
    """Return the popularity of each item, raised for the brands that the segment prefers."""
    return shop.popularity * np.where(shop.brand % 2 == segment % 2, BRAND_LIFT, 1.0)


def _item_probabilities(shop: _Shop, segment: int, favourite: int) -> _Floats:
    """Return the probability of each item in an action of a user with this segment and favourite category."""
    weights = _item_weights(shop, segment)

    def within(mask: npt.NDArray[np.bool_]) -> _Floats:
        shares: _Floats = np.where(mask, weights, 0.0) / weights[mask].sum()
        return shares

    everywhere = within(np.ones(len(weights), dtype=bool))
    liked = within(np.isin(shop.category, shop.preferred[segment]))
    loved = within(shop.category == favourite)
    probabilities: _Floats = USER_SHARE * loved + SEGMENT_SHARE * liked + (1 - USER_SHARE - SEGMENT_SHARE) * everywhere
    return probabilities


def _actions(rng: np.random.Generator, shop: _Shop, segment: _Ints, favourite: _Ints) -> pl.DataFrame:
    views = MIN_VIEWS + rng.geometric(1 / (MEAN_VIEWS - MIN_VIEWS + 1), len(segment)) - 1
    user = np.repeat(np.arange(len(segment)), views)
    item = np.empty(len(user), dtype=np.int64)
    for number, category in sorted(set(zip(segment.tolist(), favourite.tolist(), strict=True))):
        rows = (segment[user] == number) & (favourite[user] == category)
        item[rows] = rng.choice(len(shop.category), int(rows.sum()), p=_item_probabilities(shop, number, category))
    time = START_MS + rng.integers(0, DAYS * DAY_MS // 1000, len(user)) * 1000
    cart = rng.random(len(user)) < CART_SHARE
    order = cart & (rng.random(len(user)) < ORDER_SHARE)
    again = order & (rng.random(len(user)) < REPEAT_SHARE)
    later = time + rng.integers(5 * 86_400, 10 * 86_400, len(user)) * 1000
    again &= later < START_MS + DAYS * DAY_MS
    parts = [
        _part(user, item, time, "view"),
        _part(user[cart], item[cart], time[cart] + 60_000, "cart"),
        _part(user[order], item[order], time[order] + 300_000, "order"),
        _part(user[again], item[again], later[again], "order"),
    ]
    return pl.concat(parts).sort("action_time", "user_id", "sku_id", "type")


def _part(user: _Ints, item: _Ints, time: _Ints, action_type: str) -> pl.DataFrame:
    return pl.DataFrame({"user_id": user + FIRST_USER, "sku_id": item * ITEM_STEP + FIRST_ITEM, "time": time}).select(
        pl.col("user_id", "sku_id").cast(pl.String),
        action_time=pl.from_epoch("time", time_unit="ms").dt.strftime("%Y-%m-%dT%H:%M:%S"),
        type=pl.lit(action_type),
    )


def _write_users(folder: Path, profile: dict[str, _Ints], hidden: npt.NDArray[np.bool_], form: Form) -> None:
    # The v0 contract writes these codes as floats: 5.0, not 5.
    codes = pl.col(USER_FIELDS).cast(pl.Float64).cast(pl.String)
    fields = pl.when("hidden").then(pl.lit("-1")).otherwise(codes).name.keep()
    ids = (FIRST_USER + pl.int_range(pl.len())).cast(pl.String).alias("user_id")
    _write(pl.DataFrame({**profile, "hidden": hidden}).select(ids, fields), folder, "users", form)


def _write_products(folder: Path, shop: _Shop, form: Form) -> None:
    columns = dict(zip(ITEM_FIELDS, (shop.brand, shop.shop, shop.category), strict=True))
    ids = (FIRST_ITEM + ITEM_STEP * pl.int_range(pl.len())).cast(pl.String).alias("sku_id")
    _write(
        pl.DataFrame(columns).select(ids, *(pl.col(name).cast(pl.String) for name in ITEM_FIELDS)),
        folder,
        "products",
        form,
    )


def _write(frame: pl.DataFrame, folder: Path, stem: str, form: Form) -> None:
    if form == "v0":
        frame.write_csv(folder / f"{stem}.dat", separator=":", include_header=False)
    else:
        frame.write_csv(folder / f"{stem}.csv")


def _truth(shop: _Shop, segment: _Ints, favourite: _Ints, seed: int) -> dict[str, Any]:
    """Return the preferences, for truth.json.

    For each segment: its profile values, its preferred categories and brands (their number modulo 2), the expected
    share of each category in its actions, and its 50 most probable items. For each user: segment and favourite.
    """
    skus = np.arange(len(shop.category)) * ITEM_STEP + FIRST_ITEM
    segments = []
    for s in range(len(shop.preferred)):
        expected = np.mean([_item_probabilities(shop, s, int(f)) for f in shop.preferred[s]], axis=0)
        shares = np.bincount(shop.category, weights=expected, minlength=CATEGORIES)
        best = np.argsort(-expected, kind="stable")[:50]
        segments.append(
            {
                "age": [f"{float(2 * (s // 4) + k)}" for k in (1, 2)],
                "sex": f"{float(s // 2 % 2)}",
                "city_level": [f"{float(3 * (s % 2) + k)}" for k in (1, 2, 3)],
                "categories": [str(c) for c in shop.preferred[s]],
                "brands_modulo_2": s % 2,
                "category_shares": {str(c): round(float(p), 5) for c, p in enumerate(shares)},
                "best_items": {str(skus[i]): round(float(expected[i]), 6) for i in best},
            }
        )
    users = {str(FIRST_USER + u): [int(s), str(f)] for u, (s, f) in enumerate(zip(segment, favourite, strict=True))}
    return {"seed": seed, "repeat_share": REPEAT_SHARE, "segments": segments, "users": users}
