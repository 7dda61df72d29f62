"""The Milvus standalone server of the wheel milvus==2.3.5, listening on loopback only.

    python -m local.milvus --data FOLDER --port 19530 [--tls FOLDER] [--authorization]

Runs in the foreground until Milvus exits. The wheel compresses the server with xz; it is unpacked once per environment.
Milvus gets a fixed port for its proxy and free ports for everything else; `FOLDER/ports.json` lists them.
"""

import argparse
import contextlib
import functools
import importlib.util
import json
import lzma
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from local import loopback, milvus_sessions, ports
from recmesh.contract import MILVUS_PORT
from recmesh.errors import RecmeshError, SettingsError

VERSION = "2.3.5"
ALLOW_WILDCARD = "RECMESH_MILVUS_ALLOW_WILDCARD"

_COMPONENTS = ("rootCoord", "proxy", "queryCoord", "queryNode", "indexNode", "dataCoord", "dataNode")
_INTERNAL_PORTS = (
    "etcd_port",
    "etcd_peer_port",
    "root_coord_port",
    "proxy_internal_port",
    "query_coord_port",
    "query_node_port",
    "index_coord_port",
    "index_node_port",
    "data_coord_port",
    "data_node_port",
    "metrics_port",
)
_MUTUAL_TLS = 2
_TLS_FILES = {"serverPemPath": "tls.crt", "serverKeyPath": "tls.key", "caPemPath": "ca.crt"}
_SCRATCH = Path("/tmp/milvus")  # noqa: S108  # Milvus has no setting for it
_PLACEHOLDER = re.compile(r"\{\{\s*(\w+)(?:\((\w+)\))?\s*(?::\s*(.*?))?\s*\}\}")


