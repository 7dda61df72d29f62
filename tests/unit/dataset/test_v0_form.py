"""The files of the v0 contract: users.dat, products.dat and product_vectors.txt."""

from pathlib import Path

import pytest

from recmesh.dataset import read
from recmesh.errors import DataError

from .conftest import SCHEMA, MakeFolder, rejected

ACTIONS = "user_id,sku_id,action_time,type\n1,10,2024-01-01T00:00:00,view\n2,20,2024-01-02T00:00:00,order\n"
USERS = "1:5.0:1.0:5.0:20.0:176.0:1933.0\n2:-1:0.0:::x y:\n"
V0_FILES = {
    "schema.yaml": None,
    "users.csv": None,
    "products.csv": None,
    "users.dat": USERS,
    "products.dat": "10:3456:6980:70\n20:1:2:\n30:9:9:9\n",
    "actions.csv": ACTIONS,
}


def test_a_folder_in_the_v0_form_is_read(folder: MakeFolder) -> None:
    data = read(folder(V0_FILES))
    assert data.users.columns == ["user_id", "age", "sex", "city_level", "province", "city", "country"]
    assert data.users.rows() == [
        ("1", "5.0", "1.0", "5.0", "20.0", "176.0", "1933.0"),
        ("2", None, "0.0", None, None, "x y", None),
    ]
    assert data.items.columns == ["sku_id", "brand", "shopid", "cate"]
    assert data.items.rows() == [("10", "3456", "6980", "70"), ("20", "1", "2", None), ("30", "9", "9", "9")]
    assert data.actions.height == 2


def test_rows_with_a_wrong_number_of_columns_are_rejected(folder: MakeFolder, tmp_path: Path) -> None:
    dat = USERS + '3:1:1:1\n4:"1:1:1:1:1:1\n\n5:1:1:1:1:1:1:1\n'
    data = read(folder({**V0_FILES, "users.dat": dat}), tmp_path / "rejects.csv", max_damaged=0.5)
    assert data.users["user_id"].to_list() == ["1", "2", "4"]
    assert data.users["age"].to_list()[-1] == '"1'
    assert rejected(tmp_path / "rejects.csv") == [
        ("users.dat", 3, "4 columns instead of 7", "3:1:1:1"),
        ("users.dat", 6, "8 columns instead of 7", "5:1:1:1:1:1:1:1"),
    ]


def test_a_schema_may_select_from_the_v0_fields(folder: MakeFolder) -> None:
    schema = SCHEMA.replace("age: {kind: categorical}, ", "").replace(", price: {kind: numeric}", "")
    data = read(folder({**V0_FILES, "schema.yaml": schema.replace("value: value, ", "")}))
    assert data.users.rows() == [("1", "176.0"), ("2", "x y")]
    with pytest.raises(DataError, match=r'products\.dat: no column "price"'):
        read(folder({**V0_FILES, "schema.yaml": SCHEMA}, name="more"))


def test_vectors_are_read_and_bad_lines_rejected(folder: MakeFolder, tmp_path: Path) -> None:
    lines = [
        "20:[1,2,3]",
        "10:[0.5, -1e-3,2]",
        "30 : [7,8]",
        "10:[9,9,9]",
        "99:[1,2,3]",
        "30:[1,nan,3]",
        "30:[1,x,3]",
        "30",
    ]
    path = folder({**V0_FILES, "product_vectors.txt": "\n".join(lines)})
    data = read(path, tmp_path / "rejects.csv", max_rejected=0.7)
    assert data.product_vectors is not None
    assert data.product_vectors["sku_id"].to_list() == ["10", "20"]
    assert data.product_vectors["vector"].to_numpy().tolist() == [[9.0, 9.0, 9.0], [1.0, 2.0, 3.0]]
    assert data.product_vectors["vector"].to_numpy().dtype == "float32"
    assert rejected(tmp_path / "rejects.csv") == [
        ("product_vectors.txt", 3, "the dimension of the vector is not 3", "30 : [7,8]"),
        ("product_vectors.txt", 5, "sku_id is not in products", "99:[1,2,3]"),
        ("product_vectors.txt", 6, "vector contains something that is not a finite number", "30:[1,nan,3]"),
        ("product_vectors.txt", 7, "vector contains something that is not a finite number", "30:[1,x,3]"),
        ("product_vectors.txt", 8, "not of the form id:[number,number,...]", "30"),
    ]
    tally = data.report.tally("product_vectors")
    assert (tally.read, tally.used, tally.duplicates, tally.unlisted, tally.rejected) == (8, 2, 1, 1, 4)


def test_vectors_count_in_the_fingerprint_but_their_order_does_not(folder: MakeFolder) -> None:
    def fingerprint(name: str, text: str) -> str:
        return read(folder({**V0_FILES, "product_vectors.txt": text}, name=name)).fingerprint

    first = fingerprint("first", "10:[1,2]\n20:[3,4]\n")
    assert fingerprint("turned", "20:[3,4]\r\n10:[1.0,2]\r\n") == first
    assert fingerprint("other", "20:[3,4]\n10:[1,2.5]\n") != first


def test_vectors_of_unknown_items_only_are_an_error(folder: MakeFolder) -> None:
    with pytest.raises(DataError, match=r"product_vectors: 1 of 1 rows cannot be used.*sku_id is not in products"):
        read(folder({**V0_FILES, "product_vectors.txt": "99:[1,2]\n"}))
