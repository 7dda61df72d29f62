"""Paths may hold any character: in the Makefile, for supervisord, Redis and Milvus, and in a data set."""

import io
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import redis
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from supervisor.options import UnhosedConfigParser

import local.settings
from local import health, milvus, programs
from local import settings as local_settings
from local.ports import free_ports
from local.programs import Program
from local.settings import LocalSettings
from local.supervisor import Supervisor
from recmesh.dataset import read, synthetic
from recmesh.errors import SettingsError
from tests.servers import ROOT
from tests.strange import STRANGE

TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=30)
SYNTAX = st.text(" ;#%()'\"\\$[]=,here", min_size=1, max_size=30)


@given(st.lists(TEXTS | SYNTAX, min_size=1, max_size=4))
@example([STRANGE, "%(here)s", " ;", "'", '"', "a ;b #c", "%%", "\\"])
@settings(deadline=None)
def test_supervisord_starts_what_a_program_says(words: list[str]) -> None:
    program = Program("um", words, Path("/home/logs/um.log"), {}, {"RECMESH_HOME": words[0], "RECMESH_X": words[-1]})
    parser = UnhosedConfigParser()
    parser.read_file(io.StringIO(program.section(Path("/plain/um.log"))))
    parser.expand_here("/wrong")
    command = parser.saneget("program:um", "command", expansions={"here": "/wrong"})
    assert shlex.split(command) == ["/usr/bin/env", f"RECMESH_HOME={words[0]}", f"RECMESH_X={words[-1]}", *words]
    assert parser.saneget("program:um", "stdout_logfile") == "/plain/um.log"


def test_others_go_before_a_nice_program_when_the_cores_are_full() -> None:
    section = Program("feed", ["feed"], Path("feed.log"), {}, {"A": "b"}, nice=10).section(Path("feed.log"))
    assert "command = /usr/bin/env A=b nice -n 10 feed\n" in section


def test_only_feed_lets_others_go_first() -> None:
    started = programs.services(local.settings.load(), "services")
    assert {program.name for program in started if program.nice} == {"feed"}


def test_a_line_break_in_a_setting_is_an_error_of_one_line() -> None:
    with pytest.raises(SettingsError, match=r"^a setting with a line break .*: 'RECMESH_X=a\\nb'$"):
        Program("um", ["um"], Path("um.log"), {}, {"RECMESH_X": "a\nb"}).section(Path("/plain/um.log"))


@pytest.mark.parametrize("home", ["a\nb", "a\x1bb", "a\udcffb", "\x85"])
def test_a_home_that_cannot_be_used_is_an_error_of_one_line(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECMESH_HOME", home)
    with pytest.raises(SettingsError) as error:
        local_settings.load()
    assert str(error.value).isprintable()
    assert "use a path in UTF-8 without control characters" in str(error.value)


@pytest.mark.parametrize("name", ["shop", pytest.param(STRANGE, id="strange"), "a$b", "$(shell touch x)", "--help"])
def test_make_passes_the_data_set_on_unchanged(name: str) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "--dry-run", "up", f"DATASET=/data/{name}"]
    lines = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    words = shlex.split(lines.splitlines()[-1])
    assert words[words.index("--dataset") + 1] == f"/data/{name}"
    assert subprocess.run(["sh", "-n"], input=lines, text=True, check=False).returncode == 0


def test_milvus_gets_its_folders(tmp_path: Path) -> None:
    data = tmp_path / STRANGE
    made = yaml.safe_load(
        milvus._configuration(data, {"etcd_port": 1, "local_storage_dir": data / "data"}, milvus.OPEN)
    )
    assert made["localStorage"]["path"] == str(data / "data")
    assert made["etcd"]["config"]["path"] == str(data / "configs" / "etcd.yaml")


@pytest.mark.parametrize("name", ["plain", pytest.param(STRANGE, id="strange"), "long" * 30])
def test_redis_runs_under_supervisord_in_any_home(name: str, tmp_path: Path) -> None:
    settings = LocalSettings(home=tmp_path / name, redis_port=free_ports(1)[0], milvus_lite=True)
    supervisor = Supervisor(settings)
    try:
        assert supervisor.start()
        supervisor.ensure(programs.stores(settings))
        health.wait(supervisor, {"Redis": ("redis", lambda: health.redis_answers(settings))}, 60, print)
        with redis.Redis.from_url(settings.redis_url, decode_responses=True) as client:
            assert client.config_get("dir") == {"dir": str(settings.folder / "redis")}
        assert (settings.logs / "redis.log").exists()
        (state,) = Supervisor(settings).states()
        assert (state.name, state.state) in (("redis", "RUNNING"), ("redis", "STARTING"))
    finally:
        assert supervisor.shutdown()
    assert not supervisor.running()
    assert supervisor.states() == []


def test_a_data_set_may_have_any_path(tmp_path: Path) -> None:
    plain = synthetic(tmp_path / "plain", users=100, products=240)
    strange = tmp_path / STRANGE
    shutil.copytree(plain, strange)
    first, second = read(plain, tmp_path / "1.csv"), read(strange, tmp_path / STRANGE / "2.csv")
    assert first.actions.equals(second.actions)
    assert first.fingerprint == second.fingerprint


def test_the_command_of_an_environment_runs_from_any_folder(tmp_path: Path) -> None:
    checkout = tmp_path / "Bob's shop [50%] ü"
    for name in ("local", "recmesh"):
        (checkout / name).mkdir(parents=True)
    shutil.copy(ROOT / "local" / "environments.py", checkout / "local")
    (checkout / "local" / "__init__.py").touch()
    (checkout / "recmesh" / "__init__.py").touch()
    (checkout / "recmesh" / "__main__.py").write_text("import sys\n\n\ndef main() -> str:\n    return sys.argv[1]\n")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(checkout / ".venv")], check=True)
    link = "from pathlib import Path; from local import environments as e; "
    link += "e._link(e.Environment(e.ROOT / '.venv', ['serving']))"
    subprocess.run([sys.executable, "-c", link], cwd=checkout, check=True)

    command = [str(checkout / ".venv" / "bin" / "recmesh"), "a b"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (1, "a b\n")
