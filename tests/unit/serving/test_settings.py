"""The settings of services, their defaults and the options of their servers."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from recmesh.errors import SettingsError
from recmesh.serving import RedisSettings, ReleaseSettings, ServerSettings, load_settings, server
from recmesh.serving.settings import printable

DEFAULTS: dict[str, Any] = {
    "host": "127.0.0.1",
    "um_port": 8910,
    "cm_port": 8920,
    "recall_port": 8950,
    "rank_port": 8960,
    "as_port": 8930,
    "feed_port": 8940,
    "as_http_port": 0,
    "feed_http_port": 0,
    "http_origins": (),
    "metrics_port": None,
    "log_level": "info",
    "max_in_flight": 256,
    "max_bytes_in_flight": 33_554_432,
    "default_timeout": 1.0,
    "drain_delay": 0.3,
    "drain_timeout": 10.0,
    "connection_age": 45.0,
    "tls_certificate": None,
    "tls_key": None,
    "tls_ca": None,
    "tls_server_name": "",
    "tls_client_auth": "require",
    "tls_accept_plain": False,
    "reflection": True,
    "otlp_endpoint": "",
    "trace_ratio": 0.01,
    "trace_slow": 0.25,
    "policy_file": None,
    "tokens_file": None,
    "jwks_file": None,
    "jwt_issuer": "",
    "jwt_audience": "",
    "audit": False,
    "audit_key_file": None,
}


def test_the_defaults() -> None:
    assert dict(ServerSettings()) == DEFAULTS
    redis = {"redis_url": "redis://127.0.0.1:6389/0", "redis_prefix": "recmesh:", "redis_pool": 16}
    no_password = {"redis_username": "", "redis_password": "", "redis_password_file": None, "redis_ca": None}
    settings = RedisSettings()
    shown = {**dict(settings), "redis_password": settings.redis_password.get_secret_value()}
    assert shown == {**DEFAULTS, **redis, **no_password}
    release = {"home": Path(".recmesh"), "model_store": ".recmesh/store", "release_poll": 2.0}
    assert dict(ReleaseSettings()) == {**DEFAULTS, **release}
    assert ReleaseSettings(home=Path("here")).releases == Path("here/releases")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ServerSettings().host = "0.0.0.0"  # noqa: S104


def test_variables_are_read_with_their_prefix_and_empty_ones_are_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECMESH_HOST", "[::]")
    monkeypatch.setenv("RECMESH_MAX_IN_FLIGHT", "")
    monkeypatch.setenv("RECMESH_METRICS_PORT", "0")
    monkeypatch.setenv("RECMESH_UNHEARD_OF", "1")
    settings = load_settings(ServerSettings)
    assert (settings.host, settings.max_in_flight, settings.metrics_port) == ("::", 256, 0)


def test_invalid_values_are_named_by_their_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECMESH_UM_PORT", "65536")
    monkeypatch.setenv("RECMESH_TRACE_RATIO", "1.5")
    monkeypatch.setenv("RECMESH_MAX_IN_FLIGHT", "0")
    with pytest.raises(SettingsError) as raised:
        load_settings(ServerSettings)
    problems = str(raised.value).split("; ")
    assert [problem.partition(":")[0] for problem in problems] == [
        "RECMESH_UM_PORT",
        "RECMESH_MAX_IN_FLIGHT",
        "RECMESH_TRACE_RATIO",
    ]


def test_the_metrics_port_follows_that_of_the_service_unless_it_is_set() -> None:
    assert ServerSettings().metrics_port_for(8910) == 18910
    assert ServerSettings(metrics_port=0).metrics_port_for(8910) == 0
    assert ServerSettings(metrics_port=9).metrics_port_for(60_000) == 9
    assert ServerSettings().metrics_port_for(55_535) == 65_535
    with pytest.raises(SettingsError, match="65536 of service port 55536 is above 65535: set RECMESH_METRICS_PORT"):
        ServerSettings().metrics_port_for(55_536)


def test_credentials_are_masked_when_settings_are_printed() -> None:
    printed = printable(RedisSettings(redis_url="redis://user:secret@host:1/0", redis_pool=3))
    assert "secret" not in str(printed)
    assert (printed["redis_pool"], printed["host"]) == (3, "127.0.0.1")
    assert printable(ReleaseSettings())["home"] == ".recmesh"


@pytest.mark.parametrize(("jitter", "age"), [(0.7, 31_500), (1.3, 58_500)])
def test_the_options_of_a_server(monkeypatch: pytest.MonkeyPatch, jitter: float, age: int) -> None:
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return jitter

    monkeypatch.setattr("recmesh.serving.server.random.uniform", uniform)
    assert dict(server._server_options(ServerSettings())) == {
        "grpc.so_reuseport": 0,
        "grpc.max_receive_message_length": 33_554_432,
        "grpc.max_concurrent_streams": 1_000,
        "grpc.max_connection_age_ms": pytest.approx(age, abs=1),
        "grpc.max_connection_age_grace_ms": 10_000,
        "grpc.server_handshake_timeout_ms": 10_000,
        "grpc.keepalive_time_ms": 10_000,
        "grpc.keepalive_timeout_ms": 3_000,
        "grpc.http2.ping_timeout_ms": 3_000,
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.min_ping_interval_without_data_ms": 5_000,
        "grpc.http2.min_recv_ping_interval_without_data_ms": 5_000,
    }
    assert drawn == [(0.7, 1.3)]
