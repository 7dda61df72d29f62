"""A bill of materials of an image, as a CycloneDX 1.5 document. Standard library only."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from contents import Contents, Package

# One package of a lock file: its name, its version, and everything up to the next package.
_PIN = re.compile(r"(?m)^([A-Za-z0-9._-]+)==([^\s;\\]+)((?:.*\n)(?: .*\n?)*)")

Component = dict[str, Any]
Locked = Mapping[Package, Sequence[str]]
"""The packages of a lock file, each with the SHA-256 of its files."""


def document(name: str, number: str, components: Sequence[Component]) -> dict[str, Any]:
    """Return the document of a container image with its components."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": name, "version": number}},
        "components": list(components),
    }


def locked(text: str) -> Locked:
    """Read a lock file."""
    return {
        Package("pypi", name, pinned): re.findall(r"sha256:([0-9a-f]{64})", rest)
        for name, pinned, rest in _PIN.findall(text)
    }


def expected(lock: Locked) -> list[Component]:
    """The packages of a lock file, whether or not an image holds them."""
    return [_python(package, lock) for package in lock]


def found(contents: Contents, lock: Locked) -> list[Component]:
    """Everything in an image. Python packages of its lock file have hashes; others come with the base image."""
    python = [_python(package, lock) for package in contents.packages if package.kind == "pypi"]
    go = [
        _component(package.name, package.version, contents.purl(package))
        for package in contents.packages
        if package.kind == "golang"
    ]
    return _debian(contents) + python + go


def redis(tag: str) -> Component:
    """The server in the image of Redis with a tag."""
    number = tag.partition("-")[0]
    return _component("redis", number, f"pkg:github/redis/redis@{number}") | {
        "type": "application",
        "cpe": f"cpe:2.3:a:redis:redis:{number}:*:*:*:*:*:*:*",
    }


def milvus(tag: str) -> Component:
    """The server in the image of Milvus with a tag. A Go program does not contain the version of its own module."""
    module = "github.com/milvus-io/milvus"  # OSV's advisories about Milvus name it
    return _component(module, tag, f"pkg:golang/{module}@{tag}") | {
        "type": "application",
        "cpe": f"cpe:2.3:a:milvus:milvus:{tag.removeprefix('v')}:*:*:*:*:*:*:*",
    }


def _debian(contents: Contents) -> list[Component]:
    """Source packages, which advisories are about, each with its binary packages."""
    sources: dict[str, Component] = {}
    for package in contents.packages:
        if package.kind == "deb":
            purl = contents.source_purl(package)
            source = sources.setdefault(purl, _component(*package.source, purl) | {"components": []})
            source["components"].append(_component(package.name, package.version, contents.purl(package)))
    return [*sources.values()]


def _python(package: Package, lock: Locked) -> Component:
    component = _component(package.name, package.version, Contents().purl(package))
    if package not in lock:
        return component
    return component | {"hashes": [{"alg": "SHA-256", "content": content} for content in lock[package]]}


def _component(name: str, number: str, purl: str) -> Component:
    return {"type": "library", "bom-ref": purl, "name": name, "version": number, "purl": purl}
