"""What is in the archive of an image: its operating system, Python and Go packages. Standard library only.

Reads what `docker save`, `podman save` and `buildah push` write: tar files with manifest.json (docker-archive) or
index.json (oci-archive). Layers are read as streams, one after the other, with the files that later layers delete.
"""

import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import quote

_STATUS = re.compile(r"var/lib/dpkg/status(\.d/[^/]+)?")
_RELEASE = re.compile(r"(etc|usr/lib)/os-release")
_METADATA = re.compile(r"(?:.+/)?[^/]+\.dist-info/METADATA")
_MAX_TEXT_BYTES = 64 << 20
# https://pkg.go.dev/debug/buildinfo: the format since Go 1.18, with the strings behind a header of 32 bytes.
_BUILD_INFO, _BUILD_INFO_HEADER, _INLINE, _MAX_BUILD_INFO_BYTES = b"\xff Go buildinf:", 32, 2, 4 << 20
_CHUNK_BYTES = 1 << 20


class ArchiveError(Exception):
    """An archive is not that of an image. The message is one line."""


@dataclass(frozen=True, order=True)
class Package:
    """A package in an image.

    Attributes:
        kind: deb, pypi or golang, the types of package URLs.
        name: Its name.
        version: Its version.
        source: The name and version of the Debian source package, which security advisories name; otherwise empty.
        architecture: That of a Debian package; otherwise empty.
    """

    kind: str
    name: str
    version: str
    source: tuple[str, str] = ("", "")
    architecture: str = ""


@dataclass
class Contents:
    """What an image holds.

    Attributes:
        distribution: The ID and VERSION_ID of os-release, such as ("debian", "12"); empty without that file.
        packages: The packages, sorted.
    """

    distribution: tuple[str, str] = ("", "")
    packages: list[Package] = field(default_factory=list)

    def purl(self, package: Package) -> str:
        """The package URL of a package in this image."""
        version = quote(package.version, safe=".-_~:")
        if package.kind != "deb":
            return f"pkg:{package.kind}/{quote(package.name, safe='/._-~')}@{version}"
        name, release = self.distribution
        qualifiers = f"arch={package.architecture}&distro={name}-{release}"
        return f"pkg:deb/{name}/{quote(package.name, safe='._-~')}@{version}?{qualifiers}"

    def source_purl(self, package: Package) -> str:
        """The package URL of the source package of a Debian package."""
        return self.purl(Package("deb", *package.source, architecture="source"))


def read(archive: Path) -> Contents:
    """List the packages in the archive of an image.

    Raises:
        ArchiveError: It is not the archive of an image.
        OSError: It cannot be read.
    """
    try:
        with tarfile.open(archive) as outer:
            files = _found(outer)
    except (tarfile.TarError, KeyError, IndexError, ValueError) as error:
        raise ArchiveError(f"{archive}: not the archive of an image, as docker save writes it ({error})") from None
    return _contents(files)


def _found(outer: tarfile.TarFile) -> dict[str, list[str]]:
    """Return the texts of the files that describe packages, by path, after all layers."""
    files: dict[str, list[str]] = {}
    for name in _layers(outer):
        stream = outer.extractfile(name)
        if stream is None:
            raise KeyError(name)
        with tarfile.open(fileobj=stream, mode="r|*") as layer:
            added: dict[str, list[str]] = {}
            for member in layer:
                _read_member(layer, member, files, added)
            files.update(added)
    return files


def _layers(outer: tarfile.TarFile) -> list[str]:
    """The names of the layers of the only image in an archive, lowest first."""
    names = {member.name.removeprefix("./"): member.name for member in outer}
    if "manifest.json" in names:
        (image,) = _json(outer, names["manifest.json"])
        return [names[layer] for layer in image["Layers"]]
    entry = _json(outer, names["index.json"])["manifests"][0]
    while "layers" not in (manifest := _json(outer, names[_blob(entry)])):
        entry = manifest["manifests"][0]
    return [names[_blob(layer)] for layer in manifest["layers"]]


def _blob(descriptor: dict[str, str]) -> str:
    algorithm, _, digest = descriptor["digest"].partition(":")
    return f"blobs/{algorithm}/{digest}"


def _json(outer: tarfile.TarFile, name: str) -> Any:
    stream = outer.extractfile(name)
    assert stream, "a file of an archive, not a folder"
    return json.loads(stream.read(_MAX_TEXT_BYTES))


