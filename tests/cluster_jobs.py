"""The Jobs of an installation in place of those of a cluster, as objects of the Kubernetes client."""

from collections.abc import Mapping
from copy import deepcopy
from datetime import datetime, timedelta, timezone
from typing import Any

from kubernetes import client

from recmesh.cli.jobs_api import COMPONENT
from recmesh.errors import RecmeshError

BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)


class MemoryJobs:
    """Keeps Jobs that nobody runs; a test ends them.

    Attributes:
        manifests: What was started, by the names that it got.
        fault: If set, every call raises it.
    """

    def __init__(self, templates: Mapping[str, dict[str, Any]]) -> None:
        """Have no Jobs yet. `templates` has the Job of each kind."""
        self.manifests: dict[str, dict[str, Any]] = {}
        self.fault: RecmeshError | None = None
        self._templates = templates
        self._jobs: list[Any] = []

    def manifest(self, kind: str) -> dict[str, Any]:
        """See `recmesh.cli.jobs_api.Jobs`."""
        self._fail()
        return deepcopy(self._templates[kind])

    def all(self) -> list[Any]:
        """See `recmesh.cli.jobs_api.Jobs`."""
        self._fail()
        return self._jobs[::-1]

    def start(self, manifest: dict[str, Any]) -> str:
        """See `recmesh.cli.jobs_api.Jobs`."""
        self._fail()
        metadata = manifest["metadata"]
        name = f"{metadata['generateName']}{len(self.manifests)}"
        self.manifests[name] = manifest
        self.add(name, metadata["labels"][COMPONENT], metadata.get("annotations"))
        return name

    def add(self, name: str, component: str, annotations: Mapping[str, str] | None = None, **spec: Any) -> None:
        """A Job of the installation that runs."""
        created = BEGIN + timedelta(seconds=len(self._jobs))
        self._jobs.append(
            client.V1Job(
                metadata=client.V1ObjectMeta(
                    name=name, labels={COMPONENT: component}, annotations=annotations, creation_timestamp=created
                ),
                spec=client.V1JobSpec(template=client.V1PodTemplateSpec(), **spec),
                status=client.V1JobStatus(start_time=created),
            )
        )

    def end(self, name: str, condition: str = "Complete") -> None:
        """Let a Job end."""
        job = next(job for job in self._jobs if job.metadata.name == name)
        done = condition == "Complete"
        ended = job.metadata.creation_timestamp + timedelta(seconds=7)
        condition = client.V1JobCondition(type=condition, status="True", last_transition_time=ended)
        job.status = client.V1JobStatus(start_time=job.status.start_time, conditions=[condition], succeeded=int(done))

    def _fail(self) -> None:
        if self.fault:
            raise self.fault
