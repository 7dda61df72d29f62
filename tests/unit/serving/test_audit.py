"""Audit lines: what they name, and what they hide."""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from recmesh.errors import SettingsError
from recmesh.pb import as_pb2, cm_pb2, feed_pb2, rank_pb2, recall_pb2, um_pb2
from recmesh.pb.user_info_pb2 import UserInfo
from recmesh.serving import logs
from recmesh.serving.audit import Audit
from recmesh.serving.callers import Caller
from recmesh.throttle import LogThrottle

KEY = b"0123456789abcdef"
CALLER = Caller("spiffe://cluster.local/as", "other")


def hashed(user: str) -> str:
    return hmac.new(KEY, user.encode(), "sha256").hexdigest()[:32]


def written(request: object, key: bytes = KEY) -> list[dict[str, Any]]:
    audit = Audit(key)
    with capture_logs() as lines:
        audit.answered("um", "/um.UMService/um_call", CALLER, "OK", request)
    return [dict(line) for line in lines]


@pytest.mark.parametrize(
    ("request_", "users"),
    [
        (um_pb2.UserModelRequest(user_id="8888"), ["8888"]),
        (as_pb2.ASRequest(user_id="8888", user_info=UserInfo(user_id="8888")), ["8888"]),
        (as_pb2.ASRequest(user_info=UserInfo(user_id="é")), ["é"]),
        (as_pb2.ASRequest(user_id="-1"), []),
        (recall_pb2.RecallRequest(user_info=UserInfo(user_id="5")), ["5"]),
        (rank_pb2.RankRequest(user_info=UserInfo(user_id="5")), ["5"]),
        (cm_pb2.CMRequest(item_ids=["1"]), []),
        (feed_pb2.DeleteUserRequest(user_id="5"), ["5"]),
        (feed_pb2.PutUsersRequest(users=[feed_pb2.UserUpdate(user_id=user) for user in "565"]), ["5", "6"]),
        (feed_pb2.RecordActionsRequest(actions=[feed_pb2.Action(user_id="7", sku_id="1")]), ["7"]),
        (feed_pb2.RemoveItemsRequest(sku_ids=["1"]), []),
        (None, []),
    ],
)
def test_a_line_names_the_users_of_a_request_by_their_hashes(request_: object, users: list[str]) -> None:
    assert written(request_) == [
        {
            "event": "audit",
            "log_level": "info",
            "service": "um",
            "method": "/um.UMService/um_call",
            "caller": "spiffe://cluster.local/as",
            "status": "OK",
            "users": [hashed(user) for user in users],
        }
    ]


def test_without_a_key_the_hash_is_sha256() -> None:
    (line,) = written(um_pb2.UserModelRequest(user_id="8888"), b"")
    assert line["users"] == [hashlib.sha256(b"8888").hexdigest()[:32]]


def test_a_call_about_many_users_writes_several_lines() -> None:
    users = [str(number) for number in range(120)]
    lines = written(feed_pb2.PutUsersRequest(users=[feed_pb2.UserUpdate(user_id=user) for user in users]))
    assert [len(line["users"]) for line in lines] == [50, 50, 20]
    assert [user for line in lines for user in line["users"]] == list(map(hashed, users))


def test_refusals_write_a_line_a_second_for_each_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10.0]
    audit = Audit(KEY)
    audit._throttle = LogThrottle(max_pause=1.0, clock=lambda: now[0])
    with capture_logs() as lines:
        for _ in range(5):
            audit.refused("um", "/um.UMService/um_call", "", "UNAUTHENTICATED")
        audit.refused("um", "/um.UMService/um_call", "shop", "PERMISSION_DENIED")
        now[0] += 1
        audit.refused("um", "/um.UMService/um_call", "", "UNAUTHENTICATED")
    assert [(line["caller"], line["status"], line["requests"]) for line in lines] == [
        ("", "UNAUTHENTICATED", 1),
        ("shop", "PERMISSION_DENIED", 1),
        ("", "UNAUTHENTICATED", 5),
    ]


@pytest.mark.usefixtures("own_configuration")
def test_lines_are_written_at_every_log_level(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("error", "compact")
    Audit(KEY).answered("um", "/um.UMService/um_call", CALLER, "OK", um_pb2.UserModelRequest(user_id="8888"))
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (line["event"], line["service"], line["level"], line["users"]) == ("audit", "um", "info", [hashed("8888")])
    assert "8888" not in json.dumps({**line, "users": [], "timestamp": ""})


def test_the_key_is_that_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(KEY + b"\n")
    audit = Audit.with_key_of(file)
    with capture_logs() as lines:
        audit.answered("um", "m", CALLER, "OK", um_pb2.UserModelRequest(user_id="8888"))
    assert lines[0]["users"] == [hashed("8888")]
    file.write_bytes(KEY[1:])
    with pytest.raises(SettingsError, match=r"key has 15 bytes: at least 16; openssl rand -hex 32 makes a key"):
        Audit.with_key_of(file)
    with pytest.raises(SettingsError, match=r"RECMESH_AUDIT_KEY_FILE /nowhere cannot be read: No such file"):
        Audit.with_key_of(Path("/nowhere"))
