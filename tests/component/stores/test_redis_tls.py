"""Redis over TLS, with users: every client, errors that say what to do, and renewed files while commands are sent."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from recmesh.errors import SettingsError, Unavailable
from recmesh.stores.acl import users_file
from recmesh.stores.credentials import Credentials
from recmesh.stores.redis import RedisReader, RedisWriter
from recmesh.stores.redis_client import open_client
from tests.certificates import Authority, Issued
from tests.servers import RedisServer, SecuredRedis, start_secured_redis

AUTHORITY = Authority()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredRedis]:
    """A Redis with mutual TLS. The password of each user is its name."""
    folder = tmp_path_factory.mktemp("redis")
    AUTHORITY.issue().write(folder / "certificates", AUTHORITY.certificate)
    users = users_file({"cm": ["cm"], "ingest": ["ingest"]})
    running = start_secured_redis(folder / "server", users, folder / "certificates")
    with client_of(folder / "ingest", "ingest", running.url) as writer:
        writer.write({"recmesh:item:1": b"one"})
    yield running
    running.stop()


class client_of:  # noqa: N801  # a context manager that is used like a function
    """A writer during the block."""

    def __init__(self, folder: Path, user: str, url: str) -> None:
        self._writer = RedisWriter(url, credentials=credentials(folder, user))

    def __enter__(self) -> RedisWriter:
        return self._writer

    def __exit__(self, *_: object) -> None:
        self._writer.close()


def credentials(
    folder: Path, user: str, authority: Authority = AUTHORITY, issued: Issued | None = None, **variables: str
) -> Credentials:
    """Those of a user with a certificate and a password file in a folder."""
    (issued or AUTHORITY.issue(dns=(), uri="spiffe://test/client")).write(folder, authority.certificate)
    (folder / "password").write_text(f"{user}\n")
    environment = {
        **{
            f"RECMESH_TLS_{name}": str(folder / file) for name, file in (("CERTIFICATE", "tls.crt"), ("KEY", "tls.key"))
        },
        "RECMESH_TLS_CA": str(folder / "ca.crt"),
        "RECMESH_REDIS_USERNAME": user,
        "RECMESH_REDIS_PASSWORD_FILE": str(folder / "password"),
    }
    return Credentials.from_environment("REDIS", {**environment, **variables})


async def test_every_client_speaks_tls(server: SecuredRedis, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with client_of(tmp_path, "ingest", server.url) as writer:
        assert writer.read(["recmesh:item:1"]) == [b"one"]
    reader = RedisReader(server.url, credentials=credentials(tmp_path, "cm"))
    assert await reader.get_items(["1"]) == [b"one"]
    await reader.close()
    async with open_client(server.url, credentials(tmp_path, "cm"), 1, 5.0) as client:
        assert await client.redis.mget(["recmesh:item:1"]) == [b"one"]
    assert caplog.messages == []


async def test_a_socket_needs_no_tls(server: SecuredRedis, tmp_path: Path) -> None:
    given = credentials(tmp_path, "cm")
    reader = RedisReader(server.socket, credentials=given)
    assert await reader.get_items(["1"]) == [b"one"]
    await reader.close()
    with client_of(tmp_path, "ingest", server.socket) as writer:
        assert writer.read(["recmesh:item:1"]) == [b"one"]
    async with open_client(server.socket, given, 1, 5.0) as client:
        assert await client.redis.mget(["recmesh:item:1"]) == [b"one"]


async def test_the_authority_of_redis_may_be_another_one(server: SecuredRedis, tmp_path: Path) -> None:
    """RECMESH_REDIS_CA, or the option of the URL."""
    own = tmp_path / "redis-ca.crt"
    own.write_bytes(AUTHORITY.certificate)
    for url, variables in ((server.url, {"RECMESH_REDIS_CA": str(own)}), (f"{server.url}?ssl_ca_certs={own}", {})):
        given = credentials(tmp_path / "client", "cm", Authority("another"), None, **variables)
        reader = RedisReader(url, credentials=given)
        assert await reader.get_items(["1"]) == [b"one"]
        await reader.close()
        writer = RedisWriter(url, credentials=given)
        assert writer.read(["recmesh:item:1"]) == [b"one"]
        writer.close()


async def failures(url: str, given: Credentials) -> list[str]:
    """The errors of both clients."""
    writer, reader = RedisWriter(url, credentials=given), RedisReader(url, credentials=given)
    with pytest.raises(Unavailable) as of_writer:
        writer.read(["recmesh:item:1"])
    with pytest.raises(Unavailable) as of_reader:
        await reader.get_items(["1"])
    writer.close()
    await reader.close()
    return [str(of_writer.value), str(of_reader.value)]


CA_ADVICE = "; set RECMESH_REDIS_CA to the authority that has issued the certificate of the store"
CERTIFICATE_ADVICES = (  # the server may have closed the connection before the client reads why
    "; set RECMESH_TLS_CERTIFICATE and RECMESH_TLS_KEY to a certificate that the store accepts",
    "; if it asks for a certificate, set RECMESH_TLS_CERTIFICATE and RECMESH_TLS_KEY",
)


async def test_a_redis_of_another_authority_is_refused(server: SecuredRedis, tmp_path: Path) -> None:
    for message in await failures(server.url, credentials(tmp_path, "cm", Authority("another"))):
        assert message.startswith(f"Redis {server.url}: ConnectionError: ")
        assert message.endswith(CA_ADVICE)
    for message in await failures(server.url, Credentials("cm", "cm")):  # the authorities of the system
        assert message.endswith(CA_ADVICE)


async def test_redis_refuses_clients_without_a_right_certificate(server: SecuredRedis, tmp_path: Path) -> None:
    for number, issued in enumerate((Authority("another").issue(), AUTHORITY.issue(days=-1))):
        messages = await failures(server.url, credentials(tmp_path / str(number), "cm", issued=issued))
        assert [message.endswith(CERTIFICATE_ADVICES) for message in messages] == [True, True], messages
    without = Credentials("cm", "cm", tls=credentials(tmp_path, "cm").tls)
    ca_only = Credentials.of("REDIS", "cm", "cm", None, ca=without.tls.ca if without.tls else None)
    for message in await failures(server.url, ca_only):
        assert message.endswith(CERTIFICATE_ADVICES)


async def test_the_certificate_of_redis_must_be_valid_and_have_its_name(tmp_path: Path) -> None:
    expired = AUTHORITY.issue(days=-1)
    expired.write(tmp_path / "certificates", AUTHORITY.certificate)
    server = start_secured_redis(tmp_path / "server", users_file({"cm": ["cm"]}), tmp_path / "certificates")
    given = credentials(tmp_path / "client", "cm")
    try:
        for message in await failures(server.url, given):
            assert message.endswith("; renew the certificate of the store")
        server.changed(lambda: AUTHORITY.issue().write(tmp_path / "certificates", AUTHORITY.certificate))
        for message in await failures(server.url.replace("127.0.0.1", "127.0.0.2"), given):
            assert "127.0.0.2" in message
        reader = RedisReader(server.url, credentials=given)
        assert await reader.get_items(["1"]) == [None]
        await reader.close()
    finally:
        server.stop()


async def test_tls_on_one_side_only_is_named(server: SecuredRedis, redis_server: RedisServer, tmp_path: Path) -> None:
    given = credentials(tmp_path, "cm")
    for message in await failures(redis_server.url.replace("redis://", "rediss://"), given):
        assert message.endswith("; if it speaks no TLS, use redis://")
    for message in await failures(server.url.replace("rediss://", "redis://"), given):
        assert message.endswith("; if it speaks TLS, use rediss://")


async def test_a_user_without_permission_is_told_what_to_do(server: SecuredRedis, tmp_path: Path) -> None:
    with client_of(tmp_path, "cm", server.url) as writer, pytest.raises(Unavailable) as raised:
        writer.write({"recmesh:item:1": b"two"})
    assert str(raised.value).endswith(
        "; set RECMESH_REDIS_USERNAME to the user of this service or job, and give it the rules of this version"
    )


def test_a_file_of_authorities_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        Credentials.from_environment("REDIS", {"RECMESH_REDIS_CA": str(tmp_path / "none")})
    assert str(raised.value) == f"RECMESH_REDIS_CA {tmp_path}/none cannot be read: mount the file, or unset it"


async def test_certificates_passwords_and_authorities_change_without_a_failed_command(tmp_path: Path) -> None:
    """As an operator does it: first everybody trusts the new authority, then the certificates are renewed."""
    old, new = Authority("old"), Authority("new")
    both = new.certificate + old.certificate
    certificates, files = tmp_path / "certificates", tmp_path / "client"
    old.issue().write(certificates, old.certificate)
    server = start_secured_redis(tmp_path / "server", users_file({"cm": ["first"]}), certificates)
    given = credentials(files, "first", old, old.issue())
    given = Credentials("cm", "first", files / "password", given.tls)
    done, stopped = asyncio.Semaphore(0), asyncio.Event()
    reader = RedisReader(server.url, 8, 20.0, credentials=given)

    async def read() -> None:
        while not stopped.is_set():
            assert await reader.get_items(["1"]) == [None]
            idle = reader._connections._idle
            closed = [idle.pop() for _ in range(len(idle))]  # so that the next commands open connections
            for connection in closed:
                await connection.disconnect()
            idle.extendleft(closed)
            done.release()

    async def progress(count: int = 20) -> None:
        while not done.locked():
            await done.acquire()
        for _ in range(count):
            await done.acquire()

    async def change(what: str, *steps: object) -> None:
        await asyncio.to_thread(server.changed, lambda: [step() for step in steps if callable(step)])
        await progress()
        for task in tasks:
            assert not task.done(), f"{what}: {task.exception()}"

    tasks = [asyncio.create_task(read()) for _ in range(4)]
    try:
        await progress()
        await change("trust", lambda: old.issue().write(certificates, both), lambda: old.issue().write(files, both))
        await change("renew", lambda: new.issue().write(certificates, both), lambda: new.issue().write(files, both))
        await change("distrust", lambda: new.issue().write(certificates, new.certificate))
        new.issue().write(files, new.certificate)
        # The password of the client changes before Redis knows it.
        (files / "password").write_text("second")
        await progress(200)
        await change("users", lambda: server.set_users(users_file({"cm": ["second"]})))
        (files / "password").unlink()
        await progress()
        stopped.set()
        await asyncio.gather(*tasks)
        former = Credentials("cm", "first")
        with pytest.raises(Unavailable, match="invalid username-password pair"):
            RedisWriter(server.socket, credentials=former).ping()
    finally:
        await reader.close()
        server.stop()
