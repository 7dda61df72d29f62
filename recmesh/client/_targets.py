"""Where the services are."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from recmesh.contract import PORTS, ServiceName


@dataclass(frozen=True, slots=True)
class Targets:
    """The gRPC target of each service: `host:port`, or another name that gRPC resolves (`dns:///as:8930`).

    Attributes:
        by_service: A target for each service that is called.

    Example:
        >>> Targets.from_environment({"RECMESH_AS_TARGET": "dns:///as:8930"})["as"]
        'dns:///as:8930'
    """

    by_service: Mapping[ServiceName, str]

    # Plain os.environ: pydantic-settings would double the time that `client.py um 8888` takes.
    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Targets":
        """The targets that environment variables name.

        A service is at `RECMESH_<SERVICE>_TARGET`, else at 127.0.0.1 and `RECMESH_<SERVICE>_PORT`, else at 127.0.0.1
        and the standard port.

        Args:
            environment: The variables; None means `os.environ`.

        Returns:
            A target for each service.
        """
        env = os.environ if environment is None else environment
        return cls({service: _target(env, service) for service in PORTS})

    def having(self, service: ServiceName, target: str) -> "Targets":
        """These targets, with another one for `service`."""
        return replace(self, by_service={**self.by_service, service: target})

    def __getitem__(self, service: ServiceName) -> str:
        """The target of a service."""
        return self.by_service[service]


def _target(env: Mapping[str, str], service: ServiceName) -> str:
    prefix = f"RECMESH_{service.upper()}"
    return env.get(f"{prefix}_TARGET") or f"127.0.0.1:{env.get(f'{prefix}_PORT') or PORTS[service]}"
