"""`make up` and related targets, on a small generated shop in a temporary home and on free ports.

The tests depend on each other: they follow the life of a mesh.
"""

import json
import os
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
import yaml

from local.health import serving
from local.ports import free_ports
from recmesh.contract import METRICS_PORT_OFFSET
from recmesh.dataset import synthetic
from recmesh.errors import Unavailable
from recmesh.releases import ModelStore, collection_name
from recmesh.stores.credentials import Credentials
from recmesh.stores.log import stream_of
from recmesh.stores.milvus_writer import MilvusWriter
from recmesh.tls import TlsFiles, client_context
from tests.servers import ROOT

SERVICES = ("um", "cm", "recall", "rank", "as", "feed")
PORTS = (*SERVICES, "as_http", "feed_http", "redis", "milvus", "metrics", "paddle_serving", "prometheus")


def _ports() -> dict[str, int]:
    return dict(zip(PORTS, free_ports(len(PORTS), offset=METRICS_PORT_OFFSET), strict=True))


@dataclass
class Home:
    """A mesh with its own folder, data set and ports."""

    folder: Path
    dataset: Path
    ports: dict[str, int] = field(default_factory=_ports)

    @property
    def environment(self) -> dict[str, str]:
        outer = {
            name: value for name, value in os.environ.items() if not name.startswith(("RECMESH_", "MAKE", "MFLAGS"))
        }
        ports = {f"RECMESH_{name.upper()}_PORT": str(port) for name, port in self.ports.items()}
        return {**outer, **ports, "RECMESH_HOME": str(self.folder)}

    def start(self, command: Sequence[str]) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            list(command),
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def make(self, *arguments: str) -> str:
        """Make a target, which must succeed. Returns its output."""
        process = self.start(["make", *arguments])
        output, _ = process.communicate()
        assert process.returncode == 0, output
        return output

    def up(self, *arguments: str) -> str:
        return self.make("up", f"DATASET={self.dataset}", *arguments)

    def client(self, *arguments: str) -> dict[str, Any]:
        process = self.start([sys.executable, "client.py", *arguments, "--json"])
        output, _ = process.communicate()
        assert process.returncode == 0, output
        answer: dict[str, Any] = json.loads(output)
        return answer

    def pids(self) -> dict[str, int]:
        return {row["name"]: row["pid"] for row in json.loads(self.make("status", "JSON=1"))}

    def processes(self) -> list[psutil.Process]:
        """All processes of this home, whether managed or not."""
        return [process for process in psutil.process_iter() if self._owns(process)]

    def _owns(self, process: psutil.Process) -> bool:
        try:
            mentions = any(str(self.folder) in part for part in process.cmdline())
            return mentions or process.environ().get("RECMESH_HOME") == str(self.folder)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            return False


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    with tempfile.TemporaryDirectory(prefix="recmesh-") as folder:
        dataset = synthetic(Path(folder) / "shop", users=150, products=250)
        mesh = Home(Path(folder) / "home", dataset)
        try:
            yield mesh
        finally:
            mesh.make("clean")


def eventually(holds: Callable[[], bool], what: str, seconds: float = 120) -> None:
    limit = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < limit, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_an_interruption_during_training_leaves_no_process(home: Home) -> None:
    process = home.start(["make", "up", f"DATASET={home.dataset}"])
    assert process.stdout is not None
    with process:
        seen = next((line for line in process.stdout if "two-tower" in line), None)
        assert seen is not None, "training did not begin"
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode != 0
    assert "interrupted" in rest
    assert home.processes() == []
    assert not any(listens(port) for port in home.ports.values())


