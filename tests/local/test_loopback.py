"""Confining servers to loopback, as Milvus needs, which has no setting for it."""

import ipaddress
import os
import signal
import subprocess
import sys

import psutil
import redis
from pymilvus import MilvusClient

from tests.servers import ROOT, MilvusServer, RedisServer

BIND = """
import socket
for family, host in [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET, "127.0.0.2"), (socket.AF_INET6, "::")]:
    print(socket.create_server((host, 0), family=family).getsockname()[0])
print(socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True).getsockname()[0])
"""


def under_loopback(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "local.loopback", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )


def listening(pid: int) -> set[str]:
    """Addresses that a process and its descendants listen on."""
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    return {
        connection.laddr.ip
        for member in family
        for connection in member.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


def test_wildcard_binds_move_to_loopback_and_others_stay() -> None:
    result = under_loopback(sys.executable, "-c", BIND)
    assert result.stdout.split() == ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"], result.stderr


def test_a_taken_port_is_reported_to_the_command() -> None:
    code = "import socket; a = socket.create_server(('', 0)); socket.create_server(('', a.getsockname()[1]))"
    result = under_loopback(sys.executable, "-c", code)
    assert result.returncode == 1
    assert "Address already in use" in result.stderr


def test_the_exit_status_is_passed_on_and_a_missing_command_is_reported() -> None:
    assert under_loopback("sh", "-c", "exit 3").returncode == 3
    missing = under_loopback("no-such-command")
    assert missing.returncode == 2
    assert "no-such-command" in missing.stderr


def test_termination_is_passed_on() -> None:
    code = "import signal, sys; signal.signal(15, lambda *_: sys.exit(7)); print('ready', flush=True); signal.pause()"
    launcher = subprocess.Popen(
        [sys.executable, "-m", "local.loopback", sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert launcher.stdout is not None
    with launcher:
        launcher.stdout.readline()
        launcher.send_signal(signal.SIGTERM)
        assert launcher.wait() == 7


def test_the_command_dies_with_its_launcher() -> None:
    code = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
    launcher = subprocess.Popen(
        [sys.executable, "-m", "local.loopback", sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert launcher.stdout is not None
    with launcher:
        child = psutil.Process(int(launcher.stdout.readline()))
        os.kill(launcher.pid, signal.SIGKILL)
        psutil.wait_procs([child], timeout=30)
        assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_every_socket_of_milvus_and_redis_is_on_loopback(
    milvus_server: MilvusServer, redis_server: RedisServer
) -> None:
    assert MilvusClient(milvus_server.uri, timeout=10).get_server_version()
    assert redis.Redis.from_url(redis_server.url).ping()
    addresses = listening(milvus_server.pid) | listening(redis_server.pid)
    assert addresses, "no listening socket found"
    for address in addresses:
        plain = ipaddress.ip_address(address)
        mapped = plain.ipv4_mapped if isinstance(plain, ipaddress.IPv6Address) else None
        assert (mapped or plain).is_loopback, address