def _read_member(
    layer: tarfile.TarFile, member: tarfile.TarInfo, below: dict[str, list[str]], added: dict[str, list[str]]
) -> None:
    """Keep what a file of a layer says about packages, and forget what the layer deletes from those below it."""
    path = PurePosixPath("/", member.name).relative_to("/")
    if path.name.startswith(".wh."):
        opaque = path.name == ".wh..wh..opq"
        deleted = path.parent if opaque else path.parent / path.name.removeprefix(".wh.")
        for name in [name for name in below if PurePosixPath(name).is_relative_to(deleted)]:
            del below[name]
        return
    stream = layer.extractfile(member) if member.isfile() else None
    if stream is None:
        below.pop(str(path), None)
        return
    texts = _texts(str(path), member.mode, stream)
    below.pop(str(path), None)
    if texts:
        added[str(path)] = texts


def _texts(path: str, mode: int, stream: IO[bytes]) -> list[str]:
    if any(pattern.fullmatch(path) for pattern in (_STATUS, _RELEASE, _METADATA)):
        return [stream.read(_MAX_TEXT_BYTES).decode(errors="replace")]
    start = stream.read(4) if mode & 0o111 or ".so" in path else b""
    return [*_build_info(stream)] if start == b"\x7fELF" else []


def _build_info(stream: IO[bytes]) -> Iterator[str]:
    """Yield the version of Go and the modules of a Go program; nothing for other programs."""
    window = b""
    while chunk := stream.read(_CHUNK_BYTES):
        window = window[-_BUILD_INFO_HEADER:] + chunk
        at = window.find(_BUILD_INFO)
        # The magic also stands in the code of programs that read such data; there, no version follows.
        while at >= 0:
            rest = window[at:] if len(window) - at > _CHUNK_BYTES // 2 else window[at:] + stream.read(_CHUNK_BYTES)
            if len(rest) > _BUILD_INFO_HEADER and rest[15] & _INLINE:
                version, rest = _string(rest[_BUILD_INFO_HEADER:])
                if version.startswith(b"go1"):
                    modules, _ = _string(rest)
                    yield version.decode()
                    yield modules[16:-16].decode(errors="replace")  # between two marks of 16 bytes
                    return
            at = window.find(_BUILD_INFO, at + 1)


def _string(data: bytes) -> tuple[bytes, bytes]:
    """Split off a string behind its length, which is a varint."""
    length = shift = at = 0
    while at < len(data):
        length |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 0x80:
            break
    return data[at : at + length], data[at + length :]


def _contents(files: dict[str, list[str]]) -> Contents:
    packages: set[Package] = set()
    release: dict[str, str] = {}
    for path, texts in files.items():
        if _RELEASE.fullmatch(path):
            release |= {key: value.strip("\"'") for key, value in re.findall(r"(?m)^(\w+)=(.*)$", texts[0])}
        elif _STATUS.fullmatch(path):
            packages |= {package for stanza in texts[0].split("\n\n") if (package := _debian(_fields(stanza)))}
        elif _METADATA.fullmatch(path):
            packages.add(_python(texts[0]))
        else:
            packages |= set(_go(*texts))
    return Contents((release.get("ID", ""), release.get("VERSION_ID", "")), sorted(packages))


def _fields(stanza: str) -> dict[str, str]:
    return dict(re.findall(r"(?m)^([A-Za-z-]+): *(.*)$", stanza))


def _debian(fields: dict[str, str]) -> Package | None:
    # Packages that are removed, but not purged, keep their entry. Files of single packages have no status.
    if "Package" not in fields or not fields.get("Status", " installed").endswith(" installed"):
        return None
    name, version = fields["Package"], fields["Version"]
    source, _, number = fields.get("Source", name).partition(" ")
    return Package("deb", name, version, (source, number.strip("()") or version), fields.get("Architecture", "all"))


def _python(metadata: str) -> Package:
    fields = _fields(metadata.partition("\n\n")[0])
    return Package("pypi", re.sub(r"[-_.]+", "-", fields["Name"]).lower(), fields["Version"])


def _go(version: str, modules: str) -> Iterator[Package]:
    """The modules of a Go program. A replacement takes the place of the module that it replaces."""
    yield Package("golang", "stdlib", version.removeprefix("go").partition(" ")[0])
    found: list[tuple[str, str]] = []
    for line in modules.splitlines():
        kind, *columns = line.split("\t")
        if kind == "=>" and found:
            found.pop()
        if kind in ("mod", "dep", "=>") and len(columns) > 1:
            found.append((columns[0], columns[1]))
    yield from (Package("golang", name, number) for name, number in found if number not in ("", "(devel)"))
