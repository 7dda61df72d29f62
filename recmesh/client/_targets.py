"""Where the five services are."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

ServiceName = Literal["um", "cm", "recall", "rank", "as"]

_PORTS: dict[ServiceName, str] = {"um": "8910", "cm": "8920", "recall": "8950", "rank": "8960", "as": "8930"}


@dataclass(frozen=True, slots=True)
class Targets:
    """A gRPC target a service: `host:port`, or any name that gRPC resolves (`dns:///...`)."""

    by_service: Mapping[ServiceName, str]

    # Plain os.environ: pydantic-settings would double the time that `client.py um 8888` takes.
    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Targets":
        """`RECMESH_<SERVICE>_TARGET`, else loopback and `RECMESH_<SERVICE>_PORT`, else the standard port."""
        env = os.environ if environment is None else environment
        return cls({name: _target(env, name, port) for name, port in _PORTS.items()})

    def having(self, service: ServiceName, target: str) -> "Targets":
        """The same targets but for one service."""
        return replace(self, by_service={**self.by_service, service: target})

    def __getitem__(self, service: ServiceName) -> str:
        return self.by_service[service]


def _target(env: Mapping[str, str], name: ServiceName, port: str) -> str:
    prefix = f"RECMESH_{name.upper()}"
    return env.get(f"{prefix}_TARGET") or f"127.0.0.1:{env.get(f'{prefix}_PORT') or port}"
