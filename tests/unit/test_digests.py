"""`make digests`: which images are pinned, and where; tests/packaging asks a real registry."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.servers import ROOT

sys.path.insert(0, str(ROOT / "docker"))

import digests
from registry import Reference, RegistryError

DIGEST = f"sha256:{'0' * 64}"
OTHER = f"sha256:{'1' * 64}"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the files that name images."""
    for path in digests.files(ROOT):
        copied = tmp_path / path.relative_to(ROOT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copied)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("python", "docker.io/library/python:latest"),
        ("docker.io/python:3.11", "docker.io/library/python:3.11"),
        ("milvusdb/milvus:v2", "docker.io/milvusdb/milvus:v2"),
        ("localhost/a:1", "localhost/a:1"),
        ("registry.example:5000/a/b/c:1", "registry.example:5000/a/b/c:1"),
        (f"a:1@{DIGEST}", f"docker.io/library/a:1@{DIGEST}"),
    ],
)
def test_names_of_images_are_completed(text: str, full: str) -> None:
    assert str(Reference.parse(text)) == full


@pytest.mark.parametrize("text", ["", "A", "a:1@sha256:1", "a b", "a:-"])
def test_other_texts_are_no_names_of_images(text: str) -> None:
    with pytest.raises(RegistryError, match="not the name of an image"):
        Reference.parse(text)


def test_every_public_image_of_the_repository_is_found() -> None:
    named = {image.repository for path in digests.files(ROOT) for image in digests.images(path.read_text())}
    assert named == {
        *("library/python", "nvidia/cuda"),
        *("milvusdb/milvus", "library/redis", "oliver006/redis_exporter"),
    }
    assert all(digests.images(path.read_text()) for path in digests.files(ROOT))


@pytest.mark.parametrize(("name", "number"), [("docker/service.Dockerfile", 1), (str(digests.SCHEMA), 3)])
def test_a_digest_is_written_and_renewed_in_its_place(name: str, number: int) -> None:
    text = (ROOT / name).read_text()
    found = digests.images(text)
    pinned = digests.pin(text, lambda _: DIGEST)
    assert digests.images(pinned) == [image.pinned(DIGEST) for image in found]
    changed = [line.strip() for line in pinned.splitlines() if line not in text.splitlines()]
    line = f"ARG BASE={found[0].pinned(DIGEST)}" if "Dockerfile" in name else f"default: {DIGEST}"
    assert changed == [line] * number
    assert digests.pin(pinned, lambda _: OTHER) == pinned.replace(DIGEST, OTHER)


def test_the_check_names_what_has_no_digest(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in digests.files(checkout):
        path.write_text(digests.pin(path.read_text(), lambda _: DIGEST))
    assert digests.main(["--check", "--root", str(checkout)]) == 0
    service = checkout / "docker" / "service.Dockerfile"
    service.write_text(service.read_text().replace(f"@{DIGEST}", ""))
    capsys.readouterr()
    assert digests.main(["--check", "--root", str(checkout)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "docker/service.Dockerfile: docker.io/library/python:3.11-slim-bookworm has no digest",
        "run make digests",
    ]


def test_nothing_is_written_if_a_registry_is_not_reached(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [path.read_text() for path in digests.files(checkout)]
    monkeypatch.setenv(digests.MIRROR, "127.0.0.1:1")
    assert digests.main(["--root", str(checkout)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("recmesh: docker.io/library/python:3.11-slim-bookworm: 127.0.0.1:1 cannot be reached")
    assert line.endswith("run this where it can be, or set RECMESH_REGISTRY_MIRROR")
    assert [path.read_text() for path in digests.files(checkout)] == before
