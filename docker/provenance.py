"""How an image was built, as an in-toto statement with SLSA provenance. Standard library only.

https://slsa.dev/spec/v1.0/provenance; docs/supply-chain.md describes the build type.
"""

import hashlib
import subprocess
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from registry import Reference

REPOSITORY = "https://github.com/recmesh/recmesh"
BUILD_TYPE = f"{REPOSITORY}/blob/main/docs/supply-chain.md#provenance"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"


@dataclass(frozen=True)
class Build:
    """One build of an image.

    Attributes:
        image: The image, by the digest that its registry computed.
        base: The base image; without a digest if it was built from a tag.
        command: The command that built it.
        inputs: Files that decide what the image holds, relative to the checkout.
        version: The version of recmesh.
        builder: A URI that says who built it.
        started: When the build began.
        finished: When the image was built and pushed.
    """

    image: Reference
    base: Reference
    command: Sequence[str]
    inputs: Sequence[str]
    version: str
    builder: str
    started: datetime
    finished: datetime


def statement(build: Build, root: Path) -> dict[str, Any]:
    """Describe a build in the checkout `root`."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": _name(build.image), "digest": _digest(build.image)}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"command": list(build.command)},
                "internalParameters": {},
                "resolvedDependencies": [_checkout(root), _base(build.base), *(_file(root, at) for at in build.inputs)],
            },
            "runDetails": {
                "builder": {"id": build.builder, "version": {"recmesh": build.version}},
                "metadata": {
                    "invocationId": str(uuid.uuid4()),
                    "startedOn": build.started.isoformat(timespec="seconds").replace("+00:00", "Z"),
                    "finishedOn": build.finished.isoformat(timespec="seconds").replace("+00:00", "Z"),
                },
            },
        },
    }


def _name(image: Reference) -> str:
    return f"{image.registry}/{image.repository}"


def _digest(image: Reference) -> dict[str, str]:
    return {"sha256": image.digest.removeprefix("sha256:")}


def _base(base: Reference) -> dict[str, Any]:
    """The base image. Without a digest, nobody can tell later which image it was."""
    return {"uri": f"docker://{base}"} | ({"digest": _digest(base)} if base.digest else {})


def _checkout(root: Path) -> dict[str, Any]:
    commit = _git(root, "rev-parse", "HEAD")
    changed = bool(_git(root, "status", "--porcelain"))
    return {"uri": f"git+{REPOSITORY}", "digest": {"gitCommit": commit}, "annotations": {"uncommittedChanges": changed}}


def _file(root: Path, path: str) -> dict[str, Any]:
    return {"name": path, "digest": {"sha256": hashlib.sha256((root / path).read_bytes()).hexdigest()}}


def _git(root: Path, *arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.strip()
