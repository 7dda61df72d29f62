"""Removal of stale sessions of Milvus from its embedded etcd, which makes a restart take seconds instead of a minute.

Every component of Milvus holds a session, an etcd key with a lease of 30 s, and a new start waits until old sessions
expire. Milvus 2.3.5 leaves them behind even after SIGTERM, because it panics while it closes etcd. A session contains
the address of its component. Each start uses new ports, so a session with an unknown port is stale.
"""

import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Collection

from local.ports import direct

_SESSIONS = b"by-dev/meta/session/"
_ETCD_START_SECONDS = 30.0


def _call(port: int, method: str, body: dict[str, str]) -> dict[str, list[dict[str, str]]]:
    """Call the JSON gateway of etcd."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v3/kv/{method}", json.dumps(body).encode())
    with direct.open(request, timeout=5) as answer:
        result: dict[str, list[dict[str, str]]] = json.load(answer)
        return result


def _sessions(port: int) -> list[dict[str, str]]:
    """Wait for etcd and list the keys and values of all sessions, in base64. Empty if etcd does not answer in time."""
    end = _SESSIONS[:-1] + bytes([_SESSIONS[-1] + 1])
    query = {"key": base64.b64encode(_SESSIONS).decode(), "range_end": base64.b64encode(end).decode()}
    limit = time.monotonic() + _ETCD_START_SECONDS
    while True:
        try:
            return _call(port, "range", query).get("kvs", [])
        except (OSError, urllib.error.URLError):
            if time.monotonic() > limit:
                return []
            time.sleep(0.02)


def clear_stale(etcd_port: int, live_ports: Collection[int]) -> None:
    """Delete the sessions of components whose port is not in `live_ports`."""
    for entry in _sessions(etcd_port):
        try:
            address = json.loads(base64.b64decode(entry["value"]))["Address"]
        except (ValueError, KeyError, TypeError):
            continue  # not a session but the counter of server ids
        if int(address.rpartition(":")[2]) not in live_ports:
            _call(etcd_port, "deleterange", {"key": entry["key"]})
