"""The keys and values that schema.yaml accepts, and its error messages."""

from pathlib import Path

import pytest

from recmesh.dataset import Schema
from recmesh.errors import DataError

from .conftest import SCHEMA, MakeFolder


def error_of(text: str) -> str:
    with pytest.raises(DataError) as caught:
        Schema.parse(text)
    message = str(caught.value)
    assert message.startswith("schema.yaml: ")
    assert "\n" not in message
    return message


def test_all_keys_are_read() -> None:
    schema = Schema.parse(
        """
        user: {id: uid, fields: {age: {kind: categorical}, income: {kind: numeric, column: "yearly income"}}}
        item: {id: sku, fields: {genres: {kind: multi, separator: "|"}}}
        action: {user: uid, item: sku, time: ts, unit: ms, type: kind, value: stars, weights: {1: 0.1, 2: 3}}
        repeats: false
        missing: ["NA", -1]
        encoding: GB18030
        """
    )
    assert schema.user.column_of("income") == "yearly income"
    assert schema.user.column_of("age") == "age"
    assert schema.item.fields["genres"].separator == "|"
    assert (schema.action.unit, schema.repeats, schema.encoding) == ("ms", False, "gb18030")
    assert schema.missing == ("", "NA", "-1")
    assert (schema.weight("1"), schema.weight("2"), schema.weight("other")) == (0.1, 3.0, 1.0)


def test_optional_keys_have_defaults() -> None:
    schema = Schema.parse("user: {id: u, fields: }\nitem: {id: i}\naction: {user: u, item: i, time: t}")
    assert schema.user.fields == {} == schema.item.fields
    assert (schema.repeats, schema.missing, schema.encoding) == (True, ("",), "utf-8")
    assert schema.action.only_type == "action"
    assert schema.weight("anything") == 1.0


def test_scalars_stay_text() -> None:
    schema = Schema.parse(SCHEMA.replace("user_id,", "no,").replace("brand:", "007:") + "missing: [null, 1.0, no]")
    assert schema.user.id == "no"
    assert "007" in schema.item.fields
    assert schema.missing == ("", "null", "1.0", "no")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("time: action_time", "tiem: action_time", 'action.tiem: unknown key; did you mean "time"?'),
        ("time: action_time", "type: x", 'key "type" occurs twice'),
        ("user: {id: user_id", "user: {ident: user_id", "user.id: missing"),
        ("kind: numeric", "kind: number", 'item.fields.price.kind: "number" is not one of'),
        ("kind: numeric", "knd: numeric", 'item.fields.price.knd: unknown key; did you mean "kind"?'),
        ("kind: numeric", "kind: multi", "item.fields.price: kind multi needs a separator"),
        ("kind: numeric", 'kind: numeric, separator: "|"', "item.fields.price: only kind multi has a separator"),
        ("view: 0.1", "view: much", "action.weights.view: input should be a valid number"),
        ("view: 0.1", "view: -1", "action.weights: the weight of view must be a number and at least 0"),
        ("view: 0.1, order: 3", "view: 0", "action.weights: at least one weight must be above 0"),
        ("type: type, ", "", "action: weights name several types"),
        ("time: action_time", "time: action_time, unit: sec", 'action.unit: "sec" is not one of s, ms, us or ns'),
        ("age:", "sku_id:", 'user.fields: a field cannot be named "sku_id"'),
        ("user:", "users:", 'users: unknown key; did you mean "user"?'),
    ],
)
def test_an_error_names_its_key(old: str, new: str, said: str) -> None:
    assert said in error_of(SCHEMA.replace(old, new, 1))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must be a mapping"),
        ("- a", "must be a mapping"),
        ("user: {id", "invalid YAML"),
        (SCHEMA + "encoding: utf-9", 'encoding: unknown encoding "utf-9"'),
        (SCHEMA + "repeats: maybe", "repeats: input should be a valid boolean"),
    ],
)
def test_an_invalid_schema_is_an_error(text: str, said: str) -> None:
    assert said in error_of(text)


def test_a_dumped_schema_is_read_back() -> None:
    schema = Schema.parse(SCHEMA + 'missing: ["-1"]\nencoding: gb18030\nrepeats: false')
    assert Schema.parse(schema.dump()) == schema


def test_a_missing_schema_suggests_a_similar_file(folder: MakeFolder) -> None:
    path = folder({"schema.yaml": None, "schema.yml": SCHEMA})
    with pytest.raises(DataError, match=r'schema\.yaml: missing.*did you mean "schema\.yml"\?'):
        Schema.load(path)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        Schema.load(tmp_path / "nowhere")


def test_a_folder_in_the_v0_form_needs_no_schema(folder: MakeFolder) -> None:
    schema = Schema.load(folder({"schema.yaml": None, "users.dat": "1:2:3:4:5:6:7\n"}))
    assert list(schema.user.fields) == ["age", "sex", "city_level", "province", "city", "country"]
    assert list(schema.item.fields) == ["brand", "shopid", "cate"]
    assert schema.missing == ("", "-1")
    assert (schema.weight("view"), schema.weight("cart"), schema.weight("order")) == (0.1, 1.0, 3.0)
