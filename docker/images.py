"""`python docker/images.py build [IMAGE ...]` builds images and loads them into a cluster; `sbom` lists what they hold.

`pins` prints values of the chart that name images, once they are pushed, by digest.

Environment variables set the commands and the names:

- `RECMESH_IMAGE_BUILD`: the command that builds an image (default: docker). {tag}, {file}, {arguments} and {context}
  in it are filled in.
- `RECMESH_IMAGE_LOAD`: the command that loads an image into the cluster (default: kind). Empty: the build has done it.
- `RECMESH_IMAGE_SAVE`: the command that writes an image to the archive {file}, for `sbom` (default: docker). Empty:
  list the packages of the lock files alone.
- `RECMESH_IMAGE_REGISTRY`: prefix of the names, with a slash at its end.
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
from contents import ArchiveError, Contents, Package, read
from registry import Reference, RegistryError, digest

ROOT = Path(__file__).resolve().parent.parent
SERVICES = ("um", "cm", "as", "recall", "rank", "compact", "feed")
"""The images of the services; `compact` runs the five that answer in one process."""
IMAGES = (*SERVICES, "ingest", "train", "paddle-serving", "paddle-serving-gpu")
STORES = ("redis", "milvus")
"""The public images of the chart: `sbom` lists them as well."""

_BUILD = "docker build --tag {tag} --file {file} {arguments} {context}"
_LOAD = "kind load docker-image {tag}"
_SAVE = "docker save --output {file} {tag}"
# The components of the chart that run an image, unless they are called like it.
_COMPONENTS = {
    "ingest": ("ingest", "explorer", "archive", "secrets"),
    "paddle-serving": ("paddleServing",),
    "paddle-serving-gpu": ("paddleServing",),
}
_BUILDER = f"{provenance.REPOSITORY}/blob/main/docker/images.py"
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


def sbom(image: str) -> dict[str, Any]:
    """Return what is in an image, as a CycloneDX 1.5 document.

    Raises:
        ArchiveError: The image cannot be saved, or what was saved is not an image.
    """
    save = os.environ.get("RECMESH_IMAGE_SAVE", _SAVE)
    contents = _saved(image, save) if save else None
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": _described(image)},
        "components": _components(image, contents),
    }


def _saved(image: str, save: str) -> Contents:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image.tar"
        command = shlex.split(save.format(tag=_full_name(image), file=file))
        if subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=False).returncode:
            raise ArchiveError(
                f"{image}: cannot be saved with {shlex.join(command)}; build or pull it first, or set "
                "RECMESH_IMAGE_SAVE= to list the packages of the lock files alone"
            )
        return read(file)


def _full_name(image: str) -> str:
    return str(_store(image)) if image in STORES else tag(image)


def _store(name: str) -> Reference:
    return digests.images((ROOT / "charts" / name / "values.yaml").read_text())[0]


def _described(image: str) -> dict[str, str]:
    if image not in STORES:
        return {"type": "container", "name": f"recmesh/{image}", "version": version()}
    store = _store(image)
    return {"type": "container", "name": store.repository, "version": store.tag}


def _components(image: str, contents: Contents | None) -> list[dict[str, Any]]:
    """The packages that an image holds, or, without its contents, those of its lock file."""
    locked = {} if image in STORES else _locked(lock_file(image).read_text())
    if contents is None:
        return [_pinned(package, hashes) for package, hashes in locked.items()]
    server = [_SERVERS[image](_store(image).tag)] if image in STORES else []
    return server + _debian(contents) + _others(contents, locked)


def _locked(text: str) -> dict[Package, list[str]]:
    """The packages of a lock file, with the SHA-256 of their files."""
    return {
        Package("pypi", name, pinned): re.findall(r"sha256:([0-9a-f]{64})", rest)
        for name, pinned, rest in _PIN.findall(text)
    }


def _pinned(package: Package, hashes: Sequence[str]) -> dict[str, Any]:
    return _component(package.name, package.version, Contents().purl(package)) | {
        "hashes": [{"alg": "SHA-256", "content": content} for content in hashes]
    }


def _debian(contents: Contents) -> list[dict[str, Any]]:
    """Source packages, which advisories are about, each with its binary packages."""
    sources: dict[str, dict[str, Any]] = {}
    for package in contents.packages:
        if package.kind == "deb":
            purl = contents.source_purl(package)
            source = sources.setdefault(purl, _component(*package.source, purl) | {"components": []})
            source["components"].append(_component(package.name, package.version, contents.purl(package)))
    return [*sources.values()]


def _others(contents: Contents, locked: Mapping[Package, Sequence[str]]) -> list[dict[str, Any]]:
    """Python and Go packages. Those of the lock file have hashes; the others come with the base image."""
    return [
        _pinned(package, locked[package])
        if package in locked
        else _component(package.name, package.version, contents.purl(package))
        for package in contents.packages
        if package.kind != "deb"
    ]


def _component(name: str, number: str, purl: str) -> dict[str, Any]:
    return {"type": "library", "bom-ref": purl, "name": name, "version": number, "purl": purl}


def _redis(image_tag: str) -> dict[str, Any]:
    number = image_tag.partition("-")[0]
    return _component("redis", number, f"pkg:github/redis/redis@{number}") | {
        "type": "application",
        "cpe": f"cpe:2.3:a:redis:redis:{number}:*:*:*:*:*:*:*",
    }


def _milvus(image_tag: str) -> dict[str, Any]:
    # A Go program does not contain the version of its own module. OSV's advisories about Milvus name this module.
    return _component(
        "github.com/milvus-io/milvus", image_tag, f"pkg:golang/github.com/milvus-io/milvus@{image_tag}"
    ) | {
        "type": "application",
        "cpe": f"cpe:2.3:a:milvus:milvus:{image_tag.removeprefix('v')}:*:*:*:*:*:*:*",
    }


_SERVERS = {"redis": _redis, "milvus": _milvus}


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
    documents = [sbom(image) for image in images]
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
