"""Milvus with mutual TLS and users: what each may do, errors that say what to do, and changes while it is searched."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from recmesh.errors import SettingsError, Unavailable
from recmesh.releases import Index
from recmesh.secure_channels import SecureChannel
from recmesh.stores.credentials import Credentials
from recmesh.stores.milvus import MilvusReader
from recmesh.stores.milvus_users import ensure_users
from recmesh.stores.milvus_writer import MilvusWriter, connect
from recmesh.tls import TlsFiles
from tests.certificates import Authority
from tests.servers import start_milvus

AUTHORITY = Authority()
FLAT = Index(kind="FLAT")
VECTORS = np.eye(4, dtype=np.float32)
NAME = "recmesh_users"


@dataclass(frozen=True)
class Secured:
    """A Milvus and the files of its passwords."""

    uri: str
    folder: Path
    tls: TlsFiles

    @property
    def root(self) -> Path:
        return self.folder / "root"

    def set(self, **passwords: str) -> None:
        for user, password in passwords.items():
            (self.folder / user).write_text(password)

    def credentials(self, user: str) -> Credentials:
        file = self.folder / user
        return Credentials.of("MILVUS", user, "", file, tls=self.tls)


@pytest.fixture(scope="module")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A Milvus whose users have been set up, with a collection of four items."""
    folder = tmp_path_factory.mktemp("milvus")
    AUTHORITY.issue().write(folder / "certificates", AUTHORITY.certificate)
    AUTHORITY.issue(dns=(), uri="spiffe://test/client").write(folder / "client", AUTHORITY.certificate)
    server = start_milvus(folder / "server", certificates=folder / "certificates")
    client = folder / "client"
    tls = TlsFiles(certificate=client / "tls.crt", key=client / "tls.key", ca=client / "ca.crt")
    made = Secured(server.uri, folder, tls)
    made.set(root="root-1st", recall="recall-1st", ingest="ingest-1st")
    try:
        changes = [
            "password of root set",
            *("privileges of recall set", "password of recall set"),
            *("privileges of ingest set", "password of ingest set"),
        ]
        assert ensure_users(made.uri, made.root, tls) == changes
        fill(MilvusWriter(made.uri, made.credentials("ingest")))
        yield made
    finally:
        server.kill()


def fill(writer: MilvusWriter) -> None:
    """Do what an ingestion does."""
    writer.create(NAME, 4)
    writer.insert(NAME, ["a", "b", "c", "d"], VECTORS)
    writer.insert(NAME, ["a", "b", "c", "d"], VECTORS, replace=True)
    writer.build(NAME, Index(kind="HNSW", params={"M": 16, "efConstruction": 200}))
    writer.build(NAME, FLAT)
    assert writer.count(NAME) == 4
    assert writer.search(NAME, VECTORS[:1], 1, None) == [["a"]]
    assert writer.read(NAME, ["b"])["b"].tolist() == [0, 1, 0, 0]
    writer.close()


async def nearest(reader: MilvusReader) -> str:
    """What a search for the first item finds."""
    ((ids, _),) = await reader.collection(NAME, FLAT).search(VECTORS[:1], 1, 30.0)
    return ids[0]


def test_users_that_are_set_up_stay_as_they_are(milvus: Secured) -> None:
    assert ensure_users(milvus.uri, milvus.root, milvus.tls) == []


async def test_recall_searches_and_may_do_nothing_else(milvus: Secured) -> None:
    reader = MilvusReader(milvus.uri, milvus.credentials("recall"))
    assert await nearest(reader) == "a"
    assert await reader.uses_index(NAME, 10.0)
    await reader.close()

    writer = MilvusWriter(milvus.uri, milvus.credentials("recall"))
    assert writer.collections() == {NAME}
    for action in (
        lambda: writer.create("recmesh_other", 4),
        lambda: writer.insert(NAME, ["e"], VECTORS[:1]),
        lambda: writer.insert(NAME, ["e"], VECTORS[:1], replace=True),
        lambda: writer.build(NAME, FLAT),
        lambda: writer.read(NAME, ["a"]),
        lambda: writer.drop(NAME),
    ):
        with pytest.raises(
            Unavailable, match=r"the user may not do this \(Privilege\w+: permission deny to recall\); "
        ):
            action()
    writer.close()


def test_ingest_may_not_change_users(milvus: Secured) -> None:
    client = connect(milvus.uri, milvus.credentials("ingest"))
    with pytest.raises(Exception, match="permission deny to ingest"):
        client.create_user("other", "password")
    client.close()


def test_a_role_loses_what_it_does_not_need(milvus: Secured) -> None:
    client = connect(milvus.uri, milvus.credentials("root"))
    client.grant_privilege("recall", "Collection", "Insert", "*")
    client.revoke_privilege("recall", "Collection", "Search", "*")

    assert ensure_users(milvus.uri, milvus.root, milvus.tls) == ["privileges of recall set"]
    privileges = [each["privilege"] for each in client.describe_role("recall")["privileges"]]
    client.close()
    assert privileges == ["Search"]


