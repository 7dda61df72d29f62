"""What the local runner passes to its programs."""

import pytest

import local.settings


def test_passwords_of_other_stores_are_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stores of `make up` have none, and the process manager writes variables to a file."""
    names = [f"RECMESH_{store}_{name}" for store in ("REDIS", "MILVUS") for name in ("USERNAME", "PASSWORD")]
    names += ["RECMESH_REDIS_PASSWORD_FILE", "RECMESH_MILVUS_PASSWORD_FILE"]
    for name in names:
        monkeypatch.setenv(name, "sesame")

    variables = local.settings.load().variables()

    assert {name: variables[name] for name in names} == dict.fromkeys(names, "")
    assert "sesame" not in variables.values()
