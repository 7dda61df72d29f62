"""The settings that commands find in the home of a mesh."""

from pathlib import Path

import pytest

from recmesh.cli.home import adopt_settings
from recmesh.errors import SettingsError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "client.env").write_text("RECMESH_TLS_CA='/a folder/ca.crt'\nRECMESH_TLS_KEY=/tls.key\n")
    return tmp_path


def test_commands_take_what_is_there(home: Path) -> None:
    environment = {"RECMESH_HOME": str(home), "RECMESH_TLS_KEY": "/mine.key"}
    adopt_settings(environment)
    assert environment == {
        "RECMESH_HOME": str(home),
        "RECMESH_TLS_CA": "/a folder/ca.crt",
        "RECMESH_TLS_KEY": "/mine.key",
    }


@pytest.mark.parametrize("name", ["RECMESH_TLS_CA", "RECMESH_AS_TARGET", "RECMESH_METRICS_TARGETS"])
@pytest.mark.parametrize("value", ["", "other:8930"])
def test_another_mesh_is_not_called_with_them(home: Path, name: str, value: str) -> None:
    environment = {"RECMESH_HOME": str(home), name: value}
    adopt_settings(environment)
    assert environment == {"RECMESH_HOME": str(home), name: value}


def test_another_store_gets_no_password_of_this_one(tmp_path: Path) -> None:
    lines = (f"RECMESH_{store}_USERNAME=local\n" for store in ("REDIS", "MILVUS"))
    (tmp_path / "client.env").write_text("".join(lines))
    given = {"RECMESH_HOME": str(tmp_path), "RECMESH_REDIS_URL": "redis://elsewhere:6379/0"}
    environment = dict(given)
    adopt_settings(environment)
    assert environment == {**given, "RECMESH_MILVUS_USERNAME": "local"}


def test_a_mesh_without_tls_leaves_none(tmp_path: Path) -> None:
    environment = {"RECMESH_HOME": str(tmp_path)}
    adopt_settings(environment)
    assert environment == {"RECMESH_HOME": str(tmp_path)}


@pytest.mark.parametrize("content", [b"A='", b"A=1 B=2\n", b"\xff"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "client.env").write_bytes(content)
    with pytest.raises(SettingsError, match=r"client\.env cannot be read .*: delete it, and run `make up TLS=1` again"):
        adopt_settings({"RECMESH_HOME": str(tmp_path)})
