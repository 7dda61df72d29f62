"""Where spans go: an OTLP receiver over gRPC or HTTP. And what they come from: the resource."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from uuid import uuid4

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from recmesh import __version__
from recmesh.errors import SettingsError
from recmesh.tls import fingerprint

_PREFIX = "OTEL_EXPORTER_OTLP_"
_FILES = ("CERTIFICATE", "CLIENT_KEY", "CLIENT_CERTIFICATE")
_HTTP_PATH = "/v1/traces"


def open_exporter(endpoint: str) -> SpanExporter | None:
    """An exporter as `OTEL_EXPORTER_OTLP_*` describes it; None if no endpoint is set, or tracing is switched off.

    Args:
        endpoint: Takes precedence over `OTEL_EXPORTER_OTLP_ENDPOINT`. Empty if it is not set.

    Raises:
        SettingsError: A variable has an impossible value.
    """
    if _disabled() or not (endpoint or _variable("ENDPOINT")):
        return None
    _check_files()
    protocol = _variable("PROTOCOL") or "grpc"
    makers = {"grpc": _grpc, "http/protobuf": _http}
    if protocol not in makers:
        raise SettingsError(f"{_PREFIX}PROTOCOL {protocol}: use grpc or http/protobuf")
    try:
        return _Renewed(lambda: makers[protocol](endpoint))
    except Exception as error:  # Impossible numbers, compressions and certificates raise errors of several classes.
        raise SettingsError(f"{_PREFIX}*: {error}") from error


def resource(service: str) -> Resource:
    """The attributes of all spans of this process.

    `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` take precedence: on Kubernetes they name the pod.
    """
    attributes = {
        "service.name": service,
        "service.namespace": "recmesh",
        "service.version": __version__,
        "service.instance.id": str(uuid4()),
    }
    return Resource.create(attributes).merge(OTELResourceDetector().detect())


class _Renewed(SpanExporter):
    """Opens the exporter again when the files of its certificates have changed, which it reads only once."""

    def __init__(self, opened: Callable[[], SpanExporter]) -> None:
        self._opened = opened
        self._files = _fingerprints()
        self._exporter = opened()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export spans. Called from one thread."""
        files = _fingerprints()
        if files != self._files and None not in files:
            renewed = self._opened()
            self._exporter.shutdown()
            self._exporter, self._files = renewed, files
        return self._exporter.export(spans)

    def shutdown(self) -> None:
        """Close the exporter."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing waits here."""
        return self._exporter.force_flush(timeout_millis)


def _fingerprints() -> list[object]:
    return [fingerprint(path) for _, path in _files()]


def _grpc(endpoint: str) -> SpanExporter:
    # Imported here, because it delays the start of processes that export nothing.
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    if not endpoint:
        return OTLPSpanExporter()
    return OTLPSpanExporter(endpoint=endpoint, insecure=not endpoint.startswith("https:"))


def _http(endpoint: str) -> SpanExporter:
    import requests
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    session = requests.Session()
    # REQUESTS_CA_BUNDLE would take precedence over the certificate.
    session.trust_env = not _variable("CERTIFICATE")
    if not endpoint:
        return OTLPSpanExporter(session=session)
    path = endpoint.removesuffix("/").removesuffix(_HTTP_PATH) + _HTTP_PATH
    return OTLPSpanExporter(endpoint=path, session=session)


def _disabled() -> bool:
    return os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"


def _variable(name: str) -> str:
    return next((value for variable in _names(name) if (value := os.environ.get(variable))), "")


def _names(name: str) -> Iterator[str]:
    """The variable for traces, and the one for all signals."""
    yield f"{_PREFIX}TRACES_{name}"
    yield f"{_PREFIX}{name}"


def _files() -> Iterator[tuple[str, Path]]:
    """The variables that name files, and these files."""
    for variable in (variable for name in _FILES for variable in _names(name)):
        if path := os.environ.get(variable):
            yield variable, Path(path)


def _check_files() -> None:
    """Require the files to exist: the exporters would go on without them."""
    for variable, path in _files():
        if not path.is_file():
            raise SettingsError(f"{variable}: {path} is not a file")
