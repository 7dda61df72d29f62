"""`python docker/digests.py`: pin the images of the Dockerfiles and the chart to the digests that their tags have now.

Writes the digests into `ARG BASE=` of docker/*.Dockerfile, and into the images of Redis and Milvus in
values.schema.yaml of the chart, from which `make values` writes the rest.
`--check` asks no registry, and fails if an image has no digest. RECMESH_REGISTRY_MIRROR is a registry to ask instead of
those that the images name. Uses the standard library only.
"""

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from registry import Reference, RegistryError, digest

ROOT = Path(__file__).resolve().parent.parent
MIRROR = "RECMESH_REGISTRY_MIRROR"
SCHEMA = Path("charts/recmesh/values.schema.yaml")

_BASE = re.compile(r"(?m)^(ARG BASE=)(\S+)$")
_KEY = r"\n +description: .*\n +default: "
_IMAGE = re.compile(
    rf"( +registry:{_KEY}(\S+)\n +repository:{_KEY}(\S+)\n +tag:{_KEY}(\S+)\n +digest:{_KEY})(\S*)$", re.MULTILINE
)

Resolve = Callable[[Reference], str]


def files(root: Path) -> list[Path]:
    """The files that name public images."""
    return [*sorted((root / "docker").glob("*.Dockerfile")), root / SCHEMA]


def store_image(root: Path, store: str) -> Reference:
    """The image of a store (redis or milvus) in the chart."""
    (found,) = [image for image in images((root / SCHEMA).read_text()) if image.repository.endswith(f"/{store}")]
    return found


def images(text: str) -> list[Reference]:
    """The images that a Dockerfile or the chart names."""
    bases = [Reference.parse(base) for _, base in _BASE.findall(text)]
    stores = [
        Reference.parse(f"{registry}/{repository}:{tag}").pinned(pinned.strip('"'))
        for _, registry, repository, tag, pinned in _IMAGE.findall(text)
    ]
    return bases + stores


def pin(text: str, resolve: Resolve) -> str:
    """Return the text of a Dockerfile or of the chart's values with the digest of each image."""
    text = _BASE.sub(lambda found: found[1] + _pinned(Reference.parse(found[2]), resolve), text)
    return _IMAGE.sub(lambda found: found[1] + resolve(Reference.parse(f"{found[2]}/{found[3]}:{found[4]}")), text)


def _pinned(image: Reference, resolve: Resolve) -> str:
    return str(image.pinned(resolve(image)))


def renew(root: Path, mirror: str) -> None:
    """Pin every image. Writes nothing unless all digests were found.

    Raises:
        RegistryError: A registry cannot be asked, or does not have an image.
    """
    known: dict[str, str] = {}

    def resolve(image: Reference) -> str:
        name = str(image.pinned(""))
        if name not in known:
            known[name] = digest(image, mirror)
            print(f"{name} {known[name]}")
        return known[name]

    pinned = {path: pin(path.read_text(), resolve) for path in files(root)}
    for path, text in pinned.items():
        path.write_text(text)


def unpinned(root: Path) -> list[str]:
    """One line for each image without a digest."""
    return [
        f"{path.relative_to(root)}: {image} has no digest"
        for path in files(root)
        for image in images(path.read_text())
        if not image.digest
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="docker/digests.py", description="Pin public images to their digests.")
    parser.add_argument("--check", action="store_true", help="fail if an image has no digest; asks no registry")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.check:
        missing = unpinned(options.root)
        print("\n".join([*missing, "run make digests"]) if missing else "every image has its digest")
        return 1 if missing else 0
    try:
        renew(options.root, os.environ.get(MIRROR, ""))
    except RegistryError as error:
        print(f"recmesh: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