def _wheel_data() -> Path:
    """The data folder of the installed wheel. Importing the wheel would start processes."""
    spec = importlib.util.find_spec("milvus")
    if spec is None or not spec.submodule_search_locations:
        raise SettingsError(
            f"the Milvus server is not installed here: pip install milvus=={VERSION} (x86-64 Linux only)"
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def _unpack(packed: Path, into: Path) -> None:
    target = into / packed.stem
    with lzma.open(packed) as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
    target.chmod(0o755)


def binaries() -> Path:
    """The folder with the unpacked server. The first call unpacks it, which takes about 20 s."""
    target = Path(sys.prefix) / "share" / f"milvus-{VERSION}"
    if target.exists():
        return target
    packed = sorted((_wheel_data() / "bin").glob("*.lzma"), key=lambda file: -file.stat().st_size)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        unpacked = Path(scratch) / "bin"
        unpacked.mkdir()
        with ThreadPoolExecutor(max_workers=2) as pool:
            list(pool.map(lambda file: _unpack(file, unpacked), packed))
        try:
            unpacked.rename(target)
        except OSError:
            if not target.exists():  # otherwise another process has unpacked it
                raise
    return target


def _etcd_configuration(client_port: int, peer_port: int) -> str:
    """Configuration of the embedded etcd, which otherwise always uses port 2380."""
    client, peer = f"http://127.0.0.1:{client_port}", f"http://127.0.0.1:{peer_port}"
    settings = {
        "name": "default",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
    }
    return yaml.safe_dump(settings)


@dataclass(frozen=True)
class Security:
    """Who may call the proxy of Milvus. Its components call each other without TLS and users, on loopback.

    Attributes:
        tls: Folder with the certificate `tls.crt`, the key `tls.key` and the authority `ca.crt` of callers, who must
            show a certificate; None for plain connections. Milvus reads them at its start only.
        authorization: Whether callers need a user and a password. The first is root, with the password Milvus.
    """

    tls: Path | None = None
    authorization: bool = False

    def check(self) -> None:
        """Raise SettingsError if a file is missing: Milvus would only panic."""
        for name in _TLS_FILES.values() if self.tls else ():
            if not (file := Path(self.tls or "", name)).is_file():
                raise SettingsError(f"{file}, which Milvus needs for TLS, is missing: create it, or leave out --tls")

    def apply(self, settings: dict[str, Any]) -> None:
        """Change the configuration of Milvus."""
        # root may set passwords of others without their old ones.
        settings["common"]["security"] |= {"authorizationEnabled": self.authorization, "superUsers": "root"}
        if self.tls:
            settings["common"]["security"]["tlsMode"] = _MUTUAL_TLS
            settings["tls"] = {setting: str(self.tls / name) for setting, name in _TLS_FILES.items()}


OPEN = Security()
"""Whoever reaches the proxy may call it."""


def _configuration(data: Path, values: Mapping[str, object], security: Security) -> str:
    """Fill in the configuration template of the wheel. Components advertise 127.0.0.1."""
    template = (_wheel_data() / "config.yaml.template").read_text()

    def fill(match: re.Match[str]) -> str:
        name, _, default = match.groups()
        value = values.get(name, default if default is not None else "")
        return json.dumps(str(value), ensure_ascii=False) if isinstance(value, Path) else str(value)  # quoted for YAML

    settings = yaml.safe_load(_PLACEHOLDER.sub(fill, template))
    settings["etcd"]["endpoints"] = f"127.0.0.1:{values['etcd_port']}"
    settings["etcd"]["config"] = {"path": str(data / "configs" / "etcd.yaml")}
    for component in _COMPONENTS:
        settings[component]["ip"] = "127.0.0.1"
    security.apply(settings)
    settings["log"]["level"] = "warn"
    settings["log"]["file"]["rootPath"] = ""  # log to stdout only; the process manager rotates the log
    return yaml.safe_dump(settings)


def _prepare(data: Path, port: int, internal: Mapping[str, int], security: Security) -> None:
    configs, storage = data / "configs", data / "data"
    for folder in (configs, storage, data / "logs"):
        folder.mkdir(parents=True, exist_ok=True)
    values: dict[str, object] = {
        **internal,
        "proxy_port": port,
        "etcd_log_level": "warn",
        "etcd_data_dir": storage / "etcd.data",
        "local_storage_dir": storage,
        "rocksmq_data_dir": storage / "rocksmq",
    }
    (configs / "milvus.yaml").write_text(_configuration(data, values, security))
    (configs / "etcd.yaml").write_text(_etcd_configuration(internal["etcd_port"], internal["etcd_peer_port"]))
    shutil.copy(_wheel_data() / "glog.conf", configs / "glog.conf")
    (data / "ports.json").write_text(json.dumps({"proxy_port": port, **internal}))


def _open_scratch() -> None:
    """Make /tmp/milvus writable for all users, since every Milvus writes small files there."""
    with contextlib.suppress(FileExistsError):
        _SCRATCH.mkdir()
    with contextlib.suppress(PermissionError):
        _SCRATCH.chmod(0o1777)
    if not os.access(_SCRATCH, os.W_OK | os.X_OK):
        owner = _SCRATCH.stat().st_uid
        raise SettingsError(
            f"Milvus must write to {_SCRATCH}, which user {owner} owns: have it removed or made writable for all"
        )


def _environment(data: Path, server: Path, metrics_port: int) -> dict[str, str]:
    libraries = os.pathsep.join(filter(None, [str(server), os.environ.get("LD_LIBRARY_PATH", "")]))
    return {
        **os.environ,
        "DEPLOY_MODE": "STANDALONE",
        "METRICS_PORT": str(metrics_port),
        "MILVUS_RUN_DIR": str(data / "run"),
        "LD_LIBRARY_PATH": libraries,
    }


def serve(data: Path, port: int, security: Security = OPEN) -> int:
    """Run Milvus until it exits.

    Args:
        data: Folder of the data.
        port: Port of the gRPC proxy.
        security: Who may call the proxy.

    Returns:
        The exit status of Milvus.

    Raises:
        SettingsError: The wheel or a file of TLS is missing, the port is taken, or Milvus cannot be confined to
            loopback and RECMESH_MILVUS_ALLOW_WILDCARD is not 1.
    """
    security.check()
    wildcard = os.environ.get(ALLOW_WILDCARD) == "1"
    server = binaries()
    _open_scratch()
    data.mkdir(parents=True, exist_ok=True)
    data = data.resolve()
    with ExitStack() as stack:
        try:
            stack.enter_context(ports.hold(port))
        except OSError as error:
            raise SettingsError(
                f"port {port} for Milvus is taken: stop the process that listens there, or set RECMESH_MILVUS_PORT"
            ) from error
        internal = dict(zip(_INTERNAL_PORTS, ports.free_ports(len(_INTERNAL_PORTS), exclude=[port]), strict=True))
        for number in internal.values():
            stack.enter_context(ports.hold(number))
        _prepare(data, port, internal, security)
        os.chdir(data)  # Milvus reads configs/ and writes small files relative to its working directory
        command = [str(server / "milvus"), "run", "standalone", f"--alias={port}"]  # the alias keeps pid files apart
        environment = _environment(data, server, internal["metrics_port"])
        if wildcard:
            os.execve(command[0], command, environment)
        clear = functools.partial(milvus_sessions.clear_stale, internal["etcd_port"], {port, *internal.values()})
        return loopback.run(command, environment, started=clear)


def main() -> int:
    """Run Milvus. Errors become one line on standard error and an exit code."""
    parser = argparse.ArgumentParser(prog="python -m local.milvus", description="Milvus standalone on loopback.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the server's data")
    parser.add_argument("--port", type=int, default=MILVUS_PORT, help="port of the gRPC proxy")
    parser.add_argument("--tls", type=Path, help="folder with tls.crt, tls.key and ca.crt: callers need a certificate")
    parser.add_argument("--authorization", action="store_true", help="callers need a user and a password")
    options = parser.parse_args()
    security = Security(options.tls and options.tls.absolute(), options.authorization)
    try:
        return serve(options.data, options.port, security)
    except RecmeshError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
