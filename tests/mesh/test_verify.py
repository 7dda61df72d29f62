"""`recmesh verify` passes on a running mesh. Without an answer, it says why there is none and what to do."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from local.ports import free_ports
from recmesh.cli.verify.running import HEALTH, NOT_RUN, OK
from tests.certificates import Authority
from tests.processes import Service, port_variables, running
from tests.servers import ROOT
from tests.shop import Shop, running_apart

POLICY = """
callers:
  - {name: as, certificates: "spiffe://test/as"}
  - {name: client, certificates: "spiffe://test/client"}
allow:
  - {callers: [as, client], methods: ["um/*", "cm/*", "recall/*", "rank/*"]}
  - {callers: client, methods: ["feed/*"]}
"""


def start(environment: Mapping[str, str], *options: str) -> "subprocess.Popen[str]":
    """Start the command with the variables of clients, and no others of recmesh."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RECMESH_")}
    command = [sys.executable, "-m", "recmesh", "verify", *options]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env={**own, **environment}, stdout=pipe, stderr=pipe, text=True)


@dataclass(frozen=True)
class Ended:
    """What a run has printed."""

    code: int
    lines: list[str]
    errors: str

    def named(self, state: str) -> list[str]:
        """The lines of a state."""
        return [line for line in self.lines if line.startswith(state)]


def run(environment: Mapping[str, str], *options: str) -> Ended:
    """Run the command."""
    process = start(environment, *options)
    output, errors = process.communicate()
    return Ended(process.returncode, output.splitlines(), errors)


@pytest.fixture(params=["compact", "apart"])
def variables(request: pytest.FixtureRequest) -> dict[str, str]:
    """The variables of a client, in both ways to run the services."""
    mesh = request.getfixturevalue(request.param)
    return port_variables(mesh.ports if isinstance(mesh, Service) else mesh["as"].ports)


def test_a_mesh_keeps_its_contract(variables: dict[str, str], trained_shop: Shop) -> None:
    users = [option for user_id in trained_shop.user_ids[:3] for option in ("--user", user_id)]
    ended = run(variables, *users)
    *checks, summary = ended.lines
    assert (ended.code, ended.errors) == (0, ""), "\n".join(ended.lines)
    assert summary == f"um, cm, recall, rank, as: {len(checks)} checks ok"
    assert all(re.fullmatch(r"ok +(um|cm|recall|rank|as) +\S.*\S +\d+ ms", line) for line in checks)


def test_one_service_as_json(compact: Service, trained_shop: Shop) -> None:
    user_id = trained_shop.user_ids[0]
    ended = run(port_variables(compact.ports), "--service", "rank", "--user", user_id, "--json")
    report = json.loads("\n".join(ended.lines))
    assert (ended.code, report["failed"], report["not_run"]) == (0, 0, 0)
    assert report["ok"] == len(report["checks"])
    assert {check["service"] for check in report["checks"]} == {"rank"}
    assert report["checks"][0]["what"] == HEALTH


def test_users_of_another_shop_fail_with_advice(compact: Service) -> None:
    ended = run(port_variables(compact.ports), "--user", "no such user", "--service", "um", "--service", "rank")
    assert ended.code == 1
    (failed,) = ended.named("FAILED")
    assert "user no such user is unknown: name users of your data set with --user ID" in failed
    (left,) = ended.named(NOT_RUN)
    assert "items by id for a known user" in left
    assert "needs um: um answered 500" in left
    assert ended.lines[-1].endswith(", 1 FAILED, 1 not run")