def test_up_starts_the_mesh_reuses_it_and_changes_its_mode(home: Home) -> None:
    began = time.monotonic()
    output = home.up()
    first = time.monotonic() - began
    assert "known user" in output
    assert "new user" in output
    for name in (*SERVICES, "as_http", "feed_http", "redis", "milvus"):
        assert f"127.0.0.1:{home.ports[name]}" in output
    pids = home.pids()
    assert set(pids) == {"compact", "feed", "redis", "milvus"}
    assert home.folder.stat().st_mode & 0o077 == 0, "others may read the home"

    began = time.monotonic()
    home.up()
    assert time.monotonic() - began < first / 3, "the second run repeated the work of the first"
    assert home.pids() == pids

    output = home.up("MODE=services", "BACKEND=paddle-serving")
    assert f"127.0.0.1:{home.ports['paddle_serving']}" in output
    apart = home.pids()
    assert set(apart) == {*SERVICES, "redis", "milvus", "paddle-serving"}
    assert (apart["redis"], apart["milvus"]) == (pids["redis"], pids["milvus"])
    answer = home.client("as", "5000")
    assert len(answer["item_infos"]) == 50
    assert not answer.get("degraded")


def test_status_and_logs_describe_the_processes(home: Home) -> None:
    rows = json.loads(home.make("status", "JSON=1"))
    assert {row["state"] for row in rows} == {"RUNNING"}
    assert all(row["memory_bytes"] > 0 and row["uptime_seconds"] >= 0 for row in rows)
    assert f"127.0.0.1:{home.ports['as']}" in [row["address"] for row in rows if row["name"] == "as"]
    assert home.make("logs", "SERVICE=rank").strip()


def test_observe_runs_prometheus_with_the_alerts_of_the_chart(home: Home) -> None:
    address = f"http://127.0.0.1:{home.ports['prometheus']}"
    assert f"{address}/alerts" in home.make("observe")
    before = home.pids()["prometheus"]
    home.make("observe")
    assert home.pids()["prometheus"] == before, "the second run started it again"

    def served() -> set[str]:
        answer = prometheus(address, "/api/v1/query?query=recmesh_serving==1")
        return {series["metric"]["service"] for series in answer["data"]["result"]}

    eventually(lambda: served() == {*SERVICES, "paddle-serving"}, "all services are scraped")
    groups = prometheus(address, "/api/v1/rules")["data"]["groups"]
    alerts = yaml.safe_load((ROOT / "charts" / "recmesh" / "alerts.yaml").read_text())["groups"][0]["rules"]
    assert [rule["name"] for rule in groups[0]["rules"]] == [alert["alert"] for alert in alerts]


def test_top_finds_the_processes_without_being_told(home: Home) -> None:
    process = home.start([sys.executable, "-m", "recmesh", "top", "--once", "--json", "--interval", "0.5"])
    output, _ = process.communicate()
    assert process.returncode == 0, output
    found = json.loads(output)
    assert found["mode"] == "services"
    assert {service: entry["error"] for entry in found["processes"] for service in entry["services"]} == dict.fromkeys(
        SERVICES, ""
    )
    assert len(found["processes"]) == len(SERVICES)


def prometheus(address: str, path: str) -> Any:
    with urllib.request.urlopen(address + path) as answer:
        return json.load(answer)


