"""A shop whose stores speak TLS and know the users of recmesh alone: everything works, and nothing is refused."""

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from local.ports import free_ports
from recmesh.contract import TRENDING
from recmesh.pb.as_pb2 import ASRequest, ASResponse
from recmesh.pb.cm_pb2 import CMRequest
from recmesh.pb.feed_pb2 import (
    Action,
    DeleteUserRequest,
    ItemUpdate,
    PutItemsRequest,
    PutUsersRequest,
    RecordActionsRequest,
    RemoveItemsRequest,
    SetAvailabilityRequest,
    UserUpdate,
)
from recmesh.pb.um_pb2 import UserModelRequest
from recmesh.stores.acl import USERS, users_file
from tests.calls import AS, CM, DELETE_USER, PUT_ITEMS, PUT_USERS, RECORD_ACTIONS, REMOVE_ITEMS, SET_AVAILABILITY, UM
from tests.certificates import Authority, Files
from tests.mesh.conftest import ids
from tests.processes import NAMES, Service, running
from tests.servers import MilvusServer, SecuredRedis, start_milvus, start_secured_redis, wait_until
from tests.shop import Shop, ids_in, run
from tests.waiting import eventually

TESTER = "user tester on >tester ~* &* +@all\n"


@dataclass(frozen=True)
class SecuredShop(Shop):
    """A shop whose stores need a certificate, a user and a password.

    Attributes:
        secrets: The certificate of everybody, and the passwords.
    """

    secrets: Path

    @property
    def environment(self) -> dict[str, str]:
        """The settings of an ingestion."""
        return self.environment_of("ingest", "ingest")

    def environment_of(self, user: str, milvus_user: str) -> dict[str, str]:
        """The settings of a process, with its users. Its servers take plain connections as well."""
        files = {name: str(self.secrets / name) for name in (f"redis-{user}", f"milvus/{milvus_user}", "milvus/root")}
        return {
            **super().environment,
            **Files(self.secrets).settings(),
            "RECMESH_TLS_ACCEPT_PLAIN": "true",
            "RECMESH_REDIS_USERNAME": user,
            "RECMESH_REDIS_PASSWORD_FILE": files[f"redis-{user}"],
            "RECMESH_MILVUS_USERNAME": milvus_user,
            "RECMESH_MILVUS_PASSWORD_FILE": files[f"milvus/{milvus_user}"],
            **({"RECMESH_MILVUS_ROOT_PASSWORD_FILE": files["milvus/root"]} if user == "ingest" else {}),
        }

    @property
    def archive(self) -> Path:
        """The archive of the log."""
        return self.folder / "archive"

    def archive_log(self) -> None:
        """Run the job."""
        command = [sys.executable, "-m", "jobs.archive", "--archive", str(self.archive), "--keep", "0"]
        run(command, self.environment_of("archive", "recall"))

    def refusals(self) -> list[object]:
        """The commands that Redis has refused."""
        with self.tester() as tester:
            return list(tester.acl_log())

    def tester(self) -> "redis.Redis":
        """A client that may do everything."""
        assert isinstance(self.redis, SecuredRedis)
        return redis.Redis.from_url(self.redis.socket, username="tester", password="tester")  # noqa: S106


@pytest.fixture(scope="module")
def shop(training_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredShop]:
    """The trained shop, ingested into stores of its own. Redis held data of version 0.1.0 before."""
    folder = tmp_path_factory.mktemp("secured")
    authority = Authority()
    secrets = folder / "secrets"
    authority.issue().write(secrets, authority.certificate)
    (secrets / "milvus").mkdir()
    for user in USERS:
        (secrets / f"redis-{user}").write_text(f"{user}-password")
    for milvus_user in ("root", "recall", "ingest"):
        (secrets / "milvus" / milvus_user).write_text(f"{milvus_user}-password")
    users = users_file({user: [f"{user}-password"] for user in USERS}) + TESTER
    with ExitStack() as stack:
        store = start_secured_redis(folder / "redis", users, secrets)
        stack.callback(store.stop)
        with redis.Redis.from_url(store.socket, username="tester", password="tester") as tester:  # noqa: S106
            tester.hset("ingest:redis", "owner", "0.1.0")
            tester.mset({"user:old": b"\n\x03old", "item:old": b"\n\x03old"})
        milvus: MilvusServer = start_milvus(folder / "milvus", certificates=secrets)
        stack.callback(milvus.kill)
        data = shutil.copytree(training_folder, folder / "shop") / "data"
        people, items = ids_in(data / "users.dat"), ids_in(data / "products.dat")
        made = SecuredShop(folder / "shop", store, milvus, people, items, secrets)
        made.ingest()
        yield made


