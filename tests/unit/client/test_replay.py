"""`recmesh replay`: which differences it names, and what it does with lines and requests that fail."""

import json
import re
from collections.abc import Iterator, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from typer.testing import CliRunner, Result

from recmesh.answers import LoggedAnswer, Scores
from recmesh.cli.main import app
from recmesh.cli.replaying import Comparison, Logged, compare
from recmesh.contract import METHOD_PATHS, REPLAY
from recmesh.errors import DataError
from recmesh.pb.as_pb2 import ASRequest, ASResponse


def response(items: str, release: str = "r1", degraded: Sequence[str] = ()) -> ASResponse:
    return ASResponse(
        error={"code": 200}, item_infos=[{"sku_id": item} for item in items], release=release, degraded=degraded
    )


def compared(then: str, now: str, **changes: Any) -> Comparison:
    return compare(Logged("f:1", ASRequest(user_id="7"), tuple(then), "r1", ()), response(now, **changes))


@pytest.mark.parametrize(
    ("then", "now", "kind", "came", "went", "overlap"),
    [
        ("abc", "abc", "equal", "", "", 1),
        ("", "", "equal", "", "", 1),
        ("abc", "bac", "other order", "", "", 1),
        ("abcd", "adef", "other items", "ef", "bc", 0.5),
        ("abcd", "ab", "other items", "", "cd", 0.5),
        ("", "ab", "other items", "ab", "", 0),
    ],
)
def test_lists_are_compared(then: str, now: str, kind: str, came: str, went: str, overlap: float) -> None:
    found = compared(then, now)
    assert (found.kind, "".join(found.came), "".join(found.went), found.overlap) == (kind, came, went, overlap)


def test_a_difference_is_one_line() -> None:
    assert str(compared("abc", "bac")) == "f:1: user 7: other order"
    assert str(compared("abc", "dbc", release="r2", degraded=["um"])) == (
        "f:1: user 7: 1 other items; came d; went a; release r1, now r2; degraded now: um"
    )
    assert "went a, b, c, d, e and 3 more" in str(compared("abcdefgh", ""))
    nobody = compare(Logged("f:2", ASRequest(user_id="-1"), ("a", "b"), "r1", ["rank"]), response("ba"))
    assert str(nobody) == "f:2: new user: other order; degraded then: rank"


class _As(grpc.GenericRpcHandler):
    """An `as` that gives each user one list, and keeps the requests with their metadata."""

    def __init__(self) -> None:
        self.asked: list[tuple[ASRequest, dict[str, str | bytes]]] = []
        self.lists: dict[str, ASResponse] = {}

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        if details.method != METHOD_PATHS["as"]:
            return None
        metadata = dict(details.invocation_metadata or ())
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._answer(request, metadata, context),
            request_deserializer=ASRequest.FromString,
            response_serializer=ASResponse.SerializeToString,
        )

    def _answer(
        self, request: ASRequest, metadata: dict[str, str | bytes], context: grpc.ServicerContext
    ) -> ASResponse:
        self.asked.append((request, metadata))
        if request.user_id not in self.lists:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such test")
        return self.lists[request.user_id]


@pytest.fixture
def mesh(monkeypatch: pytest.MonkeyPatch) -> Iterator[_As]:
    handler = _As()
    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("RECMESH_AS_TARGET", f"127.0.0.1:{port}")
    yield handler
    server.stop(0)


def line(user: str, items: str, release: str = "r1", **request: Any) -> str:
    nothing = Scores(ids=(), scores=())
    return LoggedAnswer(
        time=1,
        now=1,
        release=release,
        items=tuple(items),
        candidates=nothing,
        channels={},
        ranked=nothing,
        request={"user_id": user, **request},
        profile={},
        history={},
    ).model_dump_json()


