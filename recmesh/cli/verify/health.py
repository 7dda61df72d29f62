"""Waiting for the health status SERVING, and why it does not come."""

import asyncio
import socket
import ssl
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import grpc
import grpc.aio

from recmesh.bearer import is_loopback
from recmesh.cli.verify.session import Place
from recmesh.contract import DIRECT, ServiceName
from recmesh.errors import Unavailable
from recmesh.secure_channels import SecureChannel
from recmesh.timeouts import in_time
from recmesh.tls import TlsFiles, client_context

# The health protocol without the package of its messages, which the client does not need otherwise.
_CHECK = "/grpc.health.v1.Health/Check"
_STATUSES = {b"": "UNKNOWN", b"\x08\x01": "SERVING", b"\x08\x02": "NOT_SERVING", b"\x08\x03": "SERVICE_UNKNOWN"}
_SERVING = "SERVING"

_CALL_SECONDS = 2.0
_POLL_SECONDS = 0.5
_PROGRESS_SECONDS = 10.0
_DIAGNOSIS_SECONDS = 3.0

# Unlike those of the client library, these channels also call servers that are not healthy.
_OPTIONS: list[tuple[str, str | int]] = [
    DIRECT,
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
]

# The first bytes of a client of HTTP/2, and an empty frame of settings, which the server answers.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


async def wait_until_serving(service: ServiceName, place: Place, end: float, say: Callable[[str], None]) -> None:
    """Wait until a service reports SERVING.

    Args:
        service: The service.
        place: Where it is, and what to show.
        end: Until when to wait, in seconds of `time.monotonic`. There is one attempt at least.
        say: Prints a line about the wait.

    Raises:
        Unavailable: It does not. The message says why, and what to do.
    """
    target, began, told = place.targets[service], time.monotonic(), 0.0
    async with _channel(target, place.tls) as channel:
        while (status := await _status(channel)) != _SERVING:
            now = time.monotonic()
            if now >= end:
                break
            if now - told >= _PROGRESS_SECONDS:
                told = now
                say(f"waiting for {service} at {target}: {status} ({now - began:.0f} s of {end - began:.0f} s)")
            await asyncio.sleep(min(_POLL_SECONDS, end - now))
    if status == _SERVING:
        return
    if status in _STATUSES.values():
        raise Unavailable(f"{service} at {target} is {status}: see its log for what it waits for, or allow more --wait")
    raise Unavailable(f"{service} at {target} does not answer: {await diagnosis(service, target, place.tls)}")


def _channel(target: str, tls: TlsFiles | None) -> grpc.aio.Channel:
    return SecureChannel(target, tls, _OPTIONS) if tls else grpc.aio.insecure_channel(target, options=_OPTIONS)


async def _status(channel: grpc.aio.Channel) -> str:
    """The health status; the text of the error if there is no answer."""
    check: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_CHECK)
    try:
        answer = await check(b"", timeout=_CALL_SECONDS)
    except grpc.aio.AioRpcError as error:
        return " ".join(f"{error.code().name} {error.details()}".split())
    return _STATUSES.get(answer, f"status {answer!r}")


async def diagnosis(service: ServiceName, target: str, tls: TlsFiles | None) -> str:
    """Say why a target does not answer, and what to do: gRPC's own messages do not tell the cases apart."""
    try:
        place = urlsplit(f"//{target.rpartition('/')[2]}")
        host, port = place.hostname or "", place.port or 0
    except ValueError:
        host, port = "", 0
    variable = f"RECMESH_{service.upper()}_TARGET"
    if target.startswith("unix:") or not host or not port:
        return f"is {variable} right?"
    policy = "" if is_loopback(target) else f"; a NetworkPolicy must admit this pod (label {_label(service)})"
    try:
        _, writer = await in_time(_DIAGNOSIS_SECONDS, asyncio.open_connection(host, port))
    except socket.gaierror:
        return f"the name {host} does not resolve: set {variable}"
    except (asyncio.TimeoutError, TimeoutError):
        return f"no connection within {_DIAGNOSIS_SECONDS:g} s: is it running?{policy}"
    except OSError as error:
        return f"{error.strerror or error}: is it running? set {variable}{policy}"
    writer.close()
    return await (_with_tls(host, port, tls) if tls else _without_tls(host, port))


def _label(service: ServiceName) -> str:
    """The label that the NetworkPolicies of the chart look for by default."""
    return f'recmesh.io/{"client" if service in ("as", "feed") else "operator"}: "true"'


async def _without_tls(host: str, port: int) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        _, writer = await _handshake(host, port, context, host)
        writer.close()
    except (OSError, asyncio.TimeoutError):
        return "it speaks neither gRPC nor TLS: is the target right?"
    return "it speaks TLS: set RECMESH_TLS_CA, and RECMESH_TLS_CERTIFICATE and RECMESH_TLS_KEY if it asks for them"


async def _with_tls(host: str, port: int, tls: TlsFiles) -> str:
    refused = "it asks for a certificate: set RECMESH_TLS_CERTIFICATE and RECMESH_TLS_KEY"
    if tls.certificate:
        refused = f"it does not accept the certificate {tls.certificate}: has it expired, is it of the same CA?"
    try:
        await _greet(host, port, client_context(tls), tls.server_name or host)
    except ssl.SSLCertVerificationError as error:
        return f"its certificate is not valid here ({error.verify_message}): check RECMESH_TLS_CA and the target's name"
    except ssl.SSLError as error:
        return refused if "ALERT" in str(error.reason) else "it speaks no TLS: unset RECMESH_TLS_CA"
    except (OSError, asyncio.TimeoutError):
        return refused
    return "it speaks TLS, but not gRPC: is the target right?"


async def _handshake(
    host: str, port: int, context: ssl.SSLContext, name: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context.set_alpn_protocols(["h2"])
    connecting = asyncio.open_connection(host, port, ssl=context, server_hostname=name)
    return await in_time(_DIAGNOSIS_SECONDS, connecting)


async def _greet(host: str, port: int, context: ssl.SSLContext, name: str) -> None:
    """Connect over TLS and exchange the first bytes: a server of TLS 1.3 refuses a client only then."""
    reader, writer = await _handshake(host, port, context, name)
    try:
        writer.write(_PREFACE)
        if not await in_time(_DIAGNOSIS_SECONDS, reader.read(1)):
            raise ConnectionResetError
    finally:
        writer.close()
