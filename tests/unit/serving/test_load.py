"""The limits of calls in flight."""

import pytest

from recmesh.errors import InvalidRequest, Overloaded
from recmesh.pb.cm_pb2 import CMRequest
from recmesh.serving.interceptor import Load
from recmesh.serving.limits import check_count, check_excluded, check_ids
from recmesh.serving.rpc import Received, receiver


def test_calls_beyond_the_limit_are_refused() -> None:
    load = Load(2, 1_000)
    load.enter(1)
    load.enter(1)
    with pytest.raises(Overloaded, match=r"2 requests are in flight already \(RECMESH_MAX_IN_FLIGHT\)"):
        load.enter(1)
    load.leave(1)
    load.enter(1)
    assert (load.in_flight, load.bytes) == (2, 2)


def test_requests_beyond_the_limit_of_bytes_are_refused() -> None:
    load = Load(100, 1_000)
    load.enter(400)
    load.enter(600)
    with pytest.raises(Overloaded, match=r"have 1,000 of 1,000 bytes \(RECMESH_MAX_BYTES_IN_FLIGHT\)"):
        load.enter(1)
    load.leave(400)
    load.enter(400)
    assert (load.in_flight, load.bytes) == (2, 1_000)


def test_a_single_request_may_exceed_the_limit_of_bytes() -> None:
    """It would never be answered otherwise."""
    load = Load(100, 1_000)
    load.enter(5_000)
    load.leave(5_000)
    assert (load.in_flight, load.bytes) == (0, 0)


@pytest.mark.parametrize("identity", ["x" * 128, "é" * 64, "😀" * 32, "", "x" * 33])
def test_ids_of_up_to_128_bytes_pass(identity: str) -> None:
    check_ids("user_id", ["1", identity])


@pytest.mark.parametrize(("identity", "size"), [("x" * 129, "129"), ("é" * 65, "130"), ("😀" * 33, "132")])
def test_longer_ids_are_refused(identity: str, size: str) -> None:
    with pytest.raises(InvalidRequest, match=f"item_ids: an id has {size} bytes: at most 128"):
        check_ids("item_ids", ["1", identity])


def test_the_number_of_entries_is_limited() -> None:
    check_count("item_ids", 2_000, 2_000)
    check_excluded(["1"] * 10_000)
    with pytest.raises(InvalidRequest, match="item_ids has 2,001 entries: at most 2,000"):
        check_count("item_ids", 2_001, 2_000)
    with pytest.raises(InvalidRequest, match="exclude_ids has 10,001 entries: at most 10,000"):
        check_excluded(["1"] * 10_001)


def test_a_request_arrives_with_its_size_or_with_the_reason_why_not() -> None:
    content = CMRequest(item_ids=["1"]).SerializeToString()
    received = receiver(CMRequest, max_bytes=100)
    assert received(content) == Received(CMRequest(item_ids=["1"]), len(content))
    broken, large = received(b"\xff\xff"), received(b"\x12\x01x" * 34)
    assert str(broken.message) == "the request is no cm.CMRequest"
    assert str(large.message) == "the request has 102 bytes: at most 100"
    assert (broken.size, large.size) == (2, 102)
    assert all(isinstance(one.message, InvalidRequest) for one in (broken, large))
