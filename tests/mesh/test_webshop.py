"""The web shop of examples/webshop on a running mesh, over HTTP."""

import base64
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.ports import free_ports
from recmesh.client import History, RecmeshError, Targets, sync
from tests.processes import Service, port_variables, running
from tests.servers import ROOT, MilvusServer, Server, running_redis, spawn, wait_until
from tests.shop import Shop, open_shop
from tests.waiting import eventually

SIZE = 10
TOKEN = "the token of the administrator"  # noqa: S105
WEBSHOP = ROOT / "examples" / "webshop"
COMMANDS = {
    "fastapi": ["-m", "uvicorn", "--app-dir", str(WEBSHOP), "fastapi_shop:app", "--port"],
    "django": [str(WEBSHOP / "django_shop.py"), "runserver", "--noreload"],
}
COOKIES = {"fastapi": "session", "django": "sessionid"}
_numbers = itertools.count()


@dataclass(frozen=True)
class Mesh:
    """A mesh with a shop of its own, and a client."""

    shop: Shop
    compact: Service
    feed: Service
    client: sync.Mesh

    @property
    def variables(self) -> dict[str, str]:
        """The targets of its services."""
        return port_variables(self.compact.ports) | {"RECMESH_FEED_TARGET": self.feed.target("feed")}

    def listed(self, user_id: str = "", history: History | None = None, exclude: tuple[str, ...] = ()) -> list[str]:
        """What `as` recommends."""
        answer = self.client.recommend(user_id, size=SIZE, history=history, exclude=exclude)
        assert not answer.degraded
        return [item.sku_id for item in answer.items]

    def history(self, user_id: str) -> list[tuple[str, str]]:
        """The items and types of a user's stored actions, newest first; none for an unknown user."""
        try:
            history = self.client.um(user_id).history
        except RecmeshError:
            return []
        return list(zip(history.sku_ids, history.types, strict=True))


@dataclass(frozen=True)
class Web:
    """A running web shop."""

    kind: str
    url: str

    def visitor(self) -> httpx.Client:
        """A new visitor without cookies."""
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def session(self, visitor: httpx.Client) -> Any:
        """What the cookie of a visitor holds."""
        payload = visitor.cookies[COOKIES[self.kind]].strip('"')
        packed = payload.startswith(".")
        content = payload.removeprefix(".").replace(":", ".").split(".")[0]
        data = base64.urlsafe_b64decode(content + "=" * (-len(content) % 4))
        return json.loads(zlib.decompress(data) if packed else data)


@pytest.fixture(scope="module")
def mesh(
    training_folder: Path, milvus_server: MilvusServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mesh]:
    with running_redis() as redis:
        shop = open_shop(training_folder, tmp_path_factory.mktemp("webshop"), redis, milvus_server)
        with running("compact", shop.environment) as compact, running("feed", shop.environment) as feed:
            variables = port_variables(compact.ports) | {"RECMESH_FEED_TARGET": feed.target("feed")}
            with sync.Mesh(Targets.from_environment(variables), timeout=60) as client:
                yield Mesh(shop, compact, feed, client)


@contextmanager
def serving(kind: str, mesh: Mesh, folder: Path, settings: Mapping[str, str]) -> Iterator[Web]:
    """Run the shop during the block."""
    (port,) = free_ports(1, exclude=[*mesh.compact.ports.values(), *mesh.feed.ports.values()])
    log = folder / f"{kind}.log"
    environment = {**mesh.variables, "PYTHONPATH": str(ROOT), "WEBSHOP_ADMIN_TOKEN": TOKEN, **settings}
    server = Server(spawn([sys.executable, *COMMANDS[kind], str(port)], log, environment), log, {"main": port})
    web = Web(kind, f"http://127.0.0.1:{port}")

    def answers() -> bool:
        try:
            return httpx.get(web.url, trust_env=False, timeout=60).status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(answers, server, kind)
        yield web
        server.signal_group(signal.SIGTERM)
        assert server.process.wait(60) in (0, -signal.SIGTERM), server.log_tail()  # uvicorn ends by the signal
        assert "Traceback" not in server.log.read_text(), server.log_tail(100)
    finally:
        server.stop()


