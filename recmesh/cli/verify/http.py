"""What the HTTP ports of `as` and feed promise (docs/http.md)."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format

from recmesh.bearer import check_private
from recmesh.cli.verify.faults import Violation
from recmesh.cli.verify.model import Checks, require, require_equal, require_ok
from recmesh.cli.verify.session import Session
from recmesh.client import AS, RECORD_ACTIONS, Unavailable
from recmesh.contract import BATCH, MAX_ENTRIES, MAX_RECOMMENDATIONS, PRIORITY, REPLAY, ServiceName
from recmesh.pb.as_pb2 import ASRequest, ASResponse
from recmesh.pb.feed_pb2 import FeedResponse
from recmesh.tls import url_opener

AS_CHECKS, FEED_CHECKS = Checks("as"), Checks("feed")
HTTP_CHECKS: Mapping[ServiceName, Checks] = {"as": AS_CHECKS, "feed": FEED_CHECKS}
_FEW = 5


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON. Raises `Violation` if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise Violation(f"the body is no JSON: {self.body[:80]!r}") from None


async def _request(
    session: Session,
    service: ServiceName,
    path: str,
    body: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> _Answer:
    """One request: POST if there is a body, otherwise GET.

    Raises:
        Unavailable: There was no answer.
        SettingsError: The token would be sent in plain text.
    """
    place, target = session.place, session.place.http_targets[service]
    sent = {"content-type": "application/json", PRIORITY: BATCH, REPLAY[0]: REPLAY[1], **(headers or {})}
    if place.token is not None:
        check_private(target, encrypted=place.tls is not None)
        sent["authorization"] = f"Bearer {place.token()}"
    scheme = "https" if place.tls else "http"
    request = urllib.request.Request(f"{scheme}://{target}{path}", None if body is None else body.encode(), sent)
    return await asyncio.to_thread(_answer, session, request, f"{service} at {target}")


def _answer(session: Session, request: urllib.request.Request, place: str) -> _Answer:
    try:
        with url_opener(session.place.tls).open(request, timeout=session.timeout) as answer:
            return _Answer(answer.status, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return _Answer(error.code, error.read())
    except OSError as error:
        raise Unavailable(
            f"{place} did not answer over HTTP: {error}; is the port open, is the target right?"
        ) from None


def _require_error(answer: _Answer, status: int, code: str, naming: object = "") -> None:
    require_equal("the HTTP status", answer.status, status)
    require_equal("code", answer.json.get("code"), code)
    message = str(answer.json.get("message", ""))
    require(str(naming) in message.replace(",", ""), f"message does not name {naming}: {message}")


def _add_common(checks: Checks, service: ServiceName, path: str) -> None:
    """Add what both services promise."""

    @checks.add("HTTP: GET /healthz is 200")
    async def _health(session: Session) -> None:
        require_equal("the HTTP status", (await _request(session, service, "/healthz")).status, 200)

    @checks.add("HTTP: no JSON, or an unknown field: 400 invalid_argument")
    async def _no_message(session: Session) -> None:
        for body in ("no JSON", '{"noSuchField": 1}'):
            _require_error(await _request(session, service, path, body), 400, "invalid_argument")

    @checks.add("HTTP: an unknown path, or GET: 404 and 405 unimplemented")
    async def _no_method(session: Session) -> None:
        _require_error(await _request(session, service, "/no.Such/method", "{}"), 404, "unimplemented")
        _require_error(await _request(session, service, path), 405, "unimplemented")

    @checks.add("HTTP: a deadline that is over: 504 deadline_exceeded")
    async def _late(session: Session) -> None:
        answer = await _request(session, service, path, "{}", {"connect-timeout-ms": "0"})
        _require_error(answer, 504, "deadline_exceeded")


_add_common(AS_CHECKS, "as", AS.path)
_add_common(FEED_CHECKS, "feed", RECORD_ACTIONS.path)


@AS_CHECKS.add("HTTP: the answer of gRPC as JSON")
async def _same_answer(session: Session) -> None:
    request = ASRequest(size=_FEW)
    answer = await _request(session, "as", AS.path, json_format.MessageToJson(request))
    require_equal("the HTTP status", answer.status, 200)
    try:
        parsed = json_format.Parse(answer.body, ASResponse())
    except json_format.ParseError as error:
        raise Violation(f"the JSON is no ASResponse: {error}") from None
    require_ok(parsed)
    expected = await session.call(AS, request)
    require_equal(
        "the items", [item.sku_id for item in parsed.item_infos], [item.sku_id for item in expected.item_infos]
    )


@AS_CHECKS.add(f"HTTP: refuses size {MAX_RECOMMENDATIONS + 1}: 400 invalid_argument")
async def _too_many(session: Session) -> None:
    answer = await _request(session, "as", AS.path, json.dumps({"size": MAX_RECOMMENDATIONS + 1}))
    _require_error(answer, 400, "invalid_argument", MAX_RECOMMENDATIONS)


@FEED_CHECKS.add("HTTP: an action of nobody is rejected, with a reason")
async def _rejected(session: Session) -> None:
    answer = await _request(session, "feed", RECORD_ACTIONS.path, '{"actions": [{"skuId": "x"}]}')
    require_equal("the HTTP status", answer.status, 200)
    parsed = json_format.Parse(answer.body, FeedResponse())
    require_ok(parsed)
    require_equal("accepted", parsed.accepted, 0)
    require_equal("positions of rejected", [entry.position for entry in parsed.rejected], [0])


@FEED_CHECKS.add(f"HTTP: refuses {MAX_ENTRIES + 1:,} entries: 400 invalid_argument")
async def _too_many_entries(session: Session) -> None:
    answer = await _request(session, "feed", RECORD_ACTIONS.path, json.dumps({"actions": [{}] * (MAX_ENTRIES + 1)}))
    _require_error(answer, 400, "invalid_argument", MAX_ENTRIES)
