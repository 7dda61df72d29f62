"""A small data set, written file by file."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

SCHEMA = """\
user: {id: user_id, fields: {age: {kind: categorical}, city: {kind: categorical}}}
item: {id: sku_id, fields: {brand: {kind: categorical}, cate: {kind: categorical}, price: {kind: numeric}}}
action: {user: user_id, item: sku_id, time: action_time, type: type, value: value, weights: {view: 0.1, order: 3}}
"""

FILES = {
    "schema.yaml": SCHEMA,
    "users.csv": "user_id,age,city\n101,20-29,Rome\n102,30-39,\n103,,Oslo\n",
    "products.csv": "sku_id,brand,cate,price\na,x,1,2.5\nb,y,1,10\nc,x,2,\n",
    "actions.csv": (
        "user_id,sku_id,action_time,type,value\n"
        "101,a,2024-01-01T00:00:00,view,\n"
        "102,b,2024-01-02T00:00:00,order,2\n"
        "101,c,2024-01-03T00:00:00,order,1.5\n"
    ),
}

MakeFolder = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> MakeFolder:
    """Return a function that writes the small data set, with some files changed, added, or left out (None)."""

    def make(changes: Mapping[str, str | bytes | None] | None = None, name: str = "data") -> Path:
        path = tmp_path / name
        files: dict[str, str | bytes | None] = {**FILES, **(changes or {})}
        for file, content in files.items():
            if content is not None:
                (path / file).parent.mkdir(parents=True, exist_ok=True)
                (path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def rejected(path: Path) -> list[tuple[str, int, str, str]]:
    """Return the rows of a rejects file: file, line, reason, row."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["file", "line", "reason", "row"]
    return [(name, int(line), reason, row) for name, line, reason, row in rows[1:]]
