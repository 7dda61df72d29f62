"""Cursors are read as they were written; anything else is refused."""

import base64
import random
import zlib

import pytest

from recmesh.chain.cursor import Cursor
from recmesh.conditions import Condition
from recmesh.contract import MAX_CANDIDATES
from recmesh.errors import InvalidRequest
from recmesh.pb import cursor_pb2

CURSOR = Cursor(
    ["a", "b"], [0.5, 0.25], "r1", ["um"], True, (Condition("cate", any_of=("5",)),), {"tags": "|"}, ["", "NA"]
)


def packed(message: cursor_pb2.Cursor) -> str:
    return base64.urlsafe_b64encode(zlib.compress(message.SerializeToString())).decode()


def test_a_cursor_is_read_as_it_was_written() -> None:
    assert Cursor.decode(CURSOR.encode()) == CURSOR
    assert Cursor([], [], "r1").encode() == ""


def test_a_cursor_of_the_longest_list_is_small() -> None:
    """1,000 ids of 13 digits take 13 KB, and their scores another 4 KB."""
    draw = random.Random(1)
    ids = [str(draw.randrange(10**12, 10**13)) for _ in range(MAX_CANDIDATES)]
    cursor = Cursor(ids, [1 / (1 + position) for position in range(MAX_CANDIDATES)], "20261129-1")
    text = cursor.encode()
    assert list(Cursor.decode(text).ids) == ids
    assert len(text) < 18_000


LONGEST = cursor_pb2.Cursor(release="r1", ids=["é" * 64] * MAX_CANDIDATES, scores=[1.0] * MAX_CANDIDATES)


def test_the_longest_ids_fit() -> None:
    assert list(Cursor.decode(packed(LONGEST)).ids) == list(LONGEST.ids)


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "é",
        "A" * 400,
        CURSOR.encode()[:-8],
        base64.urlsafe_b64encode(b"no zlib").decode(),
        base64.urlsafe_b64encode(zlib.compress(b"\xff\xff no message")).decode(),
        packed(cursor_pb2.Cursor(release="r1")),
        packed(cursor_pb2.Cursor(ids=["a", "b"], scores=[1.0])),
        packed(cursor_pb2.Cursor(ids=["a"] * (MAX_CANDIDATES + 1), scores=[1.0] * (MAX_CANDIDATES + 1))),
        packed(cursor_pb2.Cursor(ids=["a" * 50_000_000], scores=[1.0])),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="cursor is invalid"):
        Cursor.decode(text)


def test_damage_anywhere_is_refused_or_harmless() -> None:
    """A changed cursor is refused, or is another list: zlib has a checksum, so few get through."""
    draw, text = random.Random(2), CURSOR.encode()
    for _ in range(2_000):
        place = draw.randrange(len(text))
        changed = text[:place] + draw.choice("abcXYZ019-_=") + text[place + 1 :]
        try:
            assert len(Cursor.decode(changed).ids) > 0
        except InvalidRequest:
            continue
