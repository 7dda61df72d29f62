"""Digests, signatures, attestations and known vulnerabilities, with a registry, cosign, osv-scanner, helm and gpg.

The first run builds the programs that are not on the PATH with Go, which takes about ten minutes.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from local.ports import free_ports
from tests.archives import Layer, docker_archive, push
from tests.chart.conftest import copy_chart
from tests.go_modules import program
from tests.servers import ROOT
from tests.waiting import eventually

sys.path.insert(0, str(ROOT / "docker"))

import digests
import images
import registry as registries
import sign
import vulnerabilities
from registry import Reference

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

REGISTRY_PROGRAM = "github.com/distribution/distribution/v3/cmd/registry@v3.1.2"
HELM = Path(sys.prefix) / "bin" / "helm"
LAYER: Layer = {
    "etc/os-release": b"ID=debian\nVERSION_ID=12\n",
    "var/lib/dpkg/status": (
        b"Package: libc6\nStatus: install ok installed\nSource: glibc\nArchitecture: amd64\nVersion: 2.36-9+deb12u14\n"
    ),
}
REGISTRY = """\
version: 0.1
log: {{level: warn}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "{address}"}}
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an empty registry."""
    folder = tmp_path_factory.mktemp("registry")
    address = f"127.0.0.1:{free_ports(1)[0]}"
    (folder / "registry.yml").write_text(REGISTRY.format(folder=folder / "data", address=address))
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
    command = [program(REGISTRY_PROGRAM), "serve", str(folder / "registry.yml")]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as server,
    ):
        try:
            eventually(lambda: _answers(address), (folder / "log").read_text)
            yield address
        finally:
            server.terminate()


def _answers(address: str) -> bool:
    try:
        registries.digest(Reference.parse(f"{address}/nothing:1"))
    except registries.RegistryError as error:
        return "404" in str(error)
    return True


def run(*command: str | Path, environment: Mapping[str, str] | None = None) -> str:
    """Run a command. Returns what it printed."""
    result = run_any(*command, environment=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def run_any(*command: str | Path, environment: Mapping[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
    )


def test_digests_are_those_of_the_registry(
    registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named = [image for path in digests.files(ROOT) for image in digests.images(path.read_text())]
    pushed = {
        image.repository: push(registry, image.repository, image.tag, [{"name": image.repository.encode()}])
        for image in named
    }
    for path in digests.files(ROOT):
        copied = tmp_path / path.relative_to(ROOT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copied)
    monkeypatch.setenv(digests.MIRROR, registry)
    assert digests.main(["--root", str(tmp_path)]) == 0
    assert digests.main(["--check", "--root", str(tmp_path)]) == 0
    written = [image for path in digests.files(tmp_path) for image in digests.images(path.read_text())]
    assert written == [image.pinned(pushed[image.repository]) for image in named]
    assert capsys.readouterr().out.splitlines()[:-1] == [
        f"{name} {pushed[Reference.parse(name).repository]}" for name in dict.fromkeys(str(image) for image in named)
    ]
    rendered = run(HELM, "template", "shop", pinned_chart(tmp_path))
    (image,) = re.findall(r"image: (\S*milvus\S*)", rendered)
    assert image.endswith(f"@{pushed['milvusdb/milvus']}")


def pinned_chart(root: Path) -> Path:
    """The chart with the values that follow from the written digests."""
    written = (root / digests.SCHEMA).read_text()
    chart = copy_chart(root)
    (root / digests.SCHEMA).write_text(written)
    run(sys.executable, root / "charts" / "values.py")
    return chart


def test_a_digest_is_renewed_when_its_tag_moves(registry: str) -> None:
    image = Reference.parse(f"{registry}/moves:1")
    first, second = (push(registry, "moves", "1", [{"content": content}]) for content in (b"1", b"2"))
    assert first != second
    assert registries.digest(image.pinned(first)) == second


def test_the_chart_installs_pushed_images_by_digest(
    registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RECMESH_IMAGE_REGISTRY", f"{registry}/")
    names = [*images.SERVICES, "ingest", "train", "paddle-serving"]
    pushed = {name: push(registry, f"recmesh/{name}", images.version(), [{"name": name.encode()}]) for name in names}
    assert images.main(["pins"]) == 0
    (tmp_path / "digests.yaml").write_text(capsys.readouterr().out)
    options = [
        f"--values={tmp_path / 'digests.yaml'}",
        *(
            "--set=explorer.enabled=true,retrain.schedule=@daily",
            "--set=paddleServing.enabled=true,paddleServing.device=cpu",
        ),
        *(
            "--set=redis.enabled=false,milvus.enabled=false",
            "--set=external.redis.url=redis://r,external.milvus.uri=http://m",
        ),
    ]
    for mode in ("compact", "services"):
        rendered = run(HELM, "template", "shop", "charts/recmesh", f"--set=mode={mode}", *options)
        named = dict.fromkeys(re.findall(r'image: "?([^\s"]+)', rendered))
        services = ("compact", "feed") if mode == "compact" else images.SERVICES[:5]
        assert {f"docker.io/recmesh/{name}@{pushed[name]}" for name in (*services, "ingest", "train")} <= set(named)
        assert all(image.endswith(f"@{pushed[image.split('/')[-1].split('@')[0]]}") for image in named)


class Keys:
    """A pair of keys of cosign, in a folder, and the settings of a signer without a transparency log."""

    def __init__(self, folder: Path) -> None:
        self.private, self._public, log = folder / "cosign.key", folder / "cosign.pub", folder / "signing.json"
        path = os.pathsep.join([str(Path(program(sign.COSIGN)).parent), os.environ["PATH"]])
        options = f"--signing-config={log} --allow-http-registry"
        self.environment = {"COSIGN_PASSWORD": "", "HOME": str(folder), "PATH": path, sign.OPTIONS: options}
        self._cosign("generate-key-pair", "--output-key-prefix", str(folder / "cosign"))
        self._cosign("signing-config", "create", "--out", str(log))

    def _cosign(self, *arguments: str) -> None:
        run(program(sign.COSIGN), *arguments, environment=self.environment)

    def sign_image(self, image: str) -> None:
        """Sign something in the registry."""
        self._cosign("sign", "--yes", f"--key={self.private}", *self.environment[sign.OPTIONS].split(), image)

    def sign(self, provenances: Path, sboms: Path) -> "subprocess.CompletedProcess[str]":
        """`make sign`."""
        variables = [f"KEY={self.private}", f"PROVENANCE={provenances}", f"SBOMS={sboms}"]
        return run_any("make", "--silent", "sign", *variables, environment=self.environment)

    def verify(self, command: str, image: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Verify the signature of an image, or of attestations about it."""
        settings = [f"--key={self._public}", "--insecure-ignore-tlog=true", "--allow-http-registry"]
        return run_any(program(sign.COSIGN), command, *settings, *arguments, image, environment=self.environment)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


