"""Connections to Kubernetes, and its errors as one line."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recmesh.errors import RecmeshError, SettingsError, Unavailable

CALL_SECONDS = 30
"""Time limit of a call."""

_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def connect(context: str = "") -> str:
    """Configure the Kubernetes client, and return the current namespace.

    Args:
        context: Context of the kubeconfig; empty means the current one, or else the service account of the pod.

    Raises:
        SettingsError: The Kubernetes client is not installed, or no cluster is configured.
    """
    try:
        from kubernetes import config
    except ImportError as error:
        raise SettingsError("this command needs the extra \"kubernetes\": pip install 'recmesh[kubernetes]'") from error
    try:
        config.load_kube_config(context=context or None)
        return str(config.list_kube_config_contexts()[1]["context"].get("namespace", "default"))
    except config.ConfigException as reason:
        try:
            config.load_incluster_config()
        except config.ConfigException:
            raise SettingsError(f"no cluster is configured: {reason}; set KUBECONFIG") from reason
    return _NAMESPACE.read_text()


@contextlib.contextmanager
def errors() -> Iterator[None]:
    """Raise SettingsError for what the cluster refuses, and Unavailable if it does not answer."""
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
    import yaml

    with contextlib.suppress(ValueError, AttributeError, TypeError):
        return str(yaml.safe_load(error.body)["message"])
    return str(error.body)