def test_everything_listens_on_loopback_only(home: Home) -> None:
    addresses = {
        connection.laddr.ip
        for process in home.processes()
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert addresses
    assert addresses <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


@pytest.mark.parametrize("name", ["redis", "milvus", "paddle-serving", "rank", "as"])
def test_a_killed_process_is_restarted(home: Home, name: str) -> None:
    before = home.pids()[name]
    os.kill(before, signal.SIGKILL)
    eventually(lambda: home.pids().get(name, 0) not in (0, before), f"{name} runs again")
    eventually(lambda: all(serving(f"127.0.0.1:{home.ports[s]}") for s in SERVICES), "all services serve")
    eventually(lambda: not home.client("as", "5000").get("degraded"), "answers are complete again")


def run_faults(home: Home, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "benchmarks.faults", *arguments]
    return subprocess.run(command, cwd=ROOT, env=home.environment, capture_output=True, text=True, check=False)


def test_the_benchmark_of_faults_reports_what_callers_notice(home: Home, tmp_path: Path) -> None:
    """It kills a process of the mesh, and cuts a link of its own services, which are gone afterwards."""
    results, before = tmp_path / "faults.json", {process.pid for process in home.processes()}
    options = ["--only", "cm,recall->milvus", "--faults", "killed,cut", "--seconds", "6", "--fault-seconds", "3"]
    result = run_faults(home, *options, "--results", str(results))
    assert result.returncode == 0, result.stderr
    rows = json.loads(results.read_text())["rows"]
    assert [(row["fault"], row["where"], row["load"]) for row in rows] == [
        ("killed", "cm", "as"),
        ("killed", "cm", "batch"),
        ("cut", "recall->milvus", "as"),
        ("cut", "recall->milvus", "batch"),
    ]
    assert [row["sent"] for row in rows] == [120, 150, 120, 150]
    assert [(row["failed"], row["wrong"], row["died"]) for row in rows] == [(0, 0, [])] * 4
    assert all("cm" in row["parts"] for row in rows[:2])
    assert all("recall:two_tower" in row["parts"] for row in rows[2:])
    after = home.processes()
    assert len(after) == len(before)
    assert not any("faults" in " ".join(process.cmdline()) for process in after)


def test_the_benchmark_of_faults_needs_a_mesh(home: Home, tmp_path: Path) -> None:
    result = run_faults(Home(tmp_path / "home", home.dataset))
    assert result.returncode == 6
    (line,) = result.stderr.splitlines()
    assert "nothing is running; start the mesh with `make up" in line


def run_local(home: Home, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "local", *arguments]
    return subprocess.run(command, cwd=ROOT, env=home.environment, capture_output=True, text=True, check=False)


def test_a_taken_port_is_reported_in_a_single_line(tmp_path: Path, home: Home) -> None:
    other = Home(tmp_path / "home", home.dataset)
    with socket.create_server(("127.0.0.1", other.ports["as"])):
        result = run_local(other, "up", "--dataset", str(home.dataset))
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert f"port {other.ports['as']} for as is taken" in line
    assert "RECMESH_AS_PORT" in line
    assert other.processes() == []


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["up", "--dataset", "no/such/folder"], 3, "no such folder"),
        (["up", "--mode", "other"], 2, "compact or services"),
        (["up", "--backend", "other"], 2, "onnx, paddle-serving or auto"),
        (["logs", "--service", "nobody"], 2, "one of"),
    ],
)
def test_wrong_arguments_are_reported_in_a_single_line(
    tmp_path: Path, home: Home, arguments: list[str], code: int, expected: str
) -> None:
    other = Home(tmp_path / "home", home.dataset)
    result = run_local(other, *arguments)
    assert result.returncode == code
    (line,) = result.stderr.splitlines()
    assert expected in line
    assert other.processes() == []


def test_make_reports_a_missing_python(home: Home) -> None:
    process = home.start(["make", "up", "PYTHON="])
    output, _ = process.communicate()
    assert process.returncode == 2
    assert "no Python 3.10 to 3.12 found" in output


def test_up_notices_that_another_data_set_was_ingested(home: Home) -> None:
    other = synthetic(home.folder.parent / "other", users=100, products=240)
    redis_url = f"redis://127.0.0.1:{home.ports['redis']}/0"
    command = [sys.executable, "-m", "jobs.ingest", "--only", "redis", "--dataset", str(other)]
    environment = {**home.environment, "RECMESH_REDIS_URL": redis_url}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    assert "Redis: verified, 250 items, 150 users" in home.up()
    assert "Redis: verified" not in home.up()


def test_retrain_teaches_what_feed_has_recorded_and_up_keeps_it(home: Home) -> None:
    answer = home.client("as", "5000")
    item = answer["item_infos"][0]["sku_id"]
    home.client("record", "new-shopper", item)
    output = home.make("retrain", f"DATASET={home.dataset}")
    assert "entries written, 0 removed from the log" in output
    release = home.client("as", "5000")["release"]
    assert release != answer["release"]
    training = ModelStore(str(home.folder / "store")).manifest(release).training
    assert training is not None
    assert stream_of("new-shopper") in training.log

    output = home.up()
    assert "two-tower" not in output, "the release was trained again"
    assert "Redis: verified" not in output
    assert home.client("as", "5000")["release"] == release
    assert home.client("um", "new-shopper")["history"]["sku_ids"] == [item]


