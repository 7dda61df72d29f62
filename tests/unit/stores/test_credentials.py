"""Users and passwords of the stores: where they come from, and that no message shows a part of them."""

from dataclasses import replace
from pathlib import Path

import pytest

from recmesh.errors import SettingsError
from recmesh.stores.credentials import NO_CREDENTIALS, Credentials, Passwords, Store, login
from recmesh.tls import TlsFiles
from tests.passwords import PASSWORDS

STORES: tuple[Store, ...] = ("REDIS", "MILVUS")
ADDRESSES: dict[Store, str] = {"REDIS": "redis://%shost:6379/0", "MILVUS": "http://%shost:19530"}


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("password", PASSWORDS)
def test_a_password_of_any_characters_comes_from_a_variable_or_a_file(
    store: Store, password: str, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_bytes(f"{password}\n".encode())
    expected = Credentials("shop", password)

    name = {f"RECMESH_{store}_USERNAME": "shop"}
    assert Credentials.from_environment(store, {**name, f"RECMESH_{store}_PASSWORD": password}) == expected
    assert Credentials.from_environment(store, {**name, f"RECMESH_{store}_PASSWORD_FILE": str(file)}) == expected


def test_line_breaks_within_a_file_belong_to_the_password(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b" a\r\nb \r\n\n")

    assert Credentials.of("REDIS", "", "", file) == Credentials("", " a\r\nb ")


def test_without_settings_there_are_no_credentials() -> None:
    found = Credentials.from_environment("REDIS", {"RECMESH_REDIS_PASSWORD": "", "RECMESH_MILVUS_PASSWORD": "sesame"})

    assert found == NO_CREDENTIALS
    assert not found


def test_the_password_is_in_no_representation() -> None:
    assert repr(Credentials("shop", "sesame")) == "Credentials(username='shop', password_file=None, tls=None)"


@pytest.mark.parametrize("store", STORES)
def test_credentials_in_a_url_are_used(store: Store) -> None:
    url = ADDRESSES[store]

    assert login(store, url % "", NO_CREDENTIALS) == NO_CREDENTIALS
    assert login(store, url % ":p%40s%25%2Fs@", NO_CREDENTIALS) == Credentials("", "p@s%/s")
    assert login(store, url % "shop:p%3Ass@", NO_CREDENTIALS) == Credentials("shop", "p:ss")
    assert login(store, f"{url % ''}?username=shop&password=a%26b", NO_CREDENTIALS) == Credentials("shop", "a&b")
    assert login(store, url % "", Credentials("shop", "sesame")) == Credentials("shop", "sesame")


@pytest.mark.parametrize("in_url", ["shop@", ":open@", "shop:open@"])
def test_credentials_in_a_url_and_in_settings_are_refused(in_url: str) -> None:
    with pytest.raises(SettingsError) as raised:
        login("REDIS", ADDRESSES["REDIS"] % in_url, Credentials("", "sesame"))

    assert str(raised.value) == (
        "RECMESH_REDIS_URL has a user or a password, and RECMESH_REDIS_USERNAME or _PASSWORD is set as well: "
        "remove them from the URL"
    )


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize(
    "in_url",
    [":ses/ame@", ":12/ame@", ":ses?ame@", ":ses#ame@", "shop:12?ame@", ":se@sa/me@", "[ses:ame@", ":ses]ame@"],
)
def test_a_url_with_an_unescaped_password_is_refused_without_showing_it(store: Store, in_url: str) -> None:
    with pytest.raises(SettingsError) as raised:
        login(store, ADDRESSES[store] % in_url, NO_CREDENTIALS)

    message, cause = str(raised.value), raised.value.__cause__
    assert cause is None
    assert f"give a user and a password as RECMESH_{store}_USERNAME and RECMESH_{store}_PASSWORD" in message
    assert [part for part in ("ses", "ame", "sa", "12") if part in message] == []


def test_the_path_of_a_socket_may_have_an_at_sign() -> None:
    assert login("REDIS", "unix:///run/a@b.sock?db=1", Credentials("", "sesame")) == Credentials("", "sesame")


def problem(username: str, password: str, file: Path | None) -> str:
    with pytest.raises(SettingsError) as raised:
        Credentials.of("REDIS", username, password, file)
    return str(raised.value)


def test_unusable_settings_are_refused_with_advice(tmp_path: Path) -> None:
    missing, empty, latin = (tmp_path / name for name in ("missing", "empty", "latin"))
    empty.write_bytes(b"\n")
    latin.write_bytes("ses\xe4me".encode("latin-1"))
    name = "RECMESH_REDIS_PASSWORD"

    assert problem("", "sesame", empty) == f"{name} and {name}_FILE are both set: unset one of them"
    assert problem("", "", missing) == (
        f"{name}_FILE {missing} cannot be read: No such file or directory; mount the Secret, or unset it"
    )
    assert problem("", "", empty) == f"{name}_FILE {empty} is empty: write the password into it, or unset it"
    assert problem("", "", latin) == f"{name}_FILE {latin} is not UTF-8: change its encoding"
    assert problem("", "ses\udce4me", None) == f"{name} is not UTF-8: change its encoding"
    assert problem("ses\udce4me", "", None) == "RECMESH_REDIS_USERNAME is not UTF-8: change its encoding"


class Clock:
    """A clock that stands still."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("first\n")
    return file


def passwords(file: Path, clock: Clock) -> Passwords:
    return Passwords(Credentials.of("REDIS", "shop", "", file), clock)


def test_a_password_file_is_read_again_once_a_second(file: Path, clock: Clock) -> None:
    kept = passwords(file, clock)
    file.write_text("second\n")
    clock.now = 0.9
    assert kept.current() == "first"
    clock.now = 1.0
    assert kept.current() == "second"


def test_a_refused_password_is_replaced_by_the_other_one(file: Path, clock: Clock) -> None:
    """The store may know a new password earlier or later than the process."""
    kept = passwords(file, clock)
    assert not kept.refused("first")
    file.write_text("second")
    assert kept.refused("first")
    assert kept.current() == "second"

    assert kept.refused("second")
    assert kept.current() == "first"
    clock.now = 5.0
    assert kept.current() == "first", "it is not tried again and again"
    assert kept.refused("first")
    assert kept.current() == "second"

    file.write_text("third")
    clock.now = 10.0
    assert kept.current() == "third"
    assert kept.refused("third")
    assert kept.current() == "second"


@pytest.mark.parametrize("content", [None, b"", b"\xff"])
def test_a_damaged_password_file_changes_nothing(
    content: bytes | None, file: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    kept = passwords(file, clock)
    file.unlink() if content is None else file.write_bytes(content)
    clock.now = 1.0
    assert kept.current() == "first"
    assert not kept.refused("first")
    assert caplog.messages[0].startswith(f"the password stays as it was: {file} ")


def test_a_missing_password_file_is_logged_with_growing_pauses_and_when_it_is_back(
    file: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """It is looked at once a second; the lines come after 0, 1, 3, 7, 15 and 31 s."""
    kept = passwords(file, clock)
    file.unlink()
    for second in range(1, 61):
        clock.now = float(second)
        assert kept.current() == "first"
    assert len(caplog.messages) == 6
    file.write_text("second")
    clock.now = 61.0
    assert kept.current() == "second"
    assert caplog.messages[6:] == [f"{file} can be read again, after 60 s"]


def test_a_password_without_a_file_stays(clock: Clock) -> None:
    kept = Passwords(Credentials("shop", "sesame"), clock)
    assert kept.current() == "sesame"
    assert not kept.refused("sesame")


@pytest.mark.parametrize("store", STORES)
def test_the_authority_of_a_store_is_its_own_or_that_of_the_process(store: Store, tmp_path: Path) -> None:
    own, common = tmp_path / "own.crt", tmp_path / "common.crt"
    for path in (own, common):
        path.touch()
    certificate = {"RECMESH_TLS_CERTIFICATE": "/tls.crt", "RECMESH_TLS_KEY": "/tls.key", "RECMESH_TLS_CA": str(common)}
    shown = TlsFiles(certificate=Path("/tls.crt"), key=Path("/tls.key"), ca=common)
    ours = {f"RECMESH_{store}_CA": str(own)}

    assert Credentials.from_environment(store, {}).tls is None
    assert Credentials.from_environment(store, ours).tls == TlsFiles(ca=own)
    assert Credentials.from_environment(store, certificate).tls == shown
    assert Credentials.from_environment(store, {**certificate, **ours}).tls == replace(shown, ca=own)
    of_services = {**certificate, "RECMESH_TLS_SERVER_NAME": "shop"}
    assert Credentials.from_environment(store, of_services).tls == shown
