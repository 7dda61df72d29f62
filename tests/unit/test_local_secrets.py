"""Certificates and passwords of `make up TLS=1`, as files."""

import hashlib
import stat
from pathlib import Path

import pytest

import local.settings
from local import programs, secrets
from local.settings import LocalSettings
from recmesh.issuing import Change, Stored
from recmesh.tls import TlsFiles, TlsReader


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalSettings:
    monkeypatch.setenv("RECMESH_HOME", str(tmp_path / "a home"))
    found = local.settings.load()
    found.folder.mkdir()
    return found


def test_every_program_shows_a_certificate_of_its_own(settings: LocalSettings) -> None:
    lines: list[str] = []
    secrets.switch_on(settings, lines.append)
    assert any(line.startswith("um-tls, ") for line in lines)
    components = (
        "um",
        "cm",
        "recall",
        "rank",
        "as",
        "feed",
        "compact",
        "paddle-serving",
        "ingest",
        "archive",
        "client",
    )
    shown = set()
    for component in components:
        files = TlsFiles.from_environment(settings.variables(component))
        assert files is not None
        assert files.certificate == settings.folder / "secrets" / component / "tls.crt"
        shown.add(TlsReader(files).current().certificate)
    assert len(shown) == len(components)


def test_programs_log_in_as_users_of_their_own(settings: LocalSettings) -> None:
    names = ("REDIS_USERNAME", "REDIS_PASSWORD_FILE", "MILVUS_USERNAME", "MILVUS_PASSWORD_FILE")
    secrets.switch_on(settings, print)
    redis_users, milvus_users = settings.secrets / "redis-auth", settings.secrets / "milvus-auth"
    expected = {
        "um": ("um", redis_users / "um", "", ""),
        "compact": ("compact", redis_users / "compact", "recall", milvus_users / "recall"),
        "ingest": ("ingest", redis_users / "ingest", "ingest", milvus_users / "ingest"),
        "as": ("", "", "", ""),
        "client": ("operator", redis_users / "operator", "ingest", milvus_users / "ingest"),
    }
    for component, values in expected.items():
        variables = settings.variables(component)
        assert tuple(variables[f"RECMESH_{name}"] for name in names) == tuple(map(str, values)), component
    assert settings.milvus_uri == "https://127.0.0.1:19530"
    hashed = hashlib.sha256((redis_users / "operator").read_bytes()).hexdigest()
    assert f"user operator on #{hashed} " in (redis_users / "users.acl").read_text()


def test_only_milvus_starts_again_if_its_certificate_has_changed(settings: LocalSettings) -> None:
    def sections() -> list[str]:
        return [program.section(program.log) for program in programs.stores(settings)]

    plain = sections()
    assert not any("--users" in section or "--tls" in section for section in plain)
    secrets.switch_on(settings, print)
    redis, milvus = before = sections()
    assert "--users" in redis
    assert "--authorization" in milvus
    secrets.update(settings, print, "redis")
    assert sections() == before, "Redis reads its users again"
    secrets.update(settings, print, "certificates")
    assert sections()[0] == redis
    assert sections()[1] != milvus, "Milvus does not read its certificate again"
    secrets.switch_off(settings)
    assert sections() == plain


def test_files_are_for_this_user_only(settings: LocalSettings) -> None:
    secrets.switch_on(settings, print)
    paths = [settings.client_file, settings.secrets, *settings.secrets.rglob("*")]
    assert len(paths) > 50
    assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in paths} == {0}


def test_the_second_run_changes_nothing(settings: LocalSettings) -> None:
    secrets.switch_on(settings, print)
    before = {path: path.stat().st_mtime_ns for path in settings.secrets.rglob("*")}
    lines: list[str] = []
    secrets.switch_on(settings, lines.append)
    assert lines == []
    assert {path: path.stat().st_mtime_ns for path in settings.secrets.rglob("*")} == before


def test_switching_off_keeps_the_ca(settings: LocalSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECMESH_TLS_CA", "/of/another/mesh")
    secrets.switch_on(settings, print)
    ca = (settings.secrets / "ca" / "ca.crt").read_bytes()
    assert settings.tls
    secrets.switch_off(settings)
    assert not settings.tls
    assert settings.client_tls is None
    assert settings.variables("um")["RECMESH_TLS_CA"] == ""
    secrets.switch_on(settings, print)
    assert (settings.secrets / "ca" / "ca.crt").read_bytes() == ca


def test_keys_that_are_gone_are_deleted(tmp_path: Path) -> None:
    store = secrets.Files(tmp_path / "secrets")
    assert store.read(["redis-auth"]) == {}
    store.write(Change("redis-auth", {"um": b"1", "um.next": b"2"}, ""), None)
    found = store.read(["redis-auth", "milvus-auth"])
    assert found == {"redis-auth": Stored({"um": b"1", "um.next": b"2"})}
    store.write(Change("redis-auth", {"um": b"2"}, ""), found["redis-auth"])
    assert store.read(["redis-auth"]) == {"redis-auth": Stored({"um": b"2"})}
    store.write(Change("um-tls", {"tls.crt": b"3"}, ""), None)
    assert (tmp_path / "secrets" / "um" / "tls.crt").read_bytes() == b"3"
