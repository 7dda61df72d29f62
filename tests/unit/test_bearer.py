"""The token that clients show."""

import os
from pathlib import Path

import pytest

from recmesh.bearer import check_private, is_loopback, token_of
from recmesh.errors import SettingsError


def test_a_token_is_that_of_the_caller_or_of_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("of-the-file\n")
    environment = {"RECMESH_TOKEN": "of-the-variable"}
    for given, env, expected in (
        ("given", environment, "given"),
        (lambda: "called", environment, "called"),
        (None, environment, "of-the-variable"),
        (None, {"RECMESH_TOKEN": "", "RECMESH_TOKEN_FILE": str(file)}, "of-the-file"),
    ):
        token = token_of(given, env)
        assert token is not None
        assert token() == expected
    assert token_of(None, {"RECMESH_TOKEN": ""}) is None


def test_a_function_is_asked_for_each_call() -> None:
    tokens = iter(["one", "two", "not ascii: \u00e9"])
    token = token_of(lambda: next(tokens), {})
    assert token is not None
    assert (token(), token()) == ("one", "two")
    with pytest.raises(SettingsError, match="the token: must be printable ASCII characters without spaces"):
        token()


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    token = token_of(None, {"RECMESH_TOKEN_FILE": str(file)})
    assert token is not None
    assert token() == "old"
    (tmp_path / "next").write_text("new")
    os.replace(tmp_path / "next", file)  # noqa: PTH105
    assert token() == "new"
    # Nothing usable: the former one stays.
    file.write_text("")
    assert token() == "new"
    file.unlink()
    assert token() == "new"
    file.write_text("third")
    assert token() == "third"


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RECMESH_TOKEN": "a", "RECMESH_TOKEN_FILE": "b"}, "RECMESH_TOKEN and RECMESH_TOKEN_FILE are both set"),
        ({"RECMESH_TOKEN": "a b"}, "RECMESH_TOKEN: must be printable ASCII"),
        ({"RECMESH_TOKEN": "a\n"}, "RECMESH_TOKEN: must be printable ASCII"),
        ({"RECMESH_TOKEN_FILE": "/nowhere"}, "RECMESH_TOKEN_FILE /nowhere cannot be read: No such file"),
        ({"RECMESH_TOKEN_FILE": "/dev/null"}, "RECMESH_TOKEN_FILE /dev/null: must be printable ASCII"),
    ],
)
def test_bad_settings_are_named(environment: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        token_of(None, environment)


@pytest.mark.parametrize(
    ("target", "here"),
    [
        ("127.0.0.1:8930", True),
        ("127.8.9.1:8930", True),
        ("localhost:8930", True),
        ("LOCALHOST:8930", True),
        ("[::1]:8930", True),
        ("dns:///localhost:8930", True),
        ("dns:localhost:8930", True),
        ("ipv4:127.0.0.1:1,127.0.0.1:2", True),
        ("ipv6:[::1]:1", True),
        ("unix:/run/as.sock", True),
        ("as:8930", False),
        ("dns:///as:8930", False),
        ("dns://127.0.0.1/as:8930", False),
        ("localhost.example:8930", False),
        ("127.0.0.1.example:8930", False),
        ("localhost@as:8930", False),
        ("ipv4:127.0.0.1:1,10.0.0.1:2", False),
        ("xds:///localhost:1", False),
        ("[::2]:8930", False),
        ("[", False),
        ("", False),
    ],
)
def test_a_token_leaves_this_machine_over_tls_only(target: str, here: bool) -> None:
    assert is_loopback(target) is here
    check_private(target, encrypted=True)
    if here:
        check_private(target, encrypted=False)
    else:
        with pytest.raises(SettingsError, match="the token would be sent in plain text: set RECMESH_TLS_CA"):
            check_private(target, encrypted=False)
