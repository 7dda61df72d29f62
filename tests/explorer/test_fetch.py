"""The page of `as` for people, and the fetch example of docs/http.md, in a browser."""

import functools
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from local.ports import free_ports
from recmesh.contract import HTTP_PORTS
from tests.calls import AS
from tests.mesh.test_http import examples
from tests.processes import running
from tests.shop import Shop


@contextmanager
def site(folder: Path) -> Iterator[str]:
    """A web site of its own origin, with an empty page."""
    (folder / "index.html").write_text("<!doctype html><title>shop</title>")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_page_of_a_named_origin_fetches_recommendations(browser: Browser, trained_shop: Shop, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    (example,) = examples("javascript")
    script = example.replace(f":{HTTP_PORTS['as']}/", f":{port}/")
    user_id = trained_shop.user_ids[0]
    with site(tmp_path) as shop, site(tmp_path) as stranger:
        settings = {"RECMESH_AS_HTTP_PORT": str(port), "RECMESH_HTTP_ORIGINS": shop}
        with running("compact", {**trained_shop.environment, **settings}) as service:
            page = browser.new_page()
            page.goto(shop)
            page.add_script_tag(content=script)
            expected = AS.call(service.target("as"), AS.request(user_id=user_id, size=3))
            assert page.evaluate("recommend", user_id) == [item.sku_id for item in expected.item_infos]
            with pytest.raises(Exception, match="invalid_argument: user_id: an id has 129 bytes: at most 128"):
                page.evaluate("recommend", "x" * 129)

            page.goto(stranger)
            page.add_script_tag(content=script)
            with pytest.raises(Exception, match="Failed to fetch"):
                page.evaluate("recommend", user_id)
            page.close()


def test_the_page_for_people_describes_every_message(page: Page, trained_shop: Shop) -> None:
    (port,) = free_ports(1)
    with running("compact", {**trained_shop.environment, "RECMESH_AS_HTTP_PORT": str(port)}):
        page.goto(f"http://127.0.0.1:{port}/")
        expect(page.get_by_role("heading", name="/as.ASService/as_call")).to_be_visible()
        page.get_by_role("link", name="as.ASResponse").first.click()
        expect(page.get_by_role("heading", name="as.ASResponse", exact=True)).to_be_in_viewport()
        expect(page.get_by_role("cell", name="Best first.")).to_be_visible()
        page.get_by_role("link", name="healthz").click()
        expect(page.locator("body")).to_contain_text("SERVING")
