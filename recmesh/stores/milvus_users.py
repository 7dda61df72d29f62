"""The users of Milvus, each with a role that has what it needs, and the password of root.

Milvus begins with a user root whose password everybody knows. An ingestion that gets the passwords sets all of them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import grpc
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException

from recmesh.contract import without_credentials
from recmesh.errors import SettingsError, Unavailable
from recmesh.stores.credentials import Credentials, read_password
from recmesh.stores.milvus import is_file
from recmesh.stores.milvus_writer import connect, errors
from recmesh.tls import TlsFiles

ROOT_PASSWORD_FILE = "RECMESH_MILVUS_ROOT_PASSWORD_FILE"  # noqa: S105
"""Names the file with the password of root. The passwords of other users are in the same folder, a file for each."""

PRIVILEGES: Mapping[str, frozenset[tuple[str, str]]] = {
    "recall": frozenset({("Collection", "Search")}),
    "ingest": frozenset(
        {
            *(("Global", name) for name in ("CreateCollection", "DropCollection")),
            *(
                ("Collection", name)
                for name in (
                    *("CreateIndex", "DropIndex", "Flush", "GetFlushState", "GetLoadingProgress", "Insert"),
                    *("Load", "Query", "Release", "Search", "Upsert"),
                )
            ),
        }
    ),
}
"""What each role allows, by the kind of object. Every user may also look up collections and their segments."""

_ROOT = "root"
_FIRST_PASSWORD = "Milvus"  # noqa: S105  # of every new Milvus
_ALL = "*"
_MIN_LENGTH, _MAX_BYTES = 6, 72


def ensure_users(uri: str, root_file: Path, tls: TlsFiles | None = None) -> list[str]:
    """Set the passwords of root and of the users of recmesh, and what they may do.

    Args:
        uri: `https://host:port` or `http://host:port`.
        root_file: Contains the password of root. In the same folder, the password of each other user is in a file with
            the user's name; a user without a file is left as it is. While the password of root changes,
            `<root_file>.old` contains the former one.
        tls: The files of TLS.

    Returns:
        What has changed, a line each.

    Raises:
        SettingsError: A file cannot be read, or a password has less than 6 characters or more than 72 bytes.
        Unavailable: If Milvus does not answer, or accepts no password of root.
    """
    if is_file(uri):
        raise SettingsError(f"{ROOT_PASSWORD_FILE} is set, but milvus-lite has no users: unset it")
    passwords = {user: _password(file) for user in PRIVILEGES if (file := root_file.parent / user).exists()}
    with _as_root(uri, root_file, tls) as (root, of_root):
        changes = [*of_root]
        for user, password in passwords.items():
            with errors(without_credentials(uri), f"set up the user {user}"):
                changes.extend(_grant(root, user))
                if not _accepted(uri, Credentials(user, password, tls=tls)):
                    _set_password(root, user, password)
                    changes.append(f"password of {user} set")
                root.grant_role(user, user)
        return changes


@contextmanager
def _as_root(uri: str, file: Path, tls: TlsFiles | None) -> Iterator[tuple[MilvusClient, list[str]]]:
    """A client of root, and what had to change for it to have the password of the file."""
    password, old = _password(file), file.with_name(f"{file.name}.old")
    former = [_password(old)] if old.exists() else []
    credentials = Credentials(_ROOT, password, tls=tls)
    changes = []
    if not _accepted(uri, credentials):
        for tried in (*former, _FIRST_PASSWORD):
            if _accepted(uri, Credentials(_ROOT, tried, tls=tls)):
                with (
                    _client(uri, Credentials(_ROOT, tried, tls=tls)) as client,
                    errors(uri, "set the password of root"),
                ):
                    client.update_password(_ROOT, tried, password)
                changes.append("password of root set")
                break
        else:
            raise Unavailable(
                f"Milvus {without_credentials(uri)}: root has another password than that of {ROOT_PASSWORD_FILE}: "
                f"write the one that it has into {old}"
            )
    with _client(uri, credentials) as client:
        yield client, changes


@contextmanager
def _client(uri: str, credentials: Credentials) -> Iterator[MilvusClient]:
    client = connect(uri, credentials)
    try:
        yield client
    finally:
        client.close()


def _accepted(uri: str, credentials: Credentials) -> bool:
    """Whether Milvus accepts a password."""
    try:
        with _client(uri, credentials):
            return True
    except Unavailable as error:
        cause = error.__cause__.__cause__ if isinstance(error.__cause__, MilvusException) else error.__cause__
        if isinstance(cause, grpc.RpcError) and cause.code() is grpc.StatusCode.UNAUTHENTICATED:
            return False
        raise


def _grant(root: MilvusClient, role: str) -> list[str]:
    """Give a role what it needs and nothing more."""
    if role not in root.list_roles():
        root.create_role(role)
    granted = {(each["object_type"], each["privilege"]) for each in root.describe_role(role)["privileges"]}
    for kind, privilege in sorted(PRIVILEGES[role] - granted):
        root.grant_privilege(role, kind, privilege, _ALL)
    for kind, privilege in sorted(granted - PRIVILEGES[role]):
        root.revoke_privilege(role, kind, privilege, _ALL)
    return [f"privileges of {role} set"] if granted != PRIVILEGES[role] else []


def _set_password(root: MilvusClient, user: str, password: str) -> None:
    if user not in root.list_users():
        root.create_user(user, password)
        return
    try:
        root.update_password(user, "", password)
    except MilvusException:  # root is not one of Milvus' common.security.superUsers
        root.drop_user(user)
        root.create_user(user, password)


def _password(file: Path) -> str:
    password = read_password(str(file), file)
    if len(password) < _MIN_LENGTH or len(password.encode()) > _MAX_BYTES:
        raise SettingsError(f"{file}: Milvus takes passwords of {_MIN_LENGTH} characters to {_MAX_BYTES} bytes")
    return password