def replay(*arguments: object) -> Result:
    done = CliRunner().invoke(app, ["replay", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.fixture
def log(tmp_path: Path) -> Path:
    lines = [line("1", "abc", size=3, exclude_ids=["z"]), "no answer", line("2", "abc"), line("3", "abc")]
    file = tmp_path / "answers-1.jsonl"
    file.write_text("\n".join([*lines, line("4", "ab", release="r0")]) + "\n")
    return file


def test_equal_answers_are_a_success(mesh: _As, log: Path) -> None:
    mesh.lists = {user: response("abc") for user in "123"} | {"4": response("ab")}
    done = replay(log.parent)
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "asked 4 requests: 4 equal, 0 other order, 0 other items, 0 failed; the lists share 100.0% of their items",
        "1 answered by another release, 1 lines that cannot be read",
    ]
    assert f"warning: {log}:2: not a logged answer" in done.stderr
    first = next(request for request, _ in mesh.asked if request.user_id == "1")
    assert first == ASRequest(user_id="1", size=3, exclude_ids=["z"])
    assert all(metadata[REPLAY[0]] == REPLAY[1] for _, metadata in mesh.asked)


def test_each_difference_and_each_failure_is_named(mesh: _As, log: Path) -> None:
    mesh.lists = {"1": response("abc"), "2": response("cba"), "4": response("ad", release="r1", degraded=["cm"])}
    done = replay(log)
    *lines, summary, others = done.stdout.splitlines()
    assert re.fullmatch(rf"{re.escape(str(log))}:4: user 3: failed: as at .*: no such test", lines.pop(1))
    assert lines == [
        f"{log}:3: user 2: other order",
        f"{log}:5: user 4: 1 other items; came d; went b; release r0, now r1; degraded now: cm",
    ]
    # (1 + 1 + 1/2) / 3 of the items
    assert "1 equal, 1 other order, 1 other items, 1 failed; the lists share 83.3%" in summary
    assert others == "1 answered by another release, 1 degraded now, 1 lines that cannot be read"
    assert done.exit_code == 5, "that of a refused request"
    mesh.lists["3"] = response("abc")
    assert replay(log).exit_code == 1


def test_json_has_the_totals_and_the_differences(mesh: _As, log: Path) -> None:
    mesh.lists = {user: response("abc") for user in "123"} | {"4": response("xb")}
    done = replay(log, "--json")
    found = json.loads(done.stdout)
    (difference,) = found.pop("differences")
    (fault,) = found.pop("faults")
    assert found == {
        **{"asked": 4, "equal": 3, "other_order": 0, "other_items": 1, "failed": 0, "overlap": 0.875},
        **{"other_release": 1, "degraded_then": 0, "degraded_now": 0, "bad_lines": 1},
    }
    assert (difference["place"], difference["came"], difference["went"]) == (f"{log}:5", ["x"], ["a"])
    assert re.match(rf"{re.escape(str(log))}:2: ", fault)
    assert done.exit_code == 1


def test_a_part_of_the_log_can_be_chosen(mesh: _As, log: Path) -> None:
    mesh.lists = {user: response("abc") for user in "1234"}
    assert json.loads(replay(log, "--json", "--release", "r1").stdout)["asked"] == 3
    mesh.asked.clear()
    assert json.loads(replay(log, "--json", "--release", "r1", "--limit", 2).stdout)["equal"] == 2
    assert {request.user_id for request, _ in mesh.asked} == {"2", "3"}
    with pytest.raises(DataError, match="no logged answer of release r9"):
        replay(log, "--release", "r9")


def test_a_request_of_another_contract_is_a_bad_line(mesh: _As, tmp_path: Path) -> None:
    mesh.lists = {"1": response("a")}
    file = tmp_path / "answers-1.jsonl"
    file.write_text(line("1", "a", unheard_of=1) + "\n" + line("1", "a") + "\n")
    done = replay(file)
    assert (done.exit_code, "1 equal" in done.stdout) == (0, True)
    assert f'warning: {file}:1: request: Message type "as.ASRequest" has no field named "unheard_of"' in done.stderr
