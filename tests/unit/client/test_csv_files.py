from pathlib import Path

import pytest

from recmesh.cli.csv_files import Query, read_pairs, read_profiles, read_queries
from recmesh.errors import DataError


def test_ids_and_values_are_kept_exactly(tmp_path: Path) -> None:
    path = tmp_path / "queries.csv"
    path.write_bytes('\ufeffuser_id,city\r\n007,"a, ""b""\nc"\r\n7,05\r\n'.encode())
    assert read_queries(path) == [Query("007", "007", {"city": 'a, "b"\nc'}), Query("7", "7", {"city": "05"})]


def test_a_query_counts_once_and_new_users_are_named_by_their_line(tmp_path: Path) -> None:
    path = tmp_path / "queries.csv"
    path.write_text("age,user_id\n5,1\n5,1\n6,\n6,-1\n")
    assert read_queries(path) == [
        Query("1", "1", {"age": "5"}),
        Query("row-4", "", {"age": "6"}),
        Query("row-5", "", {"age": "6"}),
    ]


def test_queries_need_no_user_id_column(tmp_path: Path) -> None:
    path = tmp_path / "queries.csv"
    path.write_text("age\n5\n")
    assert read_queries(path) == [Query("row-2", "", {"age": "5"})]


def test_a_users_rows_that_differ_name_both_lines(tmp_path: Path) -> None:
    path = tmp_path / "queries.csv"
    path.write_text("user_id,age\n1,5\n2,5\n1,6\n")
    with pytest.raises(DataError, match=r"queries\.csv:4: user '1' .* line 2"):
        read_queries(path)


def test_a_later_profile_wins(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_text("user_id,age,city\n1,5,x\n1,6,\n")
    assert read_profiles(path) == {"1": {"age": "6"}}


def test_an_incomplete_pair_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("user_id,sku_id\n1,a\n1,\n")
    with pytest.raises(DataError, match=r"pairs\.csv:3"):
        read_pairs(path)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b'user_id\n"1\n2\n', b"user_id,age\n1,2,3\n"])
def test_a_file_that_is_not_csv_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "queries.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"queries\.csv"):
        read_queries(path)
