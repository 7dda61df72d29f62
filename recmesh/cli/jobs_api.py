"""Jobs of an installation in Kubernetes: what `recmesh job` needs of its API."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import yaml

from recmesh.errors import RecmeshError, SettingsError, Unavailable

COMPONENT = "app.kubernetes.io/component"
_HELM = "helm"
_INSTANCE = "app.kubernetes.io/instance"
_LOOK_SECONDS = 1.0
_CALL_SECONDS = 30


class Jobs:
    """The Jobs of one installation.

    Args:
        release: name of the installation, as helm has it.
        namespace: of it; empty: that of the current context.
        context: of the kubeconfig; empty: the current one, or the pod's service account.

    Raises SettingsError without the Kubernetes client or a cluster to talk to, Unavailable when that does not answer.
    """

    def __init__(self, release: str, namespace: str = "", context: str = "") -> None:
        try:
            from kubernetes import client, config
        except ImportError as error:
            raise SettingsError(
                "this command needs the extra \"kubernetes\": pip install 'recmesh[kubernetes]'"
            ) from error
        self._release = release
        with _errors():
            try:
                config.load_kube_config(context=context or None)
                current = config.list_kube_config_contexts()[1]["context"].get("namespace", "default")
            except config.ConfigException as error:
                current = _in_cluster(config, error)
        self.namespace = namespace or current
        self._batch, self._core = client.BatchV1Api(), client.CoreV1Api()

    def manifest(self, kind: str) -> dict[str, Any]:
        """The Job of a kind as this installation wants it. Raises SettingsError when it has none."""
        name = f"{self._release}-jobs"
        with _errors():
            found = self._core.read_namespaced_config_map(name, self.namespace, _request_timeout=_CALL_SECONDS)
        if kind not in found.data:
            raise SettingsError(f"{self._release} has no job {kind}, only {', '.join(sorted(found.data))}")
        return dict(yaml.safe_load(found.data[kind]))

    def get(self, name: str) -> Any:
        """A Job; None when there is none of the name."""
        with _errors():
            found = self._batch.list_namespaced_job(
                self.namespace, field_selector=f"metadata.name={name}", _request_timeout=_CALL_SECONDS
            ).items
        return found[0] if found else None

    def all(self) -> list[Any]:
        """All Jobs of the installation, newest first."""
        with _errors():
            found = self._batch.list_namespaced_job(
                self.namespace, label_selector=f"{_INSTANCE}={self._release}", _request_timeout=_CALL_SECONDS
            ).items
        return sorted(found, key=lambda job: job.metadata.creation_timestamp, reverse=True)

    def create(self, manifest: dict[str, Any]) -> None:
        """Create a Job as helm does, so that helm may go on with it: by the same server-side apply, in its name."""
        owner = {"meta.helm.sh/release-name": self._release, "meta.helm.sh/release-namespace": self.namespace}
        manifest["metadata"].setdefault("annotations", {}).update(owner)
        with _errors():
            self._batch.patch_namespaced_job(
                manifest["metadata"]["name"],
                self.namespace,
                manifest,
                field_manager=_HELM,
                _content_type="application/apply-patch+yaml",
                _request_timeout=_CALL_SECONDS,
            )

    def delete(self, name: str) -> None:
        """Delete a Job with its pods; return when they are gone."""
        with _errors():
            self._batch.delete_namespaced_job(
                name, self.namespace, propagation_policy="Foreground", _request_timeout=_CALL_SECONDS
            )
        while self.get(name) is not None:
            time.sleep(_LOOK_SECONDS)

    def pods(self, name: str) -> list[Any]:
        """The pods of a Job, oldest first."""
        with _errors():
            found = self._core.list_namespaced_pod(
                self.namespace, label_selector=f"batch.kubernetes.io/job-name={name}", _request_timeout=_CALL_SECONDS
            ).items
        return sorted(found, key=lambda pod: pod.metadata.creation_timestamp)

    def lines(self, pod: str, container: str, follow: bool) -> Iterator[str]:
        """The log of a container, as it comes."""
        with _errors():
            stream = self._core.read_namespaced_pod_log(
                pod, self.namespace, container=container, follow=follow, _preload_content=False
            )
            rest = ""
            for chunk in stream.stream():
                *whole, rest = (rest + chunk.decode(errors="replace")).split("\n")
                yield from whole
        if rest:
            yield rest

    def wait_for_container(self, pod: str, container: str) -> bool:
        """Wait until a container has begun. Returns whether it ever has."""
        while True:
            with _errors():
                found = self._core.list_namespaced_pod(
                    self.namespace, field_selector=f"metadata.name={pod}", _request_timeout=_CALL_SECONDS
                ).items
            if not found:
                return False
            status = found[0].status
            states = [*(status.init_container_statuses or ()), *(status.container_statuses or ())]
            own = next((one.state for one in states if one.name == container), None)
            if own is not None and (own.running or own.terminated):
                return True
            if status.phase in ("Succeeded", "Failed"):
                return False
            time.sleep(_LOOK_SECONDS)


def outcome(job: Any) -> str:
    """`complete`, `failed`, or `running`."""
    for condition in job.status.conditions or ():
        if condition.status == "True" and condition.type in ("Complete", "Failed"):
            return str(condition.type).lower()
    return "running"


def _in_cluster(config: Any, reason: Exception) -> str:
    try:
        config.load_incluster_config()
    except config.ConfigException:
        raise SettingsError(f"no cluster to talk to: {reason}; set KUBECONFIG") from reason
    with open("/var/run/secrets/kubernetes.io/serviceaccount/namespace") as namespace:  # noqa: PTH123
        return namespace.read()


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        kind = SettingsError if error.status in (401, 403, 404, 422) else RecmeshError
        raise kind(f"Kubernetes: {error.status} {error.reason}: {_message(error)}") from error
    except HTTPError as error:
        raise Unavailable(f"Kubernetes does not answer: {error}") from error


def _message(error: Any) -> str:
    with contextlib.suppress(ValueError, AttributeError, TypeError):
        return str(yaml.safe_load(error.body)["message"])
    return str(error.body)