def test_an_unknown_service_is_named(compact: Service) -> None:
    ended = run(port_variables(compact.ports), "--service", "ranks")
    assert ended.code == 2
    assert "'ranks' is not one of um, cm, recall, rank, as, feed; did you mean" in " ".join(
        ended.errors.replace("│", " ").split()
    )


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Issues the certificates of the secured mesh."""
    return Authority()


@dataclass(frozen=True)
class Secured:
    """A mesh with TLS, a policy, feed and HTTP ports.

    Attributes:
        folder: For certificates.
        authority: Issues them.
        targets: The variables with its targets.
    """

    folder: Path
    authority: Authority
    targets: dict[str, str]

    def client(self, name: str) -> dict[str, str]:
        """The variables of a client whose certificate has a name."""
        issued = self.authority.issue(dns=(), uri=f"spiffe://test/{name}")
        return {**self.targets, **issued.write(self.folder / name, self.authority.certificate).settings()}


@pytest.fixture(scope="module", params=["compact", "apart"])
def secured(
    request: pytest.FixtureRequest, trained_shop: Shop, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    (folder / "policy.yaml").write_text(POLICY)
    files = authority.issue(uri="spiffe://test/as").write(folder / "as", authority.certificate)
    as_http, feed_http = free_ports(2)
    settings = {
        **files.settings(),
        "RECMESH_POLICY_FILE": str(folder / "policy.yaml"),
        "RECMESH_AS_HTTP_PORT": str(as_http),
        "RECMESH_FEED_HTTP_PORT": str(feed_http),
    }
    environment = {**trained_shop.environment, **settings}
    with ExitStack() as stack:
        if request.param == "compact":
            ports = stack.enter_context(running("compact", environment)).ports
        else:
            ports = stack.enter_context(running_apart(trained_shop, settings))["as"].ports
        feed = stack.enter_context(running("feed", environment))
        targets = {
            **port_variables(ports),
            "RECMESH_FEED_TARGET": feed.target("feed"),
            "RECMESH_AS_HTTP_TARGET": f"127.0.0.1:{as_http}",
            "RECMESH_FEED_HTTP_TARGET": f"127.0.0.1:{feed_http}",
        }
        yield Secured(folder, authority, targets)


def test_a_mesh_with_tls_feed_and_http_keeps_its_contract(secured: Secured, trained_shop: Shop) -> None:
    ended = run(secured.client("client"), "--user", trained_shop.user_ids[0])
    assert (ended.code, ended.errors) == (0, ""), "\n".join(ended.lines)
    assert ended.lines[-1].startswith("um, cm, recall, rank, as, feed: ")
    assert len([line for line in ended.lines if "  HTTP: " in line]) == 12


def test_a_caller_that_may_not_call_is_told_whom_to_ask(secured: Secured) -> None:
    ended = run(secured.client("shop"), "--service", "um")
    health, failed, left, _ = ended.lines
    assert (ended.code, health.startswith(OK)) == (1, True)
    assert failed.startswith("FAILED   um      known users")
    assert "PERMISSION_DENIED" in failed
    assert failed.endswith("ask who runs the service to allow it (docs/callers.md)")
    assert re.match(r"not run  um      \d+ other checks", left)


def no_certificate(secured: Secured, _folder: Path) -> dict[str, str]:
    given = secured.client("client")
    return {name: value for name, value in given.items() if name not in ("RECMESH_TLS_CERTIFICATE", "RECMESH_TLS_KEY")}


def certificate_of_another_authority(secured: Secured, folder: Path) -> dict[str, str]:
    files = Authority("other").issue(uri="spiffe://test/client").write(folder, secured.authority.certificate)
    return {**secured.targets, **files.settings()}


def other_authority(secured: Secured, folder: Path) -> dict[str, str]:
    other = Authority("other")
    return {**secured.targets, **other.issue().write(folder, other.certificate).settings()}


def plain(secured: Secured, _folder: Path) -> dict[str, str]:
    return secured.targets


@pytest.mark.parametrize(
    ("caller", "advice"),
    [
        (no_certificate, "it asks for a certificate: set RECMESH_TLS_CERTIFICATE and RECMESH_TLS_KEY"),
        (certificate_of_another_authority, "has it expired, is it of the same CA?"),
        (other_authority, "its certificate is not valid here (unable to get local issuer certificate)"),
        (plain, "it speaks TLS: set RECMESH_TLS_CA, and RECMESH_TLS_CERTIFICATE and RECMESH_TLS_KEY if it asks for"),
    ],
)
def test_a_caller_without_the_right_certificate_is_told_what_to_do(
    secured: Secured, tmp_path: Path, caller: Callable[[Secured, Path], dict[str, str]], advice: str
) -> None:
    ended = run(caller(secured, tmp_path), "--service", "um", "--wait", "0")
    failed, left, _ = ended.lines
    assert ended.code == 1
    assert failed.startswith("FAILED   um      health: SERVING")
    assert advice in failed
    assert left.endswith("its health status is not SERVING")


@pytest.mark.parametrize(
    ("target", "advice"),
    [
        ("127.0.0.1:{port}", "is it running? set RECMESH_UM_TARGET"),
        ("0.0.0.0:{port}", 'a NetworkPolicy must admit this pod (label recmesh.io/operator: "true")'),
        ("dns:///no-such-host.invalid:8910", "the name no-such-host.invalid does not resolve: set RECMESH_UM_TARGET"),
        ("no port", "is RECMESH_UM_TARGET right?"),
    ],
)
def test_a_service_that_does_not_answer_is_looked_into(target: str, advice: str) -> None:
    variables = {"RECMESH_UM_TARGET": target.format(port=free_ports(1)[0])}
    ended = run(variables, "--service", "um", "--wait", "0")
    assert ended.code == 1
    assert ended.lines[0].endswith(advice)


def test_tls_to_a_plain_port_is_named(compact: Service, authority: Authority, tmp_path: Path) -> None:
    files = authority.issue().write(tmp_path, authority.certificate)
    ended = run({**port_variables(compact.ports), **files.settings()}, "--service", "um", "--wait", "0")
    assert ended.lines[0].endswith("it speaks no TLS: unset RECMESH_TLS_CA")


def test_a_service_that_comes_later_is_waited_for(trained_shop: Shop) -> None:
    ports = dict(zip(("um", "as"), free_ports(2), strict=True))
    user_id = trained_shop.user_ids[0]
    process = start(port_variables(ports), "--service", "um", "--user", user_id, "--wait", "300")
    assert process.stderr is not None
    assert process.stderr.readline().startswith(f"waiting for um at 127.0.0.1:{ports['um']}: UNAVAILABLE")
    with running("um", trained_shop.environment, ports):
        output, _ = process.communicate()
    assert process.returncode == 0, output


def test_a_stopped_stage_fails_its_own_checks_and_the_whole_chain(trained_shop: Shop) -> None:
    with running_apart(trained_shop) as services:
        services["rank"].kill()
        variables = port_variables(services["as"].ports)
        ended = run(variables, "--user", trained_shop.user_ids[0], "--wait", "0")
    failed = ended.named("FAILED")
    assert ended.code == 1
    assert {line.split()[1] for line in failed} == {"rank", "as"}
    assert failed[0].startswith("FAILED   rank    health: SERVING")
    assert "is it running?" in failed[0]
    assert failed[1].endswith("degraded is ['rank'], not []")
    assert [line.split()[2] for line in ended.named(NOT_RUN)] == ["rank"]