def test_the_first_password_of_root_is_no_longer_accepted(milvus: Secured) -> None:
    with pytest.raises(Unavailable, match="the user and password are not accepted"):
        MilvusWriter(milvus.uri, Credentials("root", "Milvus", tls=milvus.tls)).collections()


async def test_passwords_and_certificates_change_without_a_failed_search(milvus: Secured) -> None:
    reader = MilvusReader(milvus.uri, milvus.credentials("recall"))
    done, stopped = asyncio.Semaphore(0), asyncio.Event()

    async def search() -> None:
        while not stopped.is_set():
            assert await nearest(reader) == "a"
            done.release()

    async def progress() -> None:
        while not done.locked():
            await done.acquire()
        for _ in range(20):
            await asyncio.wait([*tasks, taken := asyncio.create_task(done.acquire())], return_when="FIRST_COMPLETED")
            assert taken.done(), "a search has failed"

    tasks = [asyncio.create_task(search()) for _ in range(4)]
    await progress()
    for number in ("2nd", "3rd"):
        milvus.set(recall=f"recall-{number}")  # the client knows it before Milvus does
        reader._token._passwords._next_look = 0
        await progress()
        changes = await asyncio.to_thread(ensure_users, milvus.uri, milvus.root, milvus.tls)
        assert changes == ["password of recall set"]
        await progress()
    secure = reader._channel
    assert isinstance(secure, SecureChannel)
    channel = secure.current()
    AUTHORITY.issue(dns=(), uri="spiffe://test/client").write(milvus.folder / "client", AUTHORITY.certificate)
    secure._reader._next_look = 0
    await progress()
    assert secure.current() is not channel
    stopped.set()
    await asyncio.gather(*tasks)
    await reader.close()


def test_the_password_of_root_changes(milvus: Secured) -> None:
    milvus.set(root="root-2nd")
    with pytest.raises(Unavailable) as raised:
        ensure_users(milvus.uri, milvus.root, milvus.tls)
    assert str(raised.value) == (
        f"Milvus {milvus.uri}: root has another password than that of RECMESH_MILVUS_ROOT_PASSWORD_FILE: write the one "
        f"that it has into {milvus.root}.old"
    )
    milvus.set(**{"root.old": "root-1st"})

    assert ensure_users(milvus.uri, milvus.root, milvus.tls) == ["password of root set"]
    assert ensure_users(milvus.uri, milvus.root, milvus.tls) == []


@pytest.mark.parametrize("password", ["short", "x" * 73])
def test_a_password_that_milvus_cannot_have_is_named(password: str, milvus: Secured, tmp_path: Path) -> None:
    file = tmp_path / "root"
    file.write_text(password)
    with pytest.raises(SettingsError) as raised:
        ensure_users(milvus.uri, file, milvus.tls)
    assert str(raised.value) == f"{file}: Milvus takes passwords of 6 characters to 72 bytes"


async def failures(uri: str, given: Credentials) -> list[str]:
    """The errors of both clients."""
    with pytest.raises(Unavailable) as of_writer:
        MilvusWriter(uri, given)
    reader = MilvusReader(uri, given)
    with pytest.raises(Unavailable) as of_reader:
        await reader.uses_index(NAME, 10.0)
    await reader.close()
    return [str(of_writer.value), str(of_reader.value)]


async def test_errors_of_tls_say_what_to_do(milvus: Secured, tmp_path: Path) -> None:
    given = milvus.credentials("recall")
    another, expired = Authority("another"), AUTHORITY.issue(days=-1)
    (tmp_path / "another.crt").write_bytes(another.certificate)
    expired.write(tmp_path / "expired", AUTHORITY.certificate)
    no_longer = tmp_path / "expired"
    wrong_ca = replace(given, tls=replace(milvus.tls, ca=tmp_path / "another.crt"))
    for message in await failures(milvus.uri, wrong_ca):
        assert message.endswith(
            "; set RECMESH_MILVUS_CA to the authority that has issued the certificate of the store"
        ), message
    for tls in (
        TlsFiles(ca=milvus.tls.ca),
        replace(milvus.tls, certificate=no_longer / "tls.crt", key=no_longer / "tls.key"),
    ):
        for message in await failures(milvus.uri, replace(given, tls=tls)):
            assert message.endswith(
                "; set RECMESH_TLS_CERTIFICATE and RECMESH_TLS_KEY to a certificate that the store accepts"
            ), message
    for message in await failures(milvus.uri.replace("https", "http"), given):
        assert message.endswith("; if it speaks TLS, use https://"), message
