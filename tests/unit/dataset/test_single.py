"""Single files of rows: their columns, their schema, and their rows with line numbers."""

import json
from pathlib import Path

from recmesh.dataset.forms.tables import NAME_BYTES, columns_of
from recmesh.dataset.rejects import Rejects
from recmesh.dataset.schema import Action, Schema
from recmesh.dataset.single import read_rows, schema_of

PLAIN = Schema(action=Action(user="user_id", item="sku_id"))


def test_columns_of_long_lines_of_json_are_found(tmp_path: Path) -> None:
    """The part of the file that is looked at ends within a line."""
    file = tmp_path / "products.jsonl"
    lines = [json.dumps({"sku_id": k, f"field{k % 3}": {"text": "x" * 100_000}}) for k in range(20)]
    file.write_text("\n".join(lines))
    assert file.stat().st_size > NAME_BYTES
    assert columns_of(file, PLAIN) == ["sku_id", "field0.text", "field1.text", "field2.text"]


def test_the_columns_of_a_file_without_a_schema_have_the_names_of_feed(tmp_path: Path) -> None:
    actions, users = tmp_path / "clicks.csv", tmp_path / "people.tsv"
    actions.write_text("type,sku_id,other,user_id\n")
    users.write_text("b\tuser_id\ta\n")
    found = schema_of(actions, "actions").action
    assert (found.user, found.item, found.time, found.type, found.value) == ("user_id", "sku_id", None, "type", None)
    side = schema_of(users, "users").user
    assert (side.id, list(side.fields)) == ("user_id", ["b", "a"])


def test_rows_are_in_the_order_of_the_file_with_their_lines(tmp_path: Path) -> None:
    """Rows with line breaks in quotes are read in another batch than plain ones."""
    file = tmp_path / "users.csv"
    file.write_text('user_id,note\nu1,"a\nb"\nu2,c\n,d\nu3,"e ""f"""\nu2,g\n')
    rows, tally = read_rows(file, "users", schema_of(file, "users"), Rejects())
    assert rows.frame.rows() == [("u1", "a\nb"), ("u3", 'e "f"'), ("u2", "g")]
    assert rows.lines.to_list() == [2, 6, 7]
    assert (tally.read, tally.used, tally.duplicates, tally.rejected) == (5, 3, 1, 1)


def test_equal_actions_stay_two_rows(tmp_path: Path) -> None:
    file = tmp_path / "actions.csv"
    file.write_text("user_id,sku_id,event_id\nu,i,e\nu,i,\nu,i,\n")
    rows, tally = read_rows(file, "actions", schema_of(file, "actions"), Rejects())
    assert rows.frame.select("user_id", "sku_id", "time", "event_id").rows() == [
        ("u", "i", 0, "e"), ("u", "i", 0, None), ("u", "i", 0, None)
    ]  # fmt: skip
    assert (rows.lines.to_list(), tally.used) == ([2, 3, 4], 3)
