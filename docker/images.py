"""`python docker/images.py build [IMAGE ...]` builds images and loads them into a cluster; `sbom` lists what they hold.

`pins` prints values of the chart that name images, once they are pushed, by digest.

Environment variables set the commands and the names:

- `RECMESH_IMAGE_BUILD`: the command that builds an image (default: docker). {tag}, {file}, {arguments} and {context}
  in it are filled in.
- `RECMESH_IMAGE_LOAD`: the command that loads an image into the cluster (default: kind). Empty: the build has done it.
- `RECMESH_IMAGE_SAVE`: the command that writes an image to the archive {file}, for `sbom` (default: docker). Empty:
  list the packages of the lock files alone.
- `RECMESH_IMAGE_REGISTRY`: another registry than `image.registry` of the chart, with a slash at its end.
- `RECMESH_IMAGE_TAG`: tag of the images (default: the version of recmesh).
- `RECMESH_IMAGE_BASE`: the base image, in place of that of the Dockerfile.
- `RECMESH_BUILDER_ID`: the URI of the builder in the provenance (default: this script).

Uses the standard library only, so any Python can run it.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import digests
import provenance
import sbom
from contents import ArchiveError, Contents, read
from registry import Reference, RegistryError, digest

ROOT = Path(__file__).resolve().parent.parent
SERVICES = ("um", "cm", "as", "recall", "rank", "compact", "feed")
"""The images of the services; `compact` runs the five that answer in one process."""
IMAGES = (*SERVICES, "ingest", "train", "paddle-serving", "paddle-serving-gpu")
STORES = {"redis": sbom.redis, "milvus": sbom.milvus}
"""The public images of the chart, which `sbom` lists as well, each with what describes its server."""

_BUILD = "docker build --tag {tag} --file {file} {arguments} {context}"
_LOAD = "kind load docker-image {tag}"
_SAVE = "docker save --output {file} {tag}"
# Where the chart looks for the images unless its values say otherwise.
_NAMES = re.compile(r"(?m)^  image:\n    registry: (\S+)\n    repository: (\S+)$")
# The components of the chart that run an image, unless they are called like it.
_COMPONENTS = {
    "ingest": ("ingest", "explorer", "archive", "secrets"),
    "paddle-serving": ("paddleServing",),
    "paddle-serving-gpu": ("paddleServing",),
}
_BUILDER = f"{provenance.REPOSITORY}/blob/main/docker/images.py"
_DEFAULT = [image for image in IMAGES if image != "paddle-serving-gpu"]


def version() -> str:
    """Return the version of recmesh, read without importing it."""
    found = re.search(r'(?m)^__version__ = "(.+)"$', (ROOT / "recmesh" / "__init__.py").read_text())
    assert found, "recmesh/__init__.py defines __version__"
    return found[1]


def _home() -> tuple[str, str]:
    """Return the registry and the repository that the chart installs images from, read without a parser of YAML."""
    found = _NAMES.search((ROOT / "charts" / "recmesh" / "files" / "defaults.yaml").read_text())
    assert found, "files/defaults.yaml of the chart has image.registry and image.repository"
    return found[1], found[2]


def tag(image: str) -> str:
    """Return the full name of an image."""
    registry, repository = _home()
    prefix = os.environ.get("RECMESH_IMAGE_REGISTRY") or f"{registry}/"
    return f"{prefix}{repository}/{image}:{os.environ.get('RECMESH_IMAGE_TAG') or version()}"


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


def base(image: str) -> Reference:
    """Return the base image that an image is built from."""
    name, _ = file_and_arguments(image)
    own = digests.images((ROOT / "docker" / f"{name}.Dockerfile").read_text())[0]
    given = os.environ.get("RECMESH_IMAGE_BASE")
    return Reference.parse(given) if given and image != "paddle-serving-gpu" else own


def build(image: str) -> tuple[int, datetime]:
    """Build an image and load it. Returns the exit code of the command that failed, or 0, and when the build began."""
    started = datetime.now(timezone.utc)
    for command in commands(image):
        print(shlex.join(command), flush=True)
        if status := subprocess.run(command, cwd=ROOT, check=False).returncode:
            return status, started
    return 0, started


def provenance_of(image: str, started: datetime) -> dict[str, Any]:
    """Describe the build of an image that has just been pushed.

    Raises:
        RegistryError: Its registry does not have it, or cannot be asked.
    """
    pushed = Reference.parse(tag(image))
    name, _ = file_and_arguments(image)
    lock = lock_file(image).relative_to(ROOT)
    built = provenance.Build(
        image=pushed.pinned(digest(pushed)),
        base=base(image),
        command=next(commands(image)),
        inputs=[f"docker/{name}.Dockerfile", str(lock)],
        version=version(),
        builder=os.environ.get("RECMESH_BUILDER_ID", _BUILDER),
        started=started,
        finished=datetime.now(timezone.utc),
    )
    return provenance.statement(built, ROOT)


def pins(images: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a file of values that names images by the digests that their registry has for their tags.

    Raises:
        RegistryError: The registry does not have an image, or cannot be asked.
    """
    for image in images:
        pinned = digest(Reference.parse(tag(image)))
        for component in _COMPONENTS.get(image, (image,)):
            yield f"{component}: {{image: {{digest: {pinned}}}}}"


