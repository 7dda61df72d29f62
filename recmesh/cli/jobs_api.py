"""The Jobs of an installation in Kubernetes.

States are polled and logs are streamed without kubernetes.watch (docs/adr/020).
"""

import time
from collections.abc import Iterable, Iterator
from typing import Any

from recmesh.cli.kube import CALL_SECONDS, connect, errors
from recmesh.errors import SettingsError

COMPONENT = "app.kubernetes.io/component"
REASON = "recmesh.io/reason"
"""The annotation of a Job that says why it was started, if nobody asked for it."""

_HELM = "helm"
_NAME = "recmesh.io/job-name"
_INSTANCE = "app.kubernetes.io/instance"
POLL_INTERVAL_SECONDS = 1.0


class Jobs:
    """The Jobs of one installation.

    Every method raises Unavailable if the cluster does not answer, and SettingsError if it refuses the request.

    Args:
        release: Name of the Helm release.
        namespace: Its namespace; empty means that of the context.
        context: Context of the kubeconfig; empty means the current one, or else the service account of the pod.

    Attributes:
        namespace: The namespace.

    Raises:
        SettingsError: The Kubernetes client is not installed, or no cluster is configured.
    """

    def __init__(self, release: str, namespace: str = "", context: str = "") -> None:
        self._release = release
        current = connect(context)
        self.namespace = namespace or current
        from kubernetes import client

        self._batch, self._core = client.BatchV1Api(), client.CoreV1Api()

    def manifest(self, kind: str) -> dict[str, Any]:
        """Read the Job that the installation defines for a kind; raise SettingsError if there is none."""
        name = f"{self._release}-jobs"
        with errors():
            found = self._core.read_namespaced_config_map(name, self.namespace, _request_timeout=CALL_SECONDS)
        import yaml

        if kind not in found.data:
            raise SettingsError(f"{self._release} has no job {kind}, only {', '.join(sorted(found.data))}")
        manifest: dict[str, Any] = yaml.safe_load(found.data[kind])
        # kubectl creates it under a generated name; here the name is that of the Job which helm would create.
        del manifest["metadata"]["generateName"]
        manifest["metadata"]["name"] = manifest["metadata"]["annotations"].pop(_NAME)
        return manifest

    def get(self, name: str) -> Any:
        """Read a Job; None if there is no such Job."""
        with errors():
            found = self._batch.list_namespaced_job(
                self.namespace, field_selector=f"metadata.name={name}", _request_timeout=CALL_SECONDS
            ).items
        return found[0] if found else None

    def all(self) -> list[Any]:
        """Read the Jobs of the installation, newest first."""
        with errors():
            found = self._batch.list_namespaced_job(
                self.namespace, label_selector=f"{_INSTANCE}={self._release}", _request_timeout=CALL_SECONDS
            ).items
        return sorted(found, key=lambda job: job.metadata.creation_timestamp, reverse=True)

    def create(self, manifest: dict[str, Any]) -> None:
        """Create a Job by server-side apply in the name of Helm, so that Helm can manage it afterwards."""
        with errors():
            self._batch.patch_namespaced_job(
                manifest["metadata"]["name"],
                self.namespace,
                manifest,
                field_manager=_HELM,
                _content_type="application/apply-patch+yaml",
                _request_timeout=CALL_SECONDS,
            )

    def start(self, manifest: dict[str, Any]) -> str:
        """Create a Job that Helm does not manage, under a name that Kubernetes completes. Returns the name."""
        with errors():
            created = self._batch.create_namespaced_job(self.namespace, manifest, _request_timeout=CALL_SECONDS)
        return str(created.metadata.name)

    def delete(self, name: str) -> None:
        """Delete a Job with its pods, and wait until they are gone."""
        with errors():
            self._batch.delete_namespaced_job(
                name, self.namespace, propagation_policy="Foreground", _request_timeout=CALL_SECONDS
            )
        while self.get(name) is not None:
            time.sleep(POLL_INTERVAL_SECONDS)

    def pods(self, name: str) -> list[Any]:
        """Read the pods of a Job, oldest first."""
        with errors():
            found = self._core.list_namespaced_pod(
                self.namespace, label_selector=f"batch.kubernetes.io/job-name={name}", _request_timeout=CALL_SECONDS
            ).items
        return sorted(found, key=lambda pod: pod.metadata.creation_timestamp)

    def lines(self, pod: str, container: str, follow: bool) -> Iterator[str]:
        """Read the log of a container.

        Args:
            pod: The pod.
            container: The container.
            follow: Whether to wait for more until the container ends.

        Yields:
            Its lines, also a last one without a line break.
        """
        with errors():
            stream = self._core.read_namespaced_pod_log(
                pod, self.namespace, container=container, follow=follow, _preload_content=False
            )
            yield from lines_of(stream.stream())

    def wait_for_container(self, pod: str, container: str) -> bool:
        """Wait until a container has started; False if it never will."""
        while True:
            with errors():
                found = self._core.list_namespaced_pod(
                    self.namespace, field_selector=f"metadata.name={pod}", _request_timeout=CALL_SECONDS
                ).items
            if not found:
                return False
            pod_status = found[0].status
            states = [*(pod_status.init_container_statuses or ()), *(pod_status.container_statuses or ())]
            own = next((status.state for status in states if status.name == container), None)
            if own is not None and (own.running or own.terminated):
                return True
            if pod_status.phase in ("Succeeded", "Failed"):
                return False
            time.sleep(POLL_INTERVAL_SECONDS)


def lines_of(chunks: Iterable[bytes]) -> Iterator[str]:
    """Split a log at its line breaks, which chunks need not respect, nor the bytes of a character."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)
    if rest:
        yield rest.decode(errors="replace")


def reason(job: Any) -> str:
    """Why a Job was started; empty if somebody asked for it."""
    return str((job.metadata.annotations or {}).get(REASON, ""))


def outcome(job: Any) -> str:
    """The state of a Job: `complete`, `failed` or `running`."""
    for condition in job.status.conditions or ():
        if condition.status == "True" and condition.type in ("Complete", "Failed"):
            return str(condition.type).lower()
    return "running"
