"""`python docker/images.py build [IMAGE ...]` builds images and loads them into a cluster; `sbom` lists their packages.

Environment variables set the commands and the names:

- `RECMESH_IMAGE_BUILD`: the command that builds an image (default: docker). {tag}, {file}, {arguments} and {context}
  in it are filled in.
- `RECMESH_IMAGE_LOAD`: the command that loads an image into the cluster (default: kind). Empty: the build has done it.
- `RECMESH_IMAGE_REGISTRY`: prefix of the names, with a slash at its end.
- `RECMESH_IMAGE_TAG`: tag of the images (default: the version of recmesh).
- `RECMESH_IMAGE_BASE`: the base image, preferably by digest.

Uses the standard library only, so any Python can run it.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SERVICES = ("um", "cm", "as", "recall", "rank", "compact", "feed")
"""The images of the services; `compact` runs the five that answer in one process."""
IMAGES = (*SERVICES, "ingest", "train", "paddle-serving", "paddle-serving-gpu")

_BUILD = "docker build --tag {tag} --file {file} {arguments} {context}"
_LOAD = "kind load docker-image {tag}"
_DEFAULT = [image for image in IMAGES if image != "paddle-serving-gpu"]
# One package of a lock file: its name, its version, and everything up to the next package.
_PIN = re.compile(r"(?m)^([A-Za-z0-9._-]+)==([^\s;\\]+)((?:.*\n)(?: .*\n?)*)")


def version() -> str:
    """Return the version of recmesh, read without importing it."""
    found = re.search(r'(?m)^__version__ = "(.+)"$', (ROOT / "recmesh" / "__init__.py").read_text())
    assert found, "recmesh/__init__.py defines __version__"
    return found[1]


def tag(image: str) -> str:
    """Return the full name of an image."""
    registry = os.environ.get("RECMESH_IMAGE_REGISTRY", "")
    return f"{registry}recmesh/{image}:{os.environ.get('RECMESH_IMAGE_TAG') or version()}"


def lock_file(image: str) -> Path:
    """Return the hash-pinned requirements that an image installs."""
    return ROOT / "requirements" / (f"{image}.txt" if image.startswith("paddle") else f"images/{image}.txt")


def file_and_arguments(image: str) -> tuple[str, list[str]]:
    """Return the name of an image's Dockerfile, and its build arguments."""
    if image in SERVICES:
        return "service", [f"SERVICE={image}"]
    return ("jobs", [f"JOB={image}"]) if image in ("train", "ingest") else (image, [])


def commands(image: str) -> Iterator[list[str]]:
    """Yield the commands that build an image and load it into the cluster."""
    name, arguments = file_and_arguments(image)
    arguments += [f"VERSION={version()}", f"REVISION={_revision()}"]
    if (base := os.environ.get("RECMESH_IMAGE_BASE")) and image != "paddle-serving-gpu":
        arguments.append(f"BASE={base}")
    values = {
        "tag": tag(image),
        "file": f"docker/{name}.Dockerfile",
        "arguments": shlex.join(f"--build-arg={argument}" for argument in arguments),
        "context": ".",
    }
    for variable, default in (("RECMESH_IMAGE_BUILD", _BUILD), ("RECMESH_IMAGE_LOAD", _LOAD)):
        if command := os.environ.get(variable, default):
            yield shlex.split(command.format(**values))


def sbom(image: str) -> dict[str, Any]:
    """Return the Python packages of an image, with their hashes, as a CycloneDX 1.5 document."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": f"recmesh/{image}", "version": version()}},
        "components": list(_components(lock_file(image).read_text())),
    }


def _components(locked: str) -> Iterator[dict[str, Any]]:
    for name, pinned, rest in _PIN.findall(locked):
        yield {
            "type": "library",
            "name": name,
            "version": pinned,
            "purl": f"pkg:pypi/{name}@{pinned}",
            "hashes": [{"alg": "SHA-256", "content": digest} for digest in re.findall(r"sha256:([0-9a-f]{64})", rest)],
        }


def _revision() -> str:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(prog="docker/images.py", description="Build the images of recmesh.")
    parser.add_argument("command", choices=("build", "sbom"))
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=f"any of {', '.join(IMAGES)}")
    options = parser.parse_args(arguments)
    images = options.images or _DEFAULT
    if unknown := set(images) - set(IMAGES):
        parser.error(f"no such image: {', '.join(sorted(unknown))}; choose from {', '.join(IMAGES)}")
    if options.command == "sbom":
        print(json.dumps([sbom(image) for image in images] if len(images) > 1 else sbom(images[0]), indent=2))
        return 0
    for image in images:
        for command in commands(image):
            print(shlex.join(command), flush=True)
            if status := subprocess.run(command, cwd=ROOT, check=False).returncode:
                return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