def test_down_ends_everything_even_without_the_process_manager(home: Home) -> None:
    (manager,) = [process for process in home.processes() if "supervisord" in " ".join(process.cmdline())]
    manager.kill()
    manager.wait()
    home.make("down")
    assert home.processes() == []
    assert not any(listens(port) for port in home.ports.values())
    assert "nothing" in home.make("status")


def test_up_after_down_reuses_the_release(home: Home) -> None:
    output = home.up()
    assert "two-tower" not in output, "the release was trained again"
    assert "known user" in output
    home.make("down")
    assert home.processes() == []


def test_tls_lets_in_callers_with_a_certificate_only(home: Home) -> None:
    output = home.up("TLS=1")
    assert f"https://127.0.0.1:{home.ports['as_http']}/" in output
    assert f"set -a; . {home.folder / 'client.env'}; set +a" in output
    assert home.folder.joinpath("secrets").stat().st_mode & 0o077 == 0
    assert {file.stat().st_mode & 0o077 for file in home.folder.joinpath("secrets").glob("*/*")} == {0}

    target, tls = f"127.0.0.1:{home.ports['as']}", client_tls(home)
    assert serving(target, tls)
    stranger = TlsFiles(ca=tls.ca)
    assert not serving(target, stranger)
    assert not serving(target)
    assert status(f"https://127.0.0.1:{home.ports['metrics']}/metrics", stranger) == 401
    assert status(f"https://127.0.0.1:{home.ports['metrics']}/metrics", tls) == 200
    assert len(home.client("as", "5000")["item_infos"]) == 50, "commands find their certificate in the home"
    own = f". {home.folder / 'client.env'}; {sys.executable} -c {shlex.quote(OWN_PROGRAM)}"
    process = home.start(["bash", "-c", f"set -a; {own}"])
    printed, _ = process.communicate()
    assert printed == "50\n"


OWN_PROGRAM = """
from recmesh.client.sync import Mesh
with Mesh() as mesh:
    print(len(mesh.recommend("5000").items))
"""


def client_tls(home: Home) -> TlsFiles:
    folder = home.folder / "secrets" / "client"
    return TlsFiles(certificate=folder / "tls.crt", key=folder / "tls.key", ca=folder / "ca.crt")


def status(url: str, tls: TlsFiles) -> int:
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=client_context(tls)))
    try:
        with opener.open(url) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_stores_of_a_mesh_with_tls_let_in_their_users_only(home: Home) -> None:
    variables = client_variables(home)
    redis_url, milvus_uri, tls = variables["RECMESH_REDIS_URL"], variables["RECMESH_MILVUS_URI"], client_tls(home)
    assert not listens(home.ports["redis"])
    with redis.Redis.from_url(redis_url, protocol=2) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    with redis.Redis.from_url(redis_url, protocol=2, username="um", password=secret(home, "redis-auth", "um")) as um:
        assert um.exists("recmesh:{u:5000}:user") == 1
        with pytest.raises(redis.exceptions.NoPermissionError):
            um.delete("recmesh:{u:5000}:user")

    user, password = "recall", secret(home, "milvus-auth", "recall")
    for stranger_of_milvus in (Credentials(user, password, tls=TlsFiles(ca=tls.ca)), Credentials(tls=tls)):
        with pytest.raises(Unavailable):
            MilvusWriter(milvus_uri, stranger_of_milvus).collections()
    writer = MilvusWriter(milvus_uri, Credentials(user, password, tls=tls))
    release = home.client("as", "5000")["release"]
    name = collection_name(release)
    assert name in writer.collections()
    with pytest.raises(Unavailable, match="the user may not do this"):
        writer.drop(name)
    process = home.start([sys.executable, "-m", "recmesh", "release", "prune"])
    output, _ = process.communicate()
    assert output == "deleted: nothing\n"


