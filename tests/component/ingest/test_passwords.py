"""Jobs and commands take passwords from the environment, and show them neither in messages nor as arguments."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from recmesh.dataset import synthetic
from recmesh.releases import ModelStore
from tests.component.ingest.conftest import MakeRelease
from tests.passwords import ALL_ASCII, refusing_milvus
from tests.servers import ROOT, start_redis


def run(*command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a program of recmesh to its end."""
    variables = {**os.environ, **{f"RECMESH_{name}": value for name, value in environment.items()}}
    words = [sys.executable, "-m", *command]
    return subprocess.run(words, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("form", ["variable", "file"])
def test_an_ingestion_into_redis_uses_the_password(form: str, tmp_path: Path) -> None:
    small = synthetic(tmp_path / "shop", users=100, products=240, seed=5)
    file = tmp_path / "password"
    file.write_text(f"{ALL_ASCII}\n")
    password = {"variable": {"REDIS_PASSWORD": ALL_ASCII}, "file": {"REDIS_PASSWORD_FILE": str(file)}}[form]
    server = start_redis(tmp_path, password=ALL_ASCII)
    try:
        done = run("jobs.ingest", "--dataset", str(small), "--only", "redis", REDIS_URL=server.url, **password)
        refused = run("jobs.ingest", "--dataset", str(small), "--only", "redis", REDIS_URL=server.url)
        with redis.Redis(port=server.port, password=ALL_ASCII) as client:
            items = len(client.keys("recmesh:item:*"))
    finally:
        server.stop()

    assert done.returncode == 0, done.stderr
    assert items == 240
    assert ALL_ASCII not in done.stdout + done.stderr
    assert refused.returncode == 6
    assert refused.stderr == (
        f"ingest: Redis {server.url}: AuthenticationError: Authentication required; check RECMESH_REDIS_USERNAME and "
        "RECMESH_REDIS_PASSWORD or RECMESH_REDIS_PASSWORD_FILE\n"
    )


def test_commands_send_the_password_to_milvus(make_release: MakeRelease, store: ModelStore) -> None:
    make_release("ours")
    login = {"MILVUS_USERNAME": "shop", "MILVUS_PASSWORD": ALL_ASCII, "MODEL_STORE": store.url}
    with refusing_milvus() as milvus:
        for command in (("activate", "ours"), ("prune",)):
            done = run("recmesh", "release", *command, MILVUS_URI=milvus.uri(), **login)
            assert done.returncode == 6
            assert done.stderr.startswith(f"recmesh: Milvus {milvus.uri()}: cannot connect: the user and password are")
            assert len(done.stderr.splitlines()) == 1
            assert ALL_ASCII not in done.stdout + done.stderr
        assert set(milvus.tokens) == {f"shop:{ALL_ASCII}"}
        milvus.tokens.clear()

        twice = run("recmesh", "release", "prune", MILVUS_URI=milvus.uri("root:sesame@"), **login)
        assert twice.returncode == 2
        assert "remove them from the URL" in twice.stderr
        assert "sesame" not in twice.stderr
        assert milvus.tokens == []
