"""What `make sbom` reads from the archive of an image: packages of the operating system, of Python and of Go."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.archives import Layer, docker_archive, oci_archive
from tests.servers import ROOT

sys.path.insert(0, str(ROOT / "docker"))

import contents
from contents import Package

RELEASE = b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n'
STATUS = b"""\
Package: libc6
Status: install ok installed
Architecture: amd64
Source: glibc
Version: 2.36-9+deb12u14
Description: GNU C Library
 Version: of nothing

Package: bsdutils
Status: install ok installed
Architecture: amd64
Source: util-linux (2.38.1-5+deb12u3)
Version: 1:2.38.1-5+deb12u3

Package: removed
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: never
Status: purge ok not-installed
Architecture: all
"""
BASE: Layer = {
    "usr/lib/os-release": RELEASE,
    "var/lib/dpkg/status": STATUS,
    "usr/local/lib/python3.11/site-packages/pip-24.0.dist-info/METADATA": b"Name: pip\nVersion: 24.0\n\nName: x\n",
    "opt/old/a-1.dist-info/METADATA": b"Name: a\nVersion: 1\n",
    "opt/old/b-1.dist-info/METADATA": b"Name: b\nVersion: 1\n",
}
ABOVE: Layer = {
    "./usr/local/lib/python3.11/site-packages/.wh.pip-24.0.dist-info": b"",
    "./usr/local/lib/python3.11/site-packages/Typing_Extensions-4.dist-info/METADATA": (
        b"Metadata-Version: 2.4\nName: Typing_Extensions\nVersion: 4.16.0\n\nText.\n"
    ),
    "./opt/old/.wh..wh..opq": b"",
    "./opt/old/c-1.dist-info/METADATA": b"Name: c\nVersion: 1\n",
}
LIBC = Package("deb", "libc6", "2.36-9+deb12u14", ("glibc", "2.36-9+deb12u14"), "amd64")
BSDUTILS = Package("deb", "bsdutils", "1:2.38.1-5+deb12u3", ("util-linux", "2.38.1-5+deb12u3"), "amd64")

Write = Callable[[Path, Sequence[Layer]], Path]


@pytest.mark.parametrize("write", [docker_archive, oci_archive])
def test_packages_are_those_that_all_layers_leave(write: Write, tmp_path: Path) -> None:
    found = contents.read(write(tmp_path / "image.tar", [BASE, ABOVE]))
    assert found.distribution == ("debian", "12")
    assert found.packages == [
        BSDUTILS,
        LIBC,
        Package("pypi", "c", "1"),
        Package("pypi", "typing-extensions", "4.16.0"),
    ]


def test_a_file_replaces_that_of_the_layer_below(tmp_path: Path) -> None:
    upgraded = {"var/lib/dpkg/status": STATUS.replace(b"2.36-9+deb12u14", b"2.36-9+deb12u15")}
    found = contents.read(docker_archive(tmp_path / "image.tar", [BASE, upgraded]))
    assert {package.name: package.version for package in found.packages}["libc6"] == "2.36-9+deb12u15"


def test_distroless_images_have_a_file_for_each_package(tmp_path: Path) -> None:
    layer = {"etc/os-release": RELEASE, "var/lib/dpkg/status.d/base": b"Package: base-files\nVersion: 12.4\n"}
    found = contents.read(docker_archive(tmp_path / "image.tar", [layer]))
    assert found.packages == [Package("deb", "base-files", "12.4", ("base-files", "12.4"), "all")]


def test_package_urls_name_distribution_and_source(tmp_path: Path) -> None:
    found = contents.read(docker_archive(tmp_path / "image.tar", [BASE]))
    assert found.purl(BSDUTILS) == "pkg:deb/debian/bsdutils@1:2.38.1-5%2Bdeb12u3?arch=amd64&distro=debian-12"
    assert found.source_purl(BSDUTILS) == "pkg:deb/debian/util-linux@2.38.1-5%2Bdeb12u3?arch=source&distro=debian-12"


def test_go_programs_name_their_modules(tmp_path: Path) -> None:
    helm = Path(sys.prefix) / "bin" / "helm"
    template = "{{.Version}} {{.GoVersion}}"
    version, go = subprocess.run(
        [helm, "version", f"--template={template}"], capture_output=True, text=True, check=True
    ).stdout.split()
    layer = {"usr/bin/helm": helm.read_bytes(), "usr/share/helm": helm.read_bytes()}  # the second is not executable
    found = contents.read(docker_archive(tmp_path / "image.tar", [layer, {"usr/share/.wh.helm": b""}]))
    modules = {package.name: package.version for package in found.packages}
    assert modules["helm.sh/helm/v4"] == version
    assert f"go{modules['stdlib']}" == go
    assert "k8s.io/client-go" in modules
    assert {package.kind for package in found.packages} == {"golang"}


def go_program(modules: str, before: int) -> bytes:
    """An ELF file with the build information of Go 1.26.8 behind a number of other bytes."""

    def string(content: bytes) -> bytes:
        length = len(content)
        return bytes([length & 0x7F | 0x80, length >> 7]) + content

    header = b"\xff Go buildinf:\x08\x02" + bytes(16)
    return b"\x7fELF" + bytes(before) + header + string(b"go1.26.8") + string(b"<" * 16 + modules.encode() + b">" * 16)


@pytest.mark.parametrize("before", [0, 12, (1 << 20) - 30, (1 << 20) - 4, (3 << 20) + 7])
def test_replaced_modules_of_go_programs_are_left_out(before: int, tmp_path: Path) -> None:
    modules = (
        "path\texample.com/a\nmod\texample.com/a\t(devel)\t\ndep\texample.com/b\tv1.0.0\th1:x\n"
        "dep\texample.com/c\tv1.0.0\n=>\texample.com/d\tv2.0.0\th1:x\n"
    )
    layer = {"bin/a": go_program(modules, before)}
    found = contents.read(docker_archive(tmp_path / "image.tar", [layer]))
    assert [(package.name, package.version) for package in found.packages] == [
        ("example.com/b", "v1.0.0"),
        ("example.com/d", "v2.0.0"),
        ("stdlib", "1.26.8"),
    ]
    replaced = docker_archive(tmp_path / "replaced.tar", [layer, {"bin/a": b"#!/bin/sh\n"}])
    assert contents.read(replaced).packages == []


@pytest.mark.parametrize("content", [b"no tar file", b""])
def test_other_files_are_refused_with_their_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(content)
    with pytest.raises(contents.ArchiveError, match=f"^{path}: not the archive of an image"):
        contents.read(path)