def test_passwords_are_rotated_while_the_mesh_answers(home: Home) -> None:
    pids, folder = home.pids(), home.folder / "secrets" / "redis-auth"
    feed_before, recall_before = secret(home, "redis-auth", "feed"), secret(home, "milvus-auth", "recall")
    home.make("rotate", "WHAT=redis")
    coming = secret(home, "redis-auth", "feed.next")
    assert secret(home, "redis-auth", "feed") == feed_before != coming
    # As if the time were over that all processes get to see the new passwords. Any later run goes on.
    (folder / "since").write_text("2026-01-01T00:00:00+00:00")
    home.make("rotate", "WHAT=milvus")
    assert secret(home, "redis-auth", "feed") == coming
    assert secret(home, "milvus-auth", "recall") != recall_before == secret(home, "milvus-auth", "recall.old")
    answer = home.client("as", "5000")
    assert len(answer["item_infos"]) == 50
    assert answer.get("degraded", []) == []
    url = client_variables(home)["RECMESH_REDIS_URL"]
    with redis.Redis.from_url(url, protocol=2, username="feed", password=secret(home, "redis-auth", "feed")) as feed:
        assert feed.ping()
    with pytest.raises(Unavailable, match="the user and password are not accepted"):
        old = Credentials("recall", secret(home, "milvus-auth", "recall.old"), tls=client_tls(home))
        MilvusWriter(client_variables(home)["RECMESH_MILVUS_URI"], old).collections()
    assert home.pids() == pids


def client_variables(home: Home) -> dict[str, str]:
    lines = home.folder.joinpath("client.env").read_text().splitlines()
    return dict(word.split("=", 1) for line in lines for word in shlex.split(line))


def secret(home: Home, folder: str, name: str) -> str:
    return (home.folder / "secrets" / folder / name).read_text()


def test_top_and_prometheus_show_their_certificates(home: Home) -> None:
    process = home.start([sys.executable, "-m", "recmesh", "top", "--once", "--json", "--interval", "0.5"])
    output, _ = process.communicate()
    assert process.returncode == 0, output
    found = {service: entry["error"] for entry in json.loads(output)["processes"] for service in entry["services"]}
    assert found == dict.fromkeys(SERVICES, "")
    home.make("observe")
    address = f"http://127.0.0.1:{home.ports['prometheus']}"

    def up() -> set[str]:
        answer = prometheus(address, "/api/v1/query?query=recmesh_serving==1")
        return {series["metric"]["service"] for series in answer["data"]["result"]}

    eventually(lambda: up() == set(SERVICES), "all services are scraped")


def test_certificates_are_rotated_while_the_mesh_answers(home: Home) -> None:
    """Only Milvus, which reads the CAs to trust at its start, is started again."""
    pids, tls = home.pids(), client_tls(home)
    before = (tls.certificate or Path()).read_bytes()
    target = f"127.0.0.1:{home.ports['as']}"
    shown = served_certificate(target)
    output = home.make("rotate", "WHAT=certificates")
    assert "as-tls" in output
    assert (tls.certificate or Path()).read_bytes() != before
    assert len(home.client("as", "5000")["item_infos"]) == 50
    eventually(lambda: served_certificate(target) != shown, "as shows its new certificate")
    bundle = tls.ca.read_bytes()
    home.make("rotate", "WHAT=ca")
    assert tls.ca.read_bytes().endswith(bundle)
    assert tls.ca.read_bytes().count(b"BEGIN CERTIFICATE") == 2
    assert len(home.client("as", "5000")["item_infos"]) == 50
    after = home.pids()
    assert {name for name in pids if after[name] != pids[name]} == {"milvus"}


def served_certificate(target: str) -> str:
    host, _, port = target.rpartition(":")
    return ssl.get_server_certificate((host, int(port)))


def test_a_mesh_with_tls_becomes_plain_again(home: Home) -> None:
    output = home.up()
    assert f"http://127.0.0.1:{home.ports['as_http']}/" in output
    assert not home.folder.joinpath("client.env").exists()
    assert serving(f"127.0.0.1:{home.ports['as']}")
    assert len(home.client("as", "5000")["item_infos"]) == 50
    process = home.start(["make", "rotate", "WHAT=ca"])
    output, _ = process.communicate()
    assert process.returncode == 2
    assert "recmesh: this mesh has no certificates: start it with `make up TLS=1`" in output
