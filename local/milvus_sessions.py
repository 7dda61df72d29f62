"""Clear what a killed Milvus left in its embedded etcd, so that the next start takes seconds and not most of a minute.

Every component of Milvus holds a session, an etcd key with a 30 s lease, and a new start waits until the old ones
lapse. Milvus 2.3.5 leaves them behind even at SIGTERM (it panics while it closes etcd). A session names its component's
address; ports are drawn anew at each start, so a session on a port that is not ours is stale.
"""

import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Collection

_SESSIONS = b"by-dev/meta/session/"
_PATIENCE = 30.0  # seconds until etcd must answer


def _call(port: int, method: str, body: dict[str, str]) -> dict[str, list[dict[str, str]]]:
    """One call of etcd's JSON gateway."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v3/kv/{method}", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=5) as answer:
        result: dict[str, list[dict[str, str]]] = json.load(answer)
        return result


def _sessions(port: int) -> list[dict[str, str]]:
    """Keys and values (base64) of all sessions, as soon as etcd answers; none when it never does."""
    end = _SESSIONS[:-1] + bytes([_SESSIONS[-1] + 1])
    query = {"key": base64.b64encode(_SESSIONS).decode(), "range_end": base64.b64encode(end).decode()}
    limit = time.monotonic() + _PATIENCE
    while True:
        try:
            return _call(port, "range", query).get("kvs", [])
        except (OSError, urllib.error.URLError):
            if time.monotonic() > limit:
                return []
            time.sleep(0.02)


def clear_stale(etcd_port: int, live_ports: Collection[int]) -> None:
    """Delete the sessions of components that listened on other ports than `live_ports`."""
    for entry in _sessions(etcd_port):
        try:
            address = json.loads(base64.b64decode(entry["value"]))["Address"]
        except (ValueError, KeyError, TypeError):
            continue  # not a session: the counter of server ids lives beside them
        if int(address.rpartition(":")[2]) not in live_ports:
            _call(etcd_port, "deleterange", {"key": entry["key"]})