@dataclass
class Built:
    """The image um, built, pushed and signed."""

    image: str
    provenance: dict[str, Any]
    sbom: dict[str, Any]


@pytest.fixture(scope="module")
def built(registry: str, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Builds an image by a command that pushes one to the registry. Signs it with `make sign`."""
    folder = tmp_path_factory.mktemp("built")
    archive = docker_archive(folder / "um.tar", [LAYER])
    digest = push(registry, "recmesh/um", images.version(), [LAYER])
    environment = {
        "RECMESH_IMAGE_REGISTRY": f"{registry}/",
        "RECMESH_IMAGE_BUILD": "true {tag} {file} {arguments} {context}",
        "RECMESH_IMAGE_LOAD": "",
        "RECMESH_IMAGE_SAVE": f"cp {archive} {{file}}",
    }
    run("make", "--silent", "images", "IMAGES=um", f"PROVENANCE={folder / 'provenance'}", environment=environment)
    run("make", "--silent", "sbom", "IMAGES=um", f"INTO={folder / 'sbom'}", environment=environment)
    signed = keys.sign(folder / "provenance", folder / "sbom")
    image = f"{registry}/recmesh/um@{digest}"
    assert (signed.returncode, signed.stdout) == (0, f"{image}\n"), signed.stderr
    return Built(
        image,
        json.loads((folder / "provenance" / "um.provenance.json").read_text()),
        json.loads((folder / "sbom" / "um.cdx.json").read_text()),
    )


def test_a_signature_holds_for_the_signed_image_and_key_alone(
    registry: str, keys: Keys, built: Built, tmp_path: Path
) -> None:
    other = f"{registry}/recmesh/um@{push(registry, 'recmesh/um', 'other', [{'other': b''}])}"
    assert keys.verify("verify", built.image).returncode == 0
    assert keys.verify("verify", other).returncode != 0
    assert Keys(tmp_path).verify("verify", built.image).returncode != 0


def attested(verified: "subprocess.CompletedProcess[str]") -> Any:
    """The statement of the only attestation that was verified."""
    assert verified.returncode == 0, verified.stderr
    (envelope,) = verified.stdout.splitlines()
    return json.loads(base64.b64decode(json.loads(envelope)["payload"]))


def test_the_bill_of_materials_and_the_provenance_are_attested(keys: Keys, built: Built) -> None:
    bill = attested(keys.verify("verify-attestation", built.image, "--type=cyclonedx"))
    made = attested(keys.verify("verify-attestation", built.image, "--type=slsaprovenance1"))
    name, _, digest = built.image.partition("@sha256:")
    assert bill["subject"] == made["subject"] == [{"name": name, "digest": {"sha256": digest}}]
    assert bill["predicate"] == built.sbom
    assert {"subject": made["subject"], "predicate": made["predicate"]}.items() <= built.provenance.items()
    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(json.dumps(bill["predicate"])) is None


def test_the_provenance_says_what_was_built_from_what(built: Built) -> None:
    assert built.provenance["_type"] == "https://in-toto.io/Statement/v1"
    assert built.provenance["predicateType"] == "https://slsa.dev/provenance/v1"
    definition, details = (built.provenance["predicate"][key] for key in ("buildDefinition", "runDetails"))
    assert definition["externalParameters"]["command"][:2] == [
        "true",
        f"{built.image.partition('@')[0]}:{images.version()}",
    ]
    assert "--build-arg=SERVICE=um" in definition["externalParameters"]["command"]
    checkout, base, dockerfile, lock = definition["resolvedDependencies"]
    assert checkout["digest"]["gitCommit"] == run("git", "rev-parse", "HEAD").strip()
    assert checkout["annotations"]["uncommittedChanges"] == bool(run("git", "status", "--porcelain"))
    assert base["uri"] == f"docker://{images.base('um')}"
    assert [file["name"] for file in (dockerfile, lock)] == ["docker/service.Dockerfile", "requirements/images/um.txt"]
    for file in (dockerfile, lock):
        assert run("sha256sum", file["name"]).split()[0] == file["digest"]["sha256"]
    assert details["builder"]["id"].endswith("docker/images.py")
    assert details["metadata"]["startedOn"] <= details["metadata"]["finishedOn"]


def test_what_is_missing_for_a_signature_is_named(keys: Keys, tmp_path: Path) -> None:
    nothing = keys.sign(tmp_path, tmp_path)
    assert nothing.returncode != 0
    advice = f"make images PROVENANCE={tmp_path}"
    assert nothing.stderr.splitlines()[0] == f"recmesh: {tmp_path} has no file *.provenance.json: {advice}"
    (tmp_path / "um.provenance.json").write_text("{}")
    unlisted = keys.sign(tmp_path, tmp_path)
    assert unlisted.returncode != 0
    assert (
        unlisted.stderr.splitlines()[0] == f"recmesh: {tmp_path / 'um.cdx.json'} is missing: make sbom INTO={tmp_path}"
    )


@dataclass
class Package:
    """The chart, packaged and signed with PGP."""

    path: Path
    keyring: Path

    def verify(self) -> "subprocess.CompletedProcess[str]":
        """`helm verify`."""
        return run_any(HELM, "verify", self.path, f"--keyring={self.keyring}")


PGP_KEY = "recmesh <recmesh@example.com>"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Packages the chart as RELEASE.md says, with a key of its own."""
    folder = tmp_path_factory.mktemp("package")
    gpg = {"GNUPGHOME": str(folder)}
    new_key = ("--passphrase", "", "--quick-generate-key", PGP_KEY, "rsa3072", "sign")
    run("gpg", "--batch", "--quiet", *new_key, environment=gpg)
    run("gpg", "--batch", "--output", folder / "secret", "--export-secret-keys", environment=gpg)
    run("gpg", "--batch", "--output", folder / "public", "--export", environment=gpg)
    run("gpgconf", "--kill", "gpg-agent", environment=gpg)
    (folder / "passphrase").write_text("\n")
    signing = (f"--key={PGP_KEY}", f"--keyring={folder / 'secret'}", f"--passphrase-file={folder / 'passphrase'}")
    run(HELM, "package", "charts/recmesh", f"--destination={folder}", "--sign", *signing)
    return Package(folder / f"recmesh-{images.version()}.tgz", folder / "public")


def test_a_signed_chart_is_verified_and_a_changed_one_is_not(package: Package, tmp_path: Path) -> None:
    assert f"Signed by: {PGP_KEY}" in package.verify().stdout
    shutil.copy(f"{package.path}.prov", tmp_path)
    changed = Package(tmp_path / package.path.name, package.keyring)
    changed.path.write_bytes(package.path.read_bytes() + b"x")
    refused = changed.verify()
    assert refused.returncode != 0
    assert "sha256 sum does not match" in refused.stderr


@dataclass
class Pushed:
    """The signed package in a registry."""

    url: str
    digest: str

    @property
    def image(self) -> str:
        """Its name for cosign."""
        return f"{self.url.removeprefix('oci://')}@{self.digest}"


@pytest.fixture(scope="module")
def pushed(registry: str, package: Package) -> Pushed:
    """Pushes the chart, with its provenance file, which lies next to it."""
    result = run_any(HELM, "push", package.path, f"oci://{registry}/charts", "--plain-http")
    assert result.returncode == 0, result.stderr
    found = re.search(r"Pushed: (\S+):(\S+)\nDigest: (sha256:\S+)", result.stdout + result.stderr)
    assert found
    assert (found[1], found[2]) == (f"{registry}/charts/recmesh", images.version())
    return Pushed(f"oci://{found[1]}", found[3])


def test_a_pushed_chart_comes_back_with_its_signature(pushed: Pushed, package: Package, tmp_path: Path) -> None:
    source = (pushed.url, f"--version={images.version()}", "--plain-http")
    run(HELM, "pull", *source, f"--destination={tmp_path}", "--verify", f"--keyring={package.keyring}")
    assert (tmp_path / package.path.name).read_bytes() == package.path.read_bytes()
    assert run(HELM, "template", "shop", *source) == run(HELM, "template", "shop", "charts/recmesh")


def test_a_pushed_chart_installs(pushed: Pushed, tmp_path: Path) -> None:
    no_cluster = {"KUBECONFIG": str(tmp_path / "none")}
    by_digest = f"{pushed.url}@{pushed.digest}"
    notes = run(HELM, "install", "shop", by_digest, "--plain-http", "--dry-run=client", environment=no_cluster)
    assert f"recmesh {images.version()} is being installed as shop in namespace default." in notes


def test_cosign_signs_a_pushed_chart(
    registry: str, keys: Keys, pushed: Pushed, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert "no signatures found" in keys.verify("verify", pushed.image).stderr
    keys.sign_image(pushed.image)
    verified = keys.verify("verify", pushed.image)
    assert verified.returncode == 0, verified.stderr
    (signature,) = json.loads(verified.stdout)
    assert signature["critical"]["image"] == {"docker-manifest-digest": pushed.digest}
    assert Keys(tmp_path_factory.mktemp("others")).verify("verify", pushed.image).returncode != 0


def database(folder: Path, entries: Sequence[tuple[str, str, str, str]]) -> Path:
    """A database in the form of OSV's exports. An entry: id, ecosystem, package, first version without the hole."""
    for ecosystem in ("PyPI", "Debian", "Go"):
        (folder / ecosystem).mkdir(parents=True)
        with zipfile.ZipFile(folder / ecosystem / "all.zip", "w") as archive:
            for name, of, package, fixed in entries:
                if of.partition(":")[0] == ecosystem:
                    archive.writestr(f"{name}.json", json.dumps(_entry(name, of, package, fixed)))
    return folder


def _entry(name: str, ecosystem: str, package: str, fixed: str) -> dict[str, Any]:
    events = [{"introduced": "0"}, {"fixed": fixed}]
    kind = "SEMVER" if ecosystem == "Go" else "ECOSYSTEM"
    return {
        "schema_version": "1.7.3",
        "id": name,
        "aliases": ["CVE-2026-99999"],
        "published": "2026-11-01T00:00:00Z",
        "modified": "2026-11-02T00:00:00Z",
        "summary": f"{package} has a hole",
        "affected": [
            {"package": {"ecosystem": ecosystem, "name": package}, "ranges": [{"type": kind, "events": events}]}
        ],
    }


def check_security(folder: Path, sboms: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """`make check-security`."""
    path = os.pathsep.join([str(Path(program(vulnerabilities.SCANNER)).parent), os.environ["PATH"]])
    variables = [f"SECURITY_DB={folder}", *([f"SBOMS={sboms}"] if sboms else [])]
    return run_any("make", "--silent", "check-security", *variables, environment={"PATH": path})


def test_a_vulnerable_version_in_a_lock_file_is_named(tmp_path: Path) -> None:
    locked = re.search(r"(?m)^urllib3==(\S+)", images.lock_file("um").read_text())
    assert locked
    vulnerable = database(tmp_path / "vulnerable", [("PYSEC-2026-9", "PyPI", "urllib3", f"{locked[1]}.post1")])
    found = check_security(vulnerable)
    assert found.returncode != 0
    (line,) = [line for line in found.stdout.splitlines() if "urllib3" in line]
    start = f"urllib3 {locked[1]}: PYSEC-2026-9, CVE-2026-99999 (fixed in {locked[1]}.post1): urllib3 has a hole ["
    assert line.startswith(start)
    assert "requirements/images/um.txt" in line
    patched = check_security(database(tmp_path / "patched", [("PYSEC-2026-9", "PyPI", "urllib3", locked[1])]))
    assert (patched.returncode, patched.stderr) == (0, "")
    assert patched.stdout.startswith("no known vulnerability in ")


def test_vulnerable_packages_of_images_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECMESH_IMAGE_SAVE", f"cp {docker_archive(tmp_path / 'image.tar', [LAYER])} {{file}}")
    sboms = tmp_path / "sboms"
    assert images.main(["sbom", "um", "milvus", "--into", str(sboms)]) == 0
    entries = [
        ("DEBIAN-CVE-2026-9", "Debian:12", "glibc", "2.36-9+deb12u15"),
        ("DEBIAN-CVE-2026-8", "Debian:12", "glibc", "2.36-9+deb12u14"),
        ("DEBIAN-CVE-2026-7", "Debian:13", "glibc", "2.41-99"),
        ("GO-2026-9", "Go", "github.com/milvus-io/milvus", "2.6.99"),
        ("GO-2026-8", "Go", "github.com/milvus-io/milvus", "2.6.10"),
    ]
    found = check_security(database(tmp_path / "database", entries), sboms)
    assert found.returncode != 0
    lines = [line.partition(" (")[0] for line in found.stdout.splitlines()]
    milvus = digests.store_image(ROOT, "milvus").tag
    assert lines == [
        f"github.com/milvus-io/milvus {milvus}: GO-2026-9, CVE-2026-99999",
        "glibc 2.36-9+deb12u14: DEBIAN-CVE-2026-9, CVE-2026-99999",
    ]


def test_a_database_that_lacks_a_part_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    missing = check_security(tmp_path / "empty")
    assert missing.returncode != 0
    where = "docs/supply-chain.md#vulnerability-check says where to get it"
    assert missing.stderr.splitlines()[0] == f"recmesh: {tmp_path / 'empty'} has no PyPI/all.zip; {where}"
