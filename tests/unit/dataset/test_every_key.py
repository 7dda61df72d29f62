"""Every key of schema.yaml has an effect on what training gets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from jobs.train.data.prepare import prepare
from recmesh.dataset import Schema, read
from recmesh.dataset.forms.files import sources
from recmesh.dataset.schema import Field
from recmesh.errors import DataError

_USERS, _ITEMS, _DAYS = 12, 14, 6
_SCHEMA: dict[str, Any] = {
    "user": {"id": "uid", "fields": {"age": {"kind": "categorical"}}},
    "item": {"id": "sku", "fields": {"price": {"kind": "categorical"}, "tags": {"kind": "multi", "separator": "|"}}},
    "action": {
        "user": "uid",
        "item": "sku",
        "time": "day",
        "type": "kind",
        "value": {"column": "stars", "positive": ">= 2"},
        "weights": {"view": 0.5, "order": 1},
    },
}

_CHANGES: dict[str, dict[str, Any]] = {
    "user": {"user.fields": {"city": {"kind": "categorical"}}},
    "user.id": {"user.id": "other id"},
    "user.fields": {"user.fields": {}},
    "item": {"item.fields": {}},
    "item.id": {"item.id": "other sku"},
    "item.fields": {"item.fields": {"price": {"kind": "categorical"}}},
    "fields.kind": {"item.fields.price.kind": "numeric"},
    "fields.column": {"item.fields.price.column": "cost"},
    "fields.separator": {"item.fields.tags.separator": ";"},
    "action": {"action.type": None, "action.weights": {}},
    "action.user": {"action.user": "buyer"},
    "action.item": {"action.item": "bought"},
    "action.time": {"action.time": "second day"},
    "action.unit": {"action.time": "epoch", "action.unit": "ms"},
    "action.format": {"action.format": "%Y-%d-%m"},
    "action.type": {"action.type": None, "action.weights": {}},
    "action.value": {"action.value": None},
    "action.value.column": {"action.value.column": "points"},
    "action.value.positive": {"action.value.positive": ">= 3"},
    "action.weight_by": {"action.weight_by": "value"},
    "action.weights": {"action.weights": {"view": 0.1, "order": 1}},
    "repeats": {"repeats": "false"},
    "missing": {"missing": ["30"]},
    "encoding": {"encoding": "latin-1"},
    "separator": {"separator": ";"},
    "decimal": {"item.fields.price": {"kind": "numeric", "column": "cost"}, "decimal": ","},
    "escape": {"user.fields": {"city": {"kind": "categorical"}}, "escape": "\\"},
}
"""For each key a change of the schema: keys with dots, and None to remove one."""

_INSTEAD: dict[str, dict[str, Any]] = {
    "action.unit": {"action.time": "epoch", "action.unit": "s"},
    "decimal": {"item.fields.price": {"kind": "numeric", "column": "cost"}},
    "escape": {"user.fields": {"city": {"kind": "categorical"}}},
}
"""For keys that the schema above cannot have, what the change is compared with."""


def keys(model: type[BaseModel] = Schema, place: str = "") -> Iterator[str]:
    """Yield every key that schema.yaml may have. The keys of a field are the same on both sides."""
    for name, declared in model.model_fields.items():
        yield place + name
        for inner in (declared.annotation, *get_args(declared.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel) and inner is not Field:
                yield from keys(inner, f"{place}{name}.")
    if model is Schema:
        yield from keys(Field, "fields.")


def changed(*changes: dict[str, Any]) -> Schema:
    """Return the schema with some changes."""
    content = Schema.model_validate(_SCHEMA).model_dump(exclude_none=True)
    for place, value in (change for part in changes for change in part.items()):
        *parents, last = place.split(".")
        holder = content
        for parent in parents:
            holder = holder[parent]
        holder[last] = value
        if value is None:
            del holder[last]
    return Schema.model_validate(content)


def observed(folder: Path, schema: Schema) -> dict[str, Any]:
    """Return what training gets of the data set when it is read with a schema."""
    (folder / "schema.yaml").write_text(schema.dump(), encoding="utf-8")
    try:
        data = read(folder, max_rejected=1)
    except DataError as error:  # no file has the separator
        return {"error": str(error)}
    prepared = prepare(data)
    return {
        "users": data.users.rows(),
        "items": data.items.rows(),
        "actions": data.actions.rows(),
        "spec": prepared.spec.model_dump(),
        "weights": prepared.weights_of(slice(None)).tolist(),
        "vocabularies": [v.values for v in (*prepared.user_vocabularies, *prepared.item_vocabularies)],
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with more columns than a schema names."""
    folder = tmp_path_factory.mktemp("keys")
    users = [f"{n},{_USERS - n},{n % 3 * 10 + 10},c\\\\{n % 2}" for n in range(_USERS)]
    items = [f"{n},{_ITEMS - n},{n % 5}.5,{n % 4}.250,a|b;{'cä'[n % 2]}" for n in range(_ITEMS)]
    actions = [
        f"{user},{_USERS - user},{item},{_ITEMS - item},2024-01-{day + 1:02},2024-02-{day * 2 + 1:02},"
        f"{1 + day},{('view', 'order')[item % 2]},{item % 4 + 1},{user % 4 + 1}"
        for user in range(1, _USERS)
        for item in range(1, _ITEMS)
        for day in [(user + item) % _DAYS]
    ]
    for name, header, rows in (
        ("users", "uid,other id,age,city", users),
        ("products", "sku,other sku,price,cost,tags", items),
        ("actions", "uid,buyer,sku,bought,day,second day,epoch,kind,stars,points", actions),
    ):
        (folder / f"{name}.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    assert sources(folder, "users")
    return folder


def test_no_key_is_forgotten() -> None:
    assert sorted(_CHANGES) == sorted(set(keys()))


@pytest.mark.parametrize("key", _CHANGES)
def test_a_key_has_an_effect(key: str, folder: Path) -> None:
    instead = _INSTEAD.get(key, {})
    assert observed(folder, changed(_CHANGES[key])) != observed(folder, changed(instead))


def test_the_same_schema_has_no_effect(folder: Path) -> None:
    assert observed(folder, changed()) == observed(folder, changed())
