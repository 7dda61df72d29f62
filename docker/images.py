"""`python docker/images.py build [IMAGE ...]`: build images and bring them to a cluster; `sbom IMAGE`: what is in one.

Both steps are commands that may be set, with {tag}, {file}, {arguments} and {context} in them: RECMESH_IMAGE_BUILD
(default: docker) and RECMESH_IMAGE_LOAD (default: kind; empty: the build does it). RECMESH_IMAGE_REGISTRY (with a slash
at its end), RECMESH_IMAGE_TAG (default: the version) and RECMESH_IMAGE_BASE (the base image, best by digest) are what
they are built as and from. Standard library only.
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

import requirements

ROOT = Path(__file__).resolve().parent.parent
_BUILD = "docker build --tag {tag} --file {file} {arguments} {context}"
_LOAD = "kind load docker-image {tag}"
_DEFAULT = [image for image in requirements.IMAGES if image != "paddle-serving-gpu"]


def version() -> str:
    """Of recmesh, from pyproject.toml."""
    found = re.search(r'(?m)^version = "(.+)"$', (ROOT / "pyproject.toml").read_text())
    assert found, "pyproject.toml has a version"
    return found[1]


def tag(image: str) -> str:
    """The full name of an image."""
    registry = os.environ.get("RECMESH_IMAGE_REGISTRY", "")
    return f"{registry}recmesh/{image}:{os.environ.get('RECMESH_IMAGE_TAG') or version()}"


def file_and_arguments(image: str) -> tuple[str, list[str]]:
    """The Dockerfile of an image, and its build arguments."""
    if image in requirements.SERVICES:
        return "service", [f"SERVICE={image}"]
    return ("jobs", [f"JOB={image}"]) if image in ("train", "ingest") else (image, [])


def commands(image: str) -> Iterator[list[str]]:
    """What builds an image and brings it to the cluster."""
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
    """The Python packages of an image, with hashes, as a CycloneDX 1.5 document."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": f"recmesh/{image}", "version": version()}},
        "components": [
            component for entry in requirements.of_image(image).values() for component in _components(entry)
        ],
    }


def _components(entry: str) -> Iterator[dict[str, Any]]:
    for name, pinned, rest in re.findall(r"(?m)^([A-Za-z0-9._-]+)==([^\s;]+)((?:.*\n)(?: .*\n?)*)", entry):
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
    """Run one command. -> its exit code."""
    parser = argparse.ArgumentParser(prog="docker/images.py", description="Images of recmesh.")
    parser.add_argument("command", choices=("build", "sbom"))
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=f"of {', '.join(requirements.IMAGES)}")
    options = parser.parse_args(arguments)
    images = options.images or _DEFAULT
    if unknown := set(images) - set(requirements.IMAGES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; images are {', '.join(requirements.IMAGES)}")
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
