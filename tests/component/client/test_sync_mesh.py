"""The blocking client on a real server: from threads, in a running event loop, across a fork."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from recmesh.client import Item, User, sync
from recmesh.errors import AnswerFailed, DeadlineExceeded, InvalidRequest, Overloaded, RecmeshError, Unavailable
from tests.component.client.conftest import LoopbackMesh

STATUS = grpc.StatusCode


def test_answers_are_plain_values(loopback: LoopbackMesh) -> None:
    with sync.Mesh(loopback.targets) as mesh:
        user = mesh.um("1")
        assert user.profile == {"age": "5.0", "city": "7", "job": "cook"}
        assert mesh.cm(["b", "nothing"]).missing == ("nothing",)
        assert [candidate.sku_id for candidate in mesh.recall(user, size=3).candidates] == ["a", "b", "c"]
        assert set(mesh.rank(user, [Item("new")]).by_sku_id) == {"new"}
        assert set(mesh.score(user, ["a", "b"]).by_sku_id) == {"a", "b"}
        assert [item.sku_id for item in mesh.recommend("1", size=2, exclude=["a"]).items] == ["b", "c"]


def test_scoring_splits_at_the_limit_and_stays_with_one_release(loopback: LoopbackMesh) -> None:
    with sync.Mesh(loopback.targets) as mesh:
        assert len(mesh.score(User("1"), [f"i{k}" for k in range(4_500)]).by_sku_id) == 4_500
    assert [len(request.item_ids) for request in loopback.requests["rank"]] == [2_000, 2_000, 500]
    assert [request.release for request in loopback.requests["rank"]] == ["", "r1", "r1"]


def test_unavailable_is_retried(loopback: LoopbackMesh) -> None:
    loopback.faults["um"].extend([STATUS.UNAVAILABLE] * 4)
    with sync.Mesh(loopback.targets) as mesh:
        assert mesh.um("1").user_id == "1"
    assert loopback.calls["um"] == 5


def test_overload_is_retried_on_request(loopback: LoopbackMesh) -> None:
    loopback.faults["as"].append(STATUS.RESOURCE_EXHAUSTED)
    with sync.Mesh(loopback.targets, retry_overload=True) as mesh:
        assert mesh.recommend("1", size=1).items
    assert loopback.calls["as"] == 2


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (STATUS.INVALID_ARGUMENT, InvalidRequest),
        (STATUS.RESOURCE_EXHAUSTED, Overloaded),
        (STATUS.DEADLINE_EXCEEDED, DeadlineExceeded),
        (STATUS.INTERNAL, RecmeshError),
    ],
)
def test_other_statuses_fail_at_once(
    loopback: LoopbackMesh, status: grpc.StatusCode, error: type[RecmeshError]
) -> None:
    loopback.faults["as"].append(status)
    with sync.Mesh(loopback.targets) as mesh, pytest.raises(error, match=f"as at {loopback.target}"):
        mesh.recommend("1")
    assert loopback.calls["as"] == 1


def test_a_failed_answer_is_an_error_with_its_text(loopback: LoopbackMesh) -> None:
    with sync.Mesh(loopback.targets) as mesh, pytest.raises(AnswerFailed, match=r"um answered 500: UM server get"):
        mesh.um("77")


def test_an_outage_and_a_hanging_service_end_at_the_deadline(loopback: LoopbackMesh) -> None:
    loopback.gate.clear()
    with sync.Mesh(loopback.targets) as mesh:
        with pytest.raises(DeadlineExceeded):
            mesh.um("1", timeout=0.3)
        loopback.gate.set()
        loopback.kill()
        with pytest.raises(Unavailable, match=r"did not answer within 0\.5 s"):
            mesh.recommend("1", timeout=0.5)


async def test_it_works_where_an_event_loop_is_running(loopback: LoopbackMesh) -> None:
    """As in a cell of a notebook."""
    with sync.Mesh(loopback.targets) as mesh:
        assert mesh.um("1").user_id == "1"


def test_threads_share_a_mesh_and_its_channels(loopback: LoopbackMesh) -> None:
    opened: list[str] = []

    def open_channel(target: str, options: object) -> grpc.Channel:
        opened.append(target)
        return grpc.insecure_channel(target)

    threads = 16
    together = threading.Barrier(threads)
    mesh = sync.Mesh(loopback.targets, channel_factory=open_channel)

    def ask(k: int) -> str:
        together.wait()
        return mesh.um(str(k % 9 + 1)).user_id

    with mesh, ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(ask, range(threads))) == [str(k % 9 + 1) for k in range(threads)]
    assert opened == [loopback.target]


def test_a_closed_mesh_can_be_used_again(loopback: LoopbackMesh) -> None:
    mesh = sync.Mesh(loopback.targets)
    assert mesh.um("1").user_id == "1"
    mesh.close()
    assert mesh.um("2").user_id == "2"
    mesh.close()


FORKING = """
import os, sys
from recmesh.client import Targets, sync

mesh = sync.Mesh(Targets(dict.fromkeys(("um", "as"), sys.argv[1])))
for _ in range(3):
    child = os.fork()
    if not child:
        right = mesh.um("2").user_id == "2" and len(mesh.recommend("2", size=1).items) == 1
        os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0
assert mesh.um("3").user_id == "3"
"""


@pytest.mark.parametrize("fork_support", ["1", "0"])
def test_forked_workers_use_the_mesh_of_their_parent(loopback: LoopbackMesh, fork_support: str) -> None:
    """As gunicorn's with --preload. The parent runs no server: gRPC's servers cannot be forked."""
    done = subprocess.run(
        [sys.executable, "-c", FORKING, loopback.target],
        env={**os.environ, "GRPC_ENABLE_FORK_SUPPORT": fork_support},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