def bill(image: str) -> dict[str, Any]:
    """Return what is in an image, as a CycloneDX document.

    Raises:
        ArchiveError: The image cannot be saved, or what was saved is not an image.
    """
    save = os.environ.get("RECMESH_IMAGE_SAVE", _SAVE)
    if image in STORES:
        store = digests.store_image(ROOT, image)
        name = f"{store.registry}/{store.repository}" + (f"@{store.digest}" if store.digest else f":{store.tag}")
        held = sbom.found(_saved(name, save), {}) if save else []
        return sbom.document(store.repository, store.tag, [STORES[image](store.tag), *held])
    lock = sbom.locked(lock_file(image).read_text())
    components = sbom.found(_saved(tag(image), save), lock) if save else sbom.expected(lock)
    return sbom.document(f"{_home()[1]}/{image}", version(), components)


def _saved(name: str, save: str) -> Contents:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image.tar"
        command = shlex.split(save.format(tag=name, file=file))
        if subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode:
            raise ArchiveError(
                f"{name}: cannot be saved with {shlex.join(command)}; build or pull it first, or set "
                "RECMESH_IMAGE_SAVE= to list the packages of the lock files alone"
            )
        return read(file)


def _revision() -> str:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip() or "unknown"


def _write(folder: Path, name: str, document: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(document, indent=2) + "\n")


def _sboms(images: Sequence[str], into: Path | None) -> int:
    documents = [bill(image) for image in images]
    if into:
        for image, document in zip(images, documents, strict=True):
            _write(into, f"{image}.cdx.json", document)
    else:
        print(json.dumps(documents if len(documents) > 1 else documents[0], indent=2))
    return 0


def _builds(images: Sequence[str], provenances: Path | None) -> int:
    for image in images:
        status, started = build(image)
        if status:
            return status
        if provenances:
            _write(provenances, f"{image}.provenance.json", provenance_of(image, started))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(prog="docker/images.py", description="Build the images of recmesh.")
    parser.add_argument("command", choices=("build", "sbom", "pins"))
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=f"any of {', '.join((*IMAGES, *STORES))}")
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="sbom: write a file IMAGE.cdx.json each")
    parser.add_argument(
        "--provenance", type=Path, metavar="FOLDER", help="build: write a file IMAGE.provenance.json each"
    )
    options = parser.parse_args(arguments)
    images = options.images or _DEFAULT
    known = (*IMAGES, *STORES) if options.command == "sbom" else IMAGES
    if unknown := set(images) - set(known):
        parser.error(f"no such image: {', '.join(sorted(unknown))}; choose from {', '.join(known)}")
    try:
        if options.command == "pins":
            print("\n".join(pins(images)))
            return 0
        return _sboms(images, options.into) if options.command == "sbom" else _builds(images, options.provenance)
    except (ArchiveError, RegistryError) as error:
        print(f"recmesh: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
