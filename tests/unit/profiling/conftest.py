"""A small shop whose facts can be counted by hand."""

from pathlib import Path

import pytest

SCHEMA = """\
user: {id: user_id, fields: {age: {kind: categorical}, empty: {kind: categorical}}}
item: {id: sku_id, fields: {price: {kind: numeric}, tags: {kind: multi, separator: "|"}, shop: {kind: categorical}}}
action: {user: user_id, item: sku_id, time: time, type: type, weights: {view: 0.5, order: 3}}
"""
USERS = 12
"""u00 to u11. Each but u11 has 5 actions: views of the items a to e, one a day from the 1st of March 2024 on."""


def lines(*rows: str) -> str:
    """Return rows as the text of a file."""
    return "\n".join(rows) + "\n"


def action_rows() -> list[str]:
    """Return the actions: 11 users, 5 days each."""
    return [
        f"u{user:02},{item},2024-03-0{day}T10:00:00,view" for user in range(11) for day, item in enumerate("abcde", 1)
    ]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The folder of the shop."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "schema.yaml").write_text(SCHEMA)
    users = [f"u{user:02},{'young' if user % 3 else 'old'}," for user in range(USERS)]
    (folder / "users.csv").write_text(lines("user_id,age,empty", *users))
    items = [f"{item},{number}.5,{'x|y' if number % 2 else 'x'},1" for number, item in enumerate("abcdefghijkl")]
    (folder / "products.csv").write_text(lines("sku_id,price,tags,shop", *items))
    write_actions(folder, action_rows())
    return folder


def write_actions(folder: Path, rows: list[str]) -> None:
    """Write actions.csv."""
    (folder / "actions.csv").write_text(lines("user_id,sku_id,time,type", *rows))
