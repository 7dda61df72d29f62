"""Digests of images, asked of their registry over HTTP (the OCI distribution specification). Standard library only."""

import hashlib
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, replace
from email.message import Message

MAX_MANIFEST_BYTES = 4 << 20  # what registries accept at most
TIMEOUT_SECONDS = 30.0

_DEFAULT = "docker.io"
# The hub's API is at another address than its name.
_ADDRESSES = {_DEFAULT: "registry-1.docker.io"}
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_REFERENCE = re.compile(
    r"(?:(?P<registry>[^/]+[.:][^/]*|localhost)/)?(?P<repository>[a-z0-9._/-]+)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class RegistryError(Exception):
    """A registry cannot be asked, or does not have an image. The message is one line that says what to do."""


@dataclass(frozen=True)
class Reference:
    """The name of an image."""

    registry: str
    repository: str
    tag: str
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Read a name such as docker.io/library/python:3.11-slim@sha256:...

        Raises:
            RegistryError: It is not the name of an image.
        """
        found = _REFERENCE.fullmatch(text)
        if not found:
            raise RegistryError(f"{text}: not the name of an image, such as registry.example/name:tag")
        registry, repository = found["registry"] or _DEFAULT, found["repository"]
        if registry == _DEFAULT and "/" not in repository:
            repository = f"library/{repository}"
        return cls(registry, repository, found["tag"] or "latest", found["digest"] or "")

    def __str__(self) -> str:
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}:{self.tag}{digest}"

    def pinned(self, digest: str) -> "Reference":
        """The same image, by digest."""
        return replace(self, digest=digest)


def digest(image: Reference, mirror: str = "") -> str:
    """Ask for the digest that a tag has now. That of an image for several platforms is the digest of its index.

    Args:
        image: The image; its own digest is ignored.
        mirror: A registry to ask instead of the one that the image names, such as 127.0.0.1:5000.

    Returns:
        sha256:... of the manifest, computed from the manifest itself.

    Raises:
        RegistryError: The registry cannot be reached, refuses, or does not have the tag.
    """
    registry = mirror or image.registry
    local = registry.partition(":")[0] in ("localhost", "127.0.0.1")
    address = f"{'http' if local else 'https'}://{_ADDRESSES.get(registry, registry)}"
    url = f"{address}/v2/{image.repository}/manifests/{image.tag}"
    try:
        return _sha256(_manifest(url, str(image)))
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        if isinstance(error, urllib.error.HTTPError):
            raise RegistryError(f"{image}: {registry} answers {error.code} {error.reason}") from None
        reason = getattr(error, "reason", error)
        advice = "run this where it can be, or set RECMESH_REGISTRY_MIRROR"
        raise RegistryError(f"{image}: {registry} cannot be reached ({reason}); {advice}") from None


def _manifest(url: str, image: str) -> bytes:
    """Get a manifest, with an anonymous token if the registry wants one."""
    try:
        return _get(url, {"Accept": ", ".join(_MANIFESTS)}, image)
    except urllib.error.HTTPError as error:
        token = _token(error.headers, image) if error.code == 401 else ""
        if not token:
            raise
    return _get(url, {"Accept": ", ".join(_MANIFESTS), "Authorization": f"Bearer {token}"}, image)


def _token(headers: "Message[str, str]", image: str) -> str:
    """Get the token that a registry's answer 401 asks for; empty if it asks for something else."""
    scheme, _, parameters = (headers.get("WWW-Authenticate") or "").partition(" ")
    asked = dict(_CHALLENGE.findall(parameters))
    realm = asked.pop("realm", "")
    if scheme.lower() != "bearer" or not realm.startswith("https://"):
        return ""
    answer = json.loads(_get(f"{realm}?{urllib.parse.urlencode(asked)}", {}, image))
    return str(answer.get("token") or answer.get("access_token") or "")


def _get(url: str, headers: dict[str, str], image: str) -> bytes:
    request = urllib.request.Request(url, headers=headers)  # http only to this machine, see above
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
        body: bytes = response.read(MAX_MANIFEST_BYTES + 1)
    if len(body) > MAX_MANIFEST_BYTES:
        raise RegistryError(f"{image}: the registry's answer is larger than {MAX_MANIFEST_BYTES} bytes")
    return body


def _sha256(manifest: bytes) -> str:
    return f"sha256:{hashlib.sha256(manifest).hexdigest()}"
