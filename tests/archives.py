"""Archives of images, made layer by layer, and pushed to a registry."""

import gzip
import hashlib
import io
import json
import tarfile
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Layer = Mapping[str, bytes]
"""The contents of the files of a layer, by path."""

CONFIG = json.dumps({"architecture": "amd64", "os": "linux", "config": {}}).encode()
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def tar(files: Layer, mode: int = 0o644) -> bytes:
    """A tar file; folders are left out, as some builders do. Paths in a folder bin are executable."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), 0o755 if "bin/" in path else mode
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def docker_archive(path: Path, layers: Sequence[Layer]) -> Path:
    """Write an image as `docker save` did before version 25, and as buildah does."""
    names = [f"{at}/layer.tar" for at in range(len(layers))]
    manifest = json.dumps([{"Config": "config.json", "RepoTags": ["image:1"], "Layers": names}]).encode()
    blobs = {name: tar(layer) for name, layer in zip(names, layers, strict=True)}
    path.write_bytes(tar({**blobs, "config.json": CONFIG, "manifest.json": manifest}))
    return path


def oci_archive(path: Path, layers: Sequence[Layer]) -> Path:
    """Write an image as an OCI layout in a tar file, with compressed layers and an index in its index."""
    blobs = [gzip.compress(tar(layer), mtime=0) for layer in layers]
    manifest = _manifest(blobs)
    index = json.dumps({"schemaVersion": 2, "manifests": [_descriptor(manifest, _MANIFEST)]}).encode()
    named = {f"blobs/sha256/{_hash(blob)}": blob for blob in (*blobs, CONFIG, manifest, index)}
    entry = json.dumps(
        {"schemaVersion": 2, "manifests": [_descriptor(index, "application/vnd.oci.image.index.v1+json")]}
    )
    path.write_bytes(
        tar({"./oci-layout": b"{}", "./index.json": entry.encode()} | {f"./{k}": v for k, v in named.items()})
    )
    return path


def push(registry: str, repository: str, tag: str, layers: Sequence[Layer]) -> str:
    """Push an image to a registry on this machine. Returns its digest."""
    blobs = [gzip.compress(tar(layer), mtime=0) for layer in layers]
    address = f"http://{registry}/v2/{repository}"
    for blob in (*blobs, CONFIG):
        upload = _send("POST", f"{address}/blobs/uploads/", b"", "").headers["Location"]
        _send("PUT", f"{upload}&digest=sha256:{_hash(blob)}", blob, "application/octet-stream")
    manifest = _manifest(blobs)
    _send("PUT", f"{address}/manifests/{tag}", manifest, _MANIFEST)
    return f"sha256:{_hash(manifest)}"


def _send(method: str, url: str, body: bytes, kind: str) -> Any:
    request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": kind} if kind else {})
    with urllib.request.urlopen(request, timeout=60) as response:
        return response


def _manifest(blobs: Sequence[bytes]) -> bytes:
    layers = [_descriptor(blob, "application/vnd.oci.image.layer.v1.tar+gzip") for blob in blobs]
    config = _descriptor(CONFIG, "application/vnd.oci.image.config.v1+json")
    return json.dumps({"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": layers}).encode()


def _descriptor(blob: bytes, kind: str) -> dict[str, Any]:
    return {"mediaType": kind, "digest": f"sha256:{_hash(blob)}", "size": len(blob)}


def _hash(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()
