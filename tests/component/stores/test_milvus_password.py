"""User and password, or token, of Milvus: sent with every call of both clients, and in no message.

milvus-lite and the Milvus of the tests accept every call. A server that accepts none records what they send.
"""

import logging
from collections.abc import Iterator

import pytest

from recmesh.errors import SettingsError, Unavailable
from recmesh.stores.credentials import NO_CREDENTIALS, Credentials
from recmesh.stores.milvus import MilvusReader
from recmesh.stores.milvus_writer import MilvusWriter
from tests.passwords import PASSWORDS, RefusingMilvus, refusing_milvus

ADVICE = "check RECMESH_MILVUS_USERNAME and RECMESH_MILVUS_PASSWORD or RECMESH_MILVUS_PASSWORD_FILE"


@pytest.fixture
def milvus() -> Iterator[RefusingMilvus]:
    """A server that accepts no user."""
    with refusing_milvus() as server:
        yield server


async def messages(uri: str, credentials: Credentials) -> list[str]:
    """The errors of both clients."""
    with pytest.raises(Unavailable) as of_writer:
        MilvusWriter(uri, credentials)
    reader = MilvusReader(uri, credentials)
    with pytest.raises(Unavailable) as of_reader:
        await reader.uses_index("recmesh_none", 5.0)
    await reader.close()
    return [str(of_writer.value), str(of_reader.value)]


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize(("username", "before"), [("shop:1", "shop:1:"), ("", "")])
async def test_every_call_has_the_token(
    username: str, before: str, password: str, milvus: RefusingMilvus, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a user, the password is a token."""
    with caplog.at_level(logging.DEBUG):
        shown = await messages(milvus.uri(), Credentials(username, password))

    assert set(milvus.tokens) == {f"{before}{password}"}
    assert shown == [
        f"Milvus {milvus.uri()}: cannot connect: the user and password are not accepted; {ADVICE}",
        f"Milvus {milvus.uri()}: the user and password are not accepted; {ADVICE}",
    ]
    assert password not in caplog.text


async def test_credentials_in_the_uri_are_sent_and_masked(milvus: RefusingMilvus) -> None:
    shown = await messages(milvus.uri("root:p%40ss@"), NO_CREDENTIALS)

    assert set(milvus.tokens) == {"root:p@ss"}
    assert [message.partition(": ")[0] for message in shown] == [f"Milvus {milvus.uri('***@')}"] * 2


async def test_without_credentials_no_token_is_sent(milvus: RefusingMilvus) -> None:
    await messages(milvus.uri(), NO_CREDENTIALS)

    assert set(milvus.tokens) == {None}


@pytest.mark.parametrize("client", [MilvusReader, MilvusWriter])
def test_credentials_in_the_uri_and_in_settings_are_refused(client: type[MilvusReader] | type[MilvusWriter]) -> None:
    with pytest.raises(SettingsError, match="remove them from the URL"):
        client("http://root:open@127.0.0.1:19530", Credentials("", "sesame"))


@pytest.mark.parametrize("client", [MilvusReader, MilvusWriter])
@pytest.mark.parametrize("uri", ["root:sesame@127.0.0.1:19530", "http://root:ses/ame@127.0.0.1:19530"])
def test_a_wrong_uri_is_an_error_that_does_not_show_it(
    uri: str, client: type[MilvusReader] | type[MilvusWriter]
) -> None:
    with pytest.raises(SettingsError) as raised:
        client(uri)

    assert "RECMESH_MILVUS_PASSWORD" in str(raised.value)
    assert "ses" not in str(raised.value)
