"""Kubernetes Secrets as the store of certificates and passwords."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from recmesh.cli.kube import CALL_SECONDS, errors
from recmesh.errors import RecmeshError, SettingsError
from recmesh.issuing import Change, Conflict, Found, Stored

_MANAGED_BY, _OURS = "app.kubernetes.io/managed-by", "recmesh-secrets"
_INSTANCE = "app.kubernetes.io/instance"


class _NotFound(SettingsError):
    """There is no such Secret, or no such namespace."""


class Secrets:
    """The Secrets of an installation, by their names without the name of the release.

    A Secret is ours if it has both of our labels. One that was changed since it was read is not overwritten.

    Args:
        release: Name of the installation.
        namespace: Its namespace.
    """

    def __init__(self, release: str, namespace: str) -> None:
        from kubernetes import client

        self._release, self._namespace = release, namespace
        self._labels = {_MANAGED_BY: _OURS, _INSTANCE: release, "app.kubernetes.io/part-of": "recmesh"}
        self._api = client.CoreV1Api()

    def read(self, names: Sequence[str]) -> Found:
        """What is there under these names."""
        found = {name: self._get(f"{self._release}-{name}") for name in names}
        return {name: self._stored(secret) for name, secret in found.items() if secret is not None}

    def write(self, change: Change, before: Stored | None) -> None:
        """Create or replace a Secret.

        Raises:
            Conflict: It is there, gone or different meanwhile.
            SettingsError: There is no permission.
        """
        name = f"{self._release}-{change.name}"
        data = {key: base64.b64encode(value).decode() for key, value in change.data.items()}
        if before is None:
            body = {"metadata": {"name": name, "labels": self._labels}, "type": _type(change.data), "data": data}
            with _answers("create", name):
                self._api.create_namespaced_secret(self._namespace, body, _request_timeout=CALL_SECONDS)
            return
        secret: Any = before.version
        secret.data = data
        try:
            with _answers("update", name):
                self._api.replace_namespaced_secret(name, self._namespace, secret, _request_timeout=CALL_SECONDS)
        except _NotFound:
            raise Conflict from None

    def _get(self, name: str) -> Any:
        """Read a Secret; None if there is no such Secret."""
        with suppress(_NotFound), _answers("get", name):
            return self._api.read_namespaced_secret(name, self._namespace, _request_timeout=CALL_SECONDS)
        return None

    def _stored(self, secret: Any) -> Stored:
        labels = secret.metadata.labels or {}
        ours = labels.get(_MANAGED_BY) == _OURS and labels.get(_INSTANCE) == self._release
        data = {key: base64.b64decode(value) for key, value in (secret.data or {}).items()}
        return Stored(data, ours, version=secret)


def _type(data: Mapping[str, bytes]) -> str:
    return "kubernetes.io/tls" if "tls.crt" in data else "Opaque"


@contextmanager
def _answers(verb: str, name: str) -> Iterator[None]:
    """Raise _NotFound and Conflict, and name verb and Secret in other errors."""
    from kubernetes.client.exceptions import ApiException

    try:
        with errors():
            yield
    except SettingsError as error:
        status = getattr(error.__cause__, "status", None)
        if status == 404:
            raise _NotFound(f"cannot {verb} the Secret {name}: {error}") from error
        advice = "; allow it in the Role of this job" if status == 403 else ""
        raise SettingsError(f"cannot {verb} the Secret {name}: {error}{advice}") from error
    except RecmeshError as error:
        if isinstance(error.__cause__, ApiException) and error.__cause__.status == 409:
            raise Conflict from error
        raise