def recommend(services: Mapping[str, Service], user_id: str, **request: Any) -> ASResponse:
    return AS.call(services["as"].target("as"), ASRequest(user_id=user_id, size=20, **request))


def start(stack: ExitStack, shop: SecuredShop, names: Mapping[str, str]) -> dict[str, Service]:
    """Start services, each with its users."""
    ports = dict(zip((*NAMES, "feed"), free_ports(len(NAMES) + 1), strict=True))
    services = {
        name: stack.enter_context(running(name, shop.environment_of(user, "recall"), ports, ready=False))
        for name, user in names.items()
    }
    for name, service in services.items():
        served = NAMES if name == "compact" else (name,)
        wait_until(lambda: all(map(service.serving, served)), service, name)  # noqa: B023  # called at once
    return {**dict.fromkeys(NAMES, next(iter(services.values()))), **services}


@pytest.mark.parametrize("mode", ["compact", "apart"])
def test_every_service_and_job_has_what_it_needs(mode: str, shop: SecuredShop) -> None:
    names = {"compact": ("compact",), "apart": NAMES}[mode]
    # rank and `as` use no store; any user will do for their settings, which they do not read.
    users = {name: name if name in ("um", "cm", "recall", "compact") else "probe" for name in names}
    with ExitStack() as stack:
        services = start(stack, shop, {**users, "feed": "feed"})
        change(services, shop, f"{mode}-user")
        shop.archive_log()
        shop.ingest("--archive", str(shop.archive), "--only", "redis")
        shop.archive_log()

    assert shop.refusals() == []


def change(services: Mapping[str, Service], shop: SecuredShop, user_id: str) -> None:
    """Let feed change everything that it can change, and wait until the others answer by it."""
    feed = services["feed"].target("feed")
    first, second = shop.sku_ids[:2]
    known = shop.user_ids[0]
    assert len(ids(recommend(services, known))) == 20

    actions = [Action(user_id=user_id, sku_id=first, event_id="1"), Action(user_id=user_id, sku_id=second)]
    assert RECORD_ACTIONS.call(feed, RecordActionsRequest(actions=actions)).accepted == 2
    PUT_USERS.call(feed, PutUsersRequest(users=[UserUpdate(user_id=user_id, fields={"age": "3"})]))
    user = UserModelRequest(user_id=user_id)
    eventually(
        lambda: set(UM.call(services["um"].target("um"), user).history.sku_ids) == {first, second},
        lambda: UM.call(services["um"].target("um"), user),
    )
    PUT_ITEMS.call(feed, PutItemsRequest(items=[ItemUpdate(sku_id="of-feed", fields={"brand": "b"})]))
    item = CMRequest(item_ids=["of-feed"])
    eventually(lambda: len(CM.call(services["cm"].target("cm"), item).item_infos) == 1, lambda: item)
    for available in (False, True):
        SET_AVAILABILITY.call(feed, SetAvailabilityRequest(sku_ids=[first], available=available))
    eventually(
        lambda: {first, second} <= set(ids(recommend(services, "", scenario=TRENDING))),
        lambda: recommend(services, "", scenario=TRENDING),
    )
    REMOVE_ITEMS.call(feed, RemoveItemsRequest(sku_ids=["of-feed"]))
    DELETE_USER.call(feed, DeleteUserRequest(user_id=user_id))
    eventually(
        lambda: not UM.call(services["um"].target("um"), user).HasField("user_info"),
        lambda: UM.call(services["um"].target("um"), user),
    )


def test_the_data_of_version_0_1_0_are_replaced(shop: SecuredShop) -> None:
    with shop.tester() as tester:
        assert tester.exists("ingest:redis", "user:old", "item:old") == 0
        assert tester.exists(f"recmesh:item:{shop.sku_ids[0]}") == 1


def test_commands_of_an_operator_reach_milvus(shop: SecuredShop) -> None:
    output = run([sys.executable, "-m", "recmesh", "release", "prune"], shop.environment)
    assert output == "deleted: nothing\n"
    listed = run([sys.executable, "-m", "recmesh", "release", "list", "--json"], shop.environment)
    active = [release["id"] for release in json.loads(listed) if release["active"]]
    run([sys.executable, "-m", "recmesh", "release", "activate", *active], shop.environment)
