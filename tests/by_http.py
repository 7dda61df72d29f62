"""Requests over HTTP, as a program without a client library sends them."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from tests.calls import Method

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)

JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Answer:
    """An answer over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str, str]:
        """Status, code and message of an error."""
        return self.status, self.json["code"], self.json["message"]


def request(
    port: int, path: str, body: str | bytes | None = None, headers: Mapping[str, str] = JSON, method: str = "POST"
) -> Answer:
    """One request on a connection of its own. The timeout ends a hang."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body.encode() if isinstance(body, str) else body, dict(headers))
        return read(connection)
    finally:
        connection.close()


def read(connection: http.client.HTTPConnection) -> Answer:
    """The answer to the request that was sent on a connection."""
    response = connection.getresponse()
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())


def call(port: int, method: "Method[Q, R]", message: Q, headers: Mapping[str, str] = JSON) -> R:
    """One call with JSON, written and read by protobuf's own library."""
    answer = request(port, method.path, json_format.MessageToJson(message), {**JSON, **headers})
    assert answer.status == 200, answer.body
    return json_format.Parse(answer.body, method.response())
