"""A generated shop of the seed's shape whose preferences are known, so that tests can tell good answers from bad ones.

Every user belongs to one of 12 segments: three age bands x sex x two bands of city level. A segment prefers three of
the 24 categories, and one of two kinds of brands. A user's actions fall by USER_SHARE into the one of the three that is
the user's favourite, by SEGMENT_SHARE into the three, and for the rest anywhere. Within that, items follow a popularity
tail. Views lead to carts and orders; REPEAT_SHARE of the orders come again about a week later. MISSING_SHARE of the
users hide their profile ("-1").
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from recmesh.dataset.schema import ITEM_WIRE_FIELDS, SCHEMA_FILE, USER_WIRE_FIELDS, seed_schema
from recmesh.dataset.writing import new_folder
from recmesh.errors import DataError

USER_SHARE, SEGMENT_SHARE = 0.45, 0.35
BRAND_LIFT = 3.0
CART_SHARE, ORDER_SHARE = 0.3, 0.5
REPEAT_SHARE, MISSING_SHARE = 0.15, 0.02
MEAN_VIEWS, MIN_VIEWS = 20, 4
CATEGORIES, BRANDS_A_CATEGORY, SHOPS = 24, 8, 60
FIRST_USER, FIRST_ITEM, ITEM_STEP = 5000, 12048, 93
START_MS, DAYS = 1_517_443_200_000, 74  # 2018-02-01, the seed's window
DAY_MS = 86_400_000

Form = Literal["csv", "seed"]
_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Shop:
    """The hidden structure: what each item is, and how probable each item is for each (segment, favourite)."""

    category: _Ints
    brand: _Ints
    shop: _Ints
    popularity: _Floats
    preferred: _Ints  # [segments, 3] categories


def synthetic(into: Path, users: int = 5000, products: int = 2000, seed: int = 7, form: Form = "csv") -> Path:
    """Write the generated data set as the folder `into`, whole or not at all, and return `into`.

    The same arguments give the same bytes. `form="seed"` writes users.dat and products.dat without a schema.yaml.
    truth.json says what was planted (see `_truth`). Raises DataError for sizes too small to hold the structure.
    """
    if users < 100 or products < 10 * CATEGORIES:
        raise DataError(
            f"synthetic needs at least 100 users and {10 * CATEGORIES} products, not {users} and {products}"
        )
    rng = np.random.default_rng(seed)
    shop = _shop(rng, products)
    profile = _profiles(rng, users)
    segment = _segment(profile["age"], profile["sex"], profile["city_level"])
    favourite = shop.preferred[segment, rng.integers(0, 3, users)]
    actions = _actions(rng, shop, segment, favourite)
    hidden = rng.random(users) < MISSING_SHARE
    with new_folder(into) as folder:
        _write_users(folder, profile, hidden, form)
        _write_products(folder, shop, form)
        actions.write_csv(folder / "actions.csv")
        (folder / "truth.json").write_text(
            json.dumps(_truth(shop, segment, favourite, seed), indent=1), encoding="utf-8"
        )
        if form == "csv":
            (folder / SCHEMA_FILE).write_text(seed_schema().dump(), encoding="utf-8")
    return into


def _shop(rng: np.random.Generator, products: int) -> _Shop:
    category = rng.permutation(np.arange(products) % CATEGORIES)
    brand = category * BRANDS_A_CATEGORY + rng.integers(0, BRANDS_A_CATEGORY, products)
    popularity: _Floats = np.reciprocal(rng.permutation(products) + 10.0)
    preferred = np.stack([rng.permutation(CATEGORIES)[:3] for _ in range(12)])
    return _Shop(category, brand, rng.integers(0, SHOPS, products), popularity, preferred)


def _profiles(rng: np.random.Generator, users: int) -> dict[str, _Ints]:
    """Profile codes as the seed has them: age 1-6, sex 0-1, city level 1-6, and where: province, city, district."""
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
    """Popularity, with the brands that the segment prefers lifted."""
    return shop.popularity * np.where(shop.brand % 2 == segment % 2, BRAND_LIFT, 1.0)


def _item_probabilities(shop: _Shop, segment: int, favourite: int) -> _Floats:
    """The probability of each item in an action of a user of `segment` whose favourite category is `favourite`."""
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
    for s, f in sorted(set(zip(segment.tolist(), favourite.tolist(), strict=True))):
        rows = (segment[user] == s) & (favourite[user] == f)
        item[rows] = rng.choice(len(shop.category), int(rows.sum()), p=_item_probabilities(shop, s, f))
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
    # The seed's files hold these codes as floats: 5.0, not 5.
    codes = pl.col(USER_WIRE_FIELDS).cast(pl.Float64).cast(pl.String)
    fields = pl.when("hidden").then(pl.lit("-1")).otherwise(codes).name.keep()
    ids = (FIRST_USER + pl.int_range(pl.len())).cast(pl.String).alias("user_id")
    _write(pl.DataFrame({**profile, "hidden": hidden}).select(ids, fields), folder, "users", form)


def _write_products(folder: Path, shop: _Shop, form: Form) -> None:
    columns = dict(zip(ITEM_WIRE_FIELDS, (shop.brand, shop.shop, shop.category), strict=True))
    ids = (FIRST_ITEM + ITEM_STEP * pl.int_range(pl.len())).cast(pl.String).alias("sku_id")
    _write(
        pl.DataFrame(columns).select(ids, *(pl.col(n).cast(pl.String) for n in ITEM_WIRE_FIELDS)),
        folder,
        "products",
        form,
    )


def _write(frame: pl.DataFrame, folder: Path, stem: str, form: Form) -> None:
    if form == "seed":
        frame.write_csv(folder / f"{stem}.dat", separator=":", include_header=False)
    else:
        frame.write_csv(folder / f"{stem}.csv")


def _truth(shop: _Shop, segment: _Ints, favourite: _Ints, seed: int) -> dict[str, Any]:
    """What was planted.

    Per segment its profile values, preferred categories, preferred brands (their number modulo 2), the expected share
    of each category in its actions and its 50 most probable items; per user the segment and the favourite category.
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