@pytest.fixture(scope="module", params=COMMANDS)
def web(mesh: Mesh, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with serving(request.param, mesh, tmp_path_factory.mktemp("web"), {"WEBSHOP_LIST_SECONDS": "60"}) as web:
        yield web


def ids(page: httpx.Response) -> list[str]:
    """The items of a page's list."""
    assert page.status_code == 200, page.text
    assert page.json()["fallback"] is False
    return [item["sku_id"] for item in page.json()["items"]]


def act(visitor: httpx.Client, sku_id: str, kind: str, event_id: str) -> bool:
    """A visitor does something. Returns whether it was recorded."""
    answer = visitor.post("/actions", json={"sku_id": sku_id, "type": kind, "event_id": event_id})
    assert answer.status_code == 202, answer.text
    return bool(answer.json()["recorded"])


def test_a_guest_gets_the_list_for_the_actions_of_the_session(mesh: Mesh, web: Web) -> None:
    ordered, viewed = mesh.shop.sku_ids[3:5]
    with web.visitor() as guest:
        first = ids(guest.get("/"))
        assert first == mesh.listed()
        assert not act(guest, ordered, "order", "e1")
        assert not act(guest, viewed, "view", "e2")
        assert not act(guest, ordered, "order", "e1")  # a second click
        actions = web.session(guest)["actions"]
        assert [action[:3] for action in actions] == [["e2", viewed, "view"], ["e1", ordered, "order"]]
        times = tuple(action[3] for action in actions)
        history = History((viewed, ordered), times, ("view", "order"), (1.0, 1.0))
        expected = mesh.listed(history=history)
        assert ids(guest.get("/")) == expected
        assert expected != first
        page = guest.get(f"/products/{ordered}")
        assert ids(page) == mesh.listed(history=history, exclude=(ordered,))
        (item,) = mesh.client.cm([ordered]).found
        assert page.json()["product"] == {"sku_id": ordered, **item.fields}
        for number in range(30):
            act(guest, mesh.shop.sku_ids[number], "view", f"many-{number}")
        assert [action[0] for action in web.session(guest)["actions"]] == [f"many-{n}" for n in range(29, 14, -1)]
    with web.visitor() as other:
        assert ids(other.get("/")) == first


def test_what_a_guest_did_becomes_the_history_of_the_user(mesh: Mesh, web: Web) -> None:
    user_id, (a, b, c) = f"user of {web.kind}", mesh.shop.sku_ids[10:13]
    with web.visitor() as visitor:
        act(visitor, a, "view", "g1")
        act(visitor, b, "cart", "g2")
        assert visitor.post("/login", json={"user_id": user_id}).json() == {"recorded": True}
        assert "actions" not in web.session(visitor)
        assert act(visitor, c, "order", "u1")
        assert act(visitor, c, "order", "u1")  # the request was repeated
        expected = [(c, "order"), (b, "cart"), (a, "view")]
        eventually(lambda: sorted(mesh.history(user_id)) == sorted(expected), lambda: mesh.history(user_id))
        assert mesh.history(user_id) == expected
        assert ids(visitor.get("/")) == mesh.listed(user_id)
        assert mesh.listed(user_id) != mesh.listed()


def test_a_product_that_is_sold_out_is_in_no_list(mesh: Mesh, web: Web) -> None:
    token = {"X-Admin-Token": TOKEN}
    with web.visitor() as visitor:
        before = ids(visitor.get("/"))
        stock, product = f"/admin/stock/{before[0]}", f"/products/{before[0]}"
        for headers in ({}, {"X-Admin-Token": "guess"}):
            assert visitor.put(stock, json={"available": False}, headers=headers).status_code == 403
        assert visitor.put(stock, json={"available": False}, headers=token).json() == {"accepted": 1}
        eventually(lambda: before[0] not in ids(visitor.get("/")), lambda: visitor.get("/").text)
        eventually(lambda: visitor.get(product).status_code == 404, lambda: visitor.get(product).text)
        assert len(ids(visitor.get("/"))) == SIZE
        assert visitor.put(stock, json={"available": True}, headers=token).json() == {"accepted": 1}
        eventually(lambda: ids(visitor.get("/")) == before, lambda: visitor.get("/").text)


def test_products_are_created_and_bad_input_is_explained(mesh: Mesh, web: Web) -> None:
    token, new = {"X-Admin-Token": TOKEN}, f"new/of {web.kind}"
    (known,) = mesh.client.cm([mesh.shop.sku_ids[0]]).found
    with web.visitor() as visitor:
        page = f"/products/{new}"
        assert visitor.get(page).status_code == 404
        created = visitor.put(f"/admin/products/{new}", json=dict(known.fields), headers=token)
        assert created.json() == {"accepted": 1}
        eventually(lambda: visitor.get(page).status_code == 200, lambda: visitor.get(page).text)
        assert visitor.get(page).json()["product"] == {"sku_id": new, **known.fields}
        unknown = visitor.put(f"/admin/products/{new}", json={"colour": "red"}, headers=token)
        assert unknown.status_code == 422
        assert "colour" in unknown.json()["detail"]
        bad: list[tuple[str, str, Any]] = [
            ("POST", "/actions", {"sku_id": "a", "type": "steal", "event_id": "e"}),
            ("POST", "/actions", {"sku_id": "", "type": "view", "event_id": "e"}),
            ("POST", "/actions", {"sku_id": "a" * 65, "type": "view", "event_id": "e"}),
            ("POST", "/actions", ["view"]),
            ("POST", "/login", {}),
            ("PUT", f"/admin/stock/{new}", {"available": "perhaps"}),
            ("PUT", f"/admin/products/{new}", {"brand": 7}),
            ("PUT", f"/admin/products/{'x' * 129}", {"brand": "7"}),
        ]
        for method, path, body in bad:
            answer = visitor.request(method, path, json=body, headers=token)
            assert answer.status_code == 422, (method, path, body, answer.text)
        assert visitor.post("/actions", content=b"{", headers={"content-type": "application/json"}).status_code == 422


@pytest.mark.parametrize("kind", COMMANDS)
def test_the_pages_stay_while_recmesh_does_not_answer(mesh: Mesh, kind: str, tmp_path: Path) -> None:
    user_id, sku_id = f"patient user of {kind}", mesh.shop.sku_ids[20]
    with serving(kind, mesh, tmp_path, {"WEBSHOP_LIST_SECONDS": "1"}) as web, web.visitor() as visitor:
        eventually(lambda: visitor.get("/").json()["fallback"] is False, lambda: visitor.get("/").text)
        popular = ids(visitor.get("/"))
        assert visitor.post("/login", json={"user_id": user_id}).json() == {"recorded": True}
        with stopped(mesh.compact):
            page = visitor.get("/")
            assert page.status_code == 200
            assert page.json()["fallback"] is True
            assert [item["sku_id"] for item in page.json()["items"]] == popular
            assert visitor.get(f"/products/{sku_id}").status_code == 503
        with stopped(mesh.feed):
            assert act(visitor, sku_id, "order", "order-1") is False
        eventually(lambda: act(visitor, sku_id, "order", "order-1"), lambda: "not recorded")
        eventually(lambda: len(mesh.history(user_id)) > 0, lambda: "no history")
        assert mesh.history(user_id) == [(sku_id, "order")]
        eventually(lambda: visitor.get("/").json()["fallback"] is False, lambda: visitor.get("/").text)


@contextmanager
def stopped(service: Service) -> Iterator[None]:
    """A service that accepts calls and does not answer them during the block."""
    service.signal_group(signal.SIGSTOP)
    try:
        yield
    finally:
        service.signal_group(signal.SIGCONT)


def visit(url: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the visitors."""
    command = [sys.executable, str(WEBSHOP / "visitors.py"), "--url", url, *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)


def test_visitors_see_no_failure_and_lists_that_change(mesh: Mesh, web: Web) -> None:
    users = ",".join(f"visitor-{next(_numbers)}" for _ in range(4))
    done = visit(web.url, "--rate", "4", "--seconds", "4", "--think", "0.1", "--users", users, "--seed", "5")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = dict(line.split(": ") for line in done.stdout.splitlines()[1:])
    sessions, requests = map(int, re.findall(r"(\d+) sessions, (\d+) requests", done.stdout)[0])
    assert sessions == 22  # of this seed
    assert lines["failures"] == "0"
    assert lines["pages with the list for failures of recmesh"] == "0"
    changed, lists = map(int, lines["lists that changed after an action"].split(" of "))
    assert sessions <= lists <= 3 * sessions
    assert requests > sessions + 3 * lists
    assert lists / 2 < changed <= lists
    p50, p99 = map(float, re.findall(r"p\d\d ([\d.]+) ms", lines["latency"]))
    assert 0 < p50 <= p99
    acted = [user_id for user_id in users.split(",") if mesh.history(user_id)]
    assert acted, "no known user came"


def test_visitors_report_failures_and_stay_on_this_machine() -> None:
    (port,) = free_ports(1)
    done = visit(f"http://127.0.0.1:{port}", "--rate", "20", "--seconds", "0.5", "--think", "0")
    assert done.returncode == 1
    assert re.search(r"failures: [1-9]\d*\n  [1-9]\d* x GET /: ConnectError\n", done.stdout), done.stdout
    refused = visit("http://shop.example")
    assert refused.returncode == 2
    assert "http://shop.example is not on this machine" in refused.stderr
