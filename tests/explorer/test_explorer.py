"""The pages of the explorer."""

import re
from http.client import HTTPConnection
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from local.ports import free_ports
from recmesh.client import Targets, sync
from recmesh.client.sync import Mesh
from tests.explorer.conftest import TWIN, Explorer, running_explorer
from tests.processes import NAMES, Service, port_variables
from tests.shop import Shop

PROFILE = {"age": "5.0", "sex": "1.0", "city_level": "3.0"}


@pytest.fixture(scope="module")
def mesh(targets: Targets) -> Mesh:
    """The client, to compare with what the pages show."""
    return sync.Mesh(targets)


def listed(within: Page | Locator, name: str = "The list") -> list[str]:
    """The ids in the table with a name."""
    region = within.get_by_role("region", name=name)
    expect(region).to_be_visible()
    return region.locator("tbody tr").get_by_role("link").all_inner_texts()


def rows(page: Page) -> Locator:
    return page.locator("#rows tbody tr")


def test_a_known_user_is_typed_and_the_list_is_that_of_as(
    page: Page, explorer: Explorer, mesh: Mesh, trained_shop: Shop
) -> None:
    user_id = trained_shop.user_ids[0]
    page.goto(explorer.url)
    page.get_by_label("User", exact=True).fill(user_id)
    page.keyboard.press("Enter")
    expect(page.get_by_text(f"User {user_id}. Release {trained_shop.store.active()}, ")).to_be_visible()

    answer, user = mesh.recommend(user_id, size=10, explain=True), mesh.um(user_id)
    assert listed(page) == [item.sku_id for item in answer.items]
    first = page.get_by_role("region", name="The list").locator("tbody tr").first
    assert re.findall(r"[a-z_]{3,}", first.locator("td").nth(2).inner_text()) == list(answer.reasons[0])
    assert first.locator("td").nth(4).inner_text() == f"{answer.items[0].rank_score:.4f}"

    profile = page.get_by_role("region", name="Profile")
    names, values = profile.locator("dt").all_inner_texts(), profile.locator("dd").all_inner_texts()
    assert dict(zip(names, values, strict=True)) == dict(user.profile)
    history = page.get_by_role("region", name="History").locator("tbody a").all_text_contents()
    assert history == list(user.history.sku_ids[:100])
    stages = page.get_by_role("figure", name="Times of the stages").locator("text").all_text_contents()
    assert [stage for name in NAMES for stage in stages if re.fullmatch(rf"{name} [\d.]+ ms", stage)] != []
    assert {stage.split()[0] for stage in stages if stage.endswith(" ms")} >= {"um", "recall", "rank", "cm"}


def test_a_user_of_the_report_is_picked(page: Page, explorer: Explorer) -> None:
    page.goto(explorer.url)
    picked = page.locator(".people").get_by_role("link").first
    user_id = picked.inner_text()
    picked.click()
    expect(page.get_by_label("User", exact=True)).to_have_value(user_id)
    assert len(listed(page)) == 10


def test_a_new_user_has_a_profile(page: Page, explorer: Explorer, mesh: Mesh) -> None:
    page.goto(explorer.url)
    page.get_by_label("Profile").fill("\n".join(f"{name}={value}" for name, value in PROFILE.items()))
    page.get_by_label("Items", exact=True).fill("7")
    page.get_by_role("button", name="Recommend").click()
    expect(page.get_by_text("New user, by profile.")).to_be_visible()
    assert listed(page) == [item.sku_id for item in mesh.recommend(profile=PROFILE, size=7).items]


def test_a_pasted_history_counts_and_is_not_stored(
    page: Page, explorer: Explorer, mesh: Mesh, trained_shop: Shop
) -> None:
    user_id, other = trained_shop.user_ids[:2]
    before, pasted = mesh.um(user_id), mesh.um(other).history
    lines = [f"{sku_id},{kind}" for sku_id, kind in zip(pasted.sku_ids, pasted.types, strict=True)]
    page.goto(explorer.url)
    page.get_by_label("User", exact=True).fill(user_id)
    page.get_by_label("History, one item").fill("\n".join(lines))
    page.get_by_role("button", name="Recommend").click()
    expect(page.get_by_text(f"User {user_id}, with a pasted history that is not stored.")).to_be_visible()
    shown = page.get_by_role("region", name="History").locator("tbody a").all_text_contents()
    assert shown == list(pasted.sku_ids[:100])
    assert listed(page) != [item.sku_id for item in mesh.recommend(user_id, size=10).items]
    assert mesh.um(user_id) == before


def test_new_items_only_says_what_it_left_out(page: Page, explorer: Explorer, mesh: Mesh, trained_shop: Shop) -> None:
    user_id = trained_shop.user_ids[0]
    page.goto(f"{explorer.url}/?user={user_id}")
    page.get_by_label("Leave out").fill(listed(page)[0])
    page.get_by_label("New items only").check()
    page.get_by_role("button", name="Recommend").click()
    expect(page.get_by_text("the request leaves them out")).to_be_visible()
    group = page.get_by_role("group").filter(has_text="already in the history")
    group.locator("summary").click()
    owned = set(group.get_by_role("listitem").get_by_role("link").all_inner_texts())
    assert owned == set(mesh.um(user_id).history.sku_ids[:100])
    assert owned.isdisjoint(listed(page))


def test_candidates_are_filtered_by_channel_and_category(
    page: Page, explorer: Explorer, mesh: Mesh, trained_shop: Shop
) -> None:
    user_id = trained_shop.user_ids[0]
    candidates = mesh.recall(mesh.um(user_id), size=400).candidates
    page.goto(f"{explorer.url}/?user={user_id}")
    page.get_by_label("Channel", exact=True).select_option("neighbours")
    proposed = [candidate.sku_id for candidate in candidates if "neighbours" in candidate.channels]
    expect(page.get_by_text(f"of {len(proposed)} matching candidates")).to_be_visible()
    assert rows(page).get_by_role("link").all_inner_texts() == proposed[:50]

    page.get_by_label("Category", exact=True).select_option(index=1)
    name, value = page.get_by_label("Category", exact=True).input_value().split("=")
    expect(page).to_have_url(re.compile(f"category={name}"))
    items = mesh.cm(proposed).found
    matching = [item.sku_id for item in items if item.fields.get(name) == value]
    expect(page.get_by_text(f"of {len(matching)} matching candidates")).to_be_visible()
    assert rows(page).get_by_role("link").all_inner_texts() == matching[:50]


def test_an_item_shows_its_features(page: Page, explorer: Explorer, trained_shop: Shop) -> None:
    page.goto(f"{explorer.url}/?user={trained_shop.user_ids[0]}")
    first = listed(page)[0]
    page.get_by_role("region", name="The list").get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(first)
    assert "in the list at 1" in page.locator("dd").all_inner_texts()
    features = page.get_by_role("table", name="Inputs of the ranker").locator("tbody td:first-child").all_inner_texts()
    assert "tower" in features


def test_two_users_and_two_releases_side_by_side(page: Page, explorer: Explorer, trained_shop: Shop) -> None:
    one, two = trained_shop.user_ids[:2]
    page.goto(f"{explorer.url}/compare")
    left, right = page.get_by_role("group", name="Left"), page.get_by_role("group", name="Right")
    left.get_by_label("User", exact=True).fill(one)
    right.get_by_label("User", exact=True).fill(two)
    page.get_by_role("button", name="Compare").click()
    lists = [listed(page, f"List, {side}") for side in ("Left", "Right")]
    expect(page.get_by_text(f"{len(set(lists[0]) & set(lists[1]))} items are in both lists.")).to_be_visible()

    right.get_by_label("User", exact=True).fill(one)
    right.get_by_label("Release").select_option(TWIN)
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_text("10 items are in both lists.")).to_be_visible()
    assert listed(page, "List, Left") == listed(page, "List, Right")
    expect(page.get_by_role("region", name="Right").get_by_text("This release is not the active one")).to_be_visible()


def test_items_are_found_by_text_while_typing(page: Page, explorer: Explorer, mesh: Mesh, trained_shop: Shop) -> None:
    sku_id = trained_shop.sku_ids[0]
    fields = mesh.cm([sku_id]).found[0].fields
    page.goto(explorer.url)
    page.get_by_role("link", name="Items").click()
    page.get_by_label("Words of the id").press_sequentially(" ".join([sku_id, *fields.values()]))
    link = page.locator("#found").get_by_role("link", name=sku_id, exact=True)
    expect(link).to_be_visible()
    link.click()
    assert set(fields.values()) < set(page.locator("dd").all_inner_texts())
    page.get_by_role("link", name="Recommend with this item as the history").click()
    expect(page.get_by_text("New user, with a pasted history that is not stored.")).to_be_visible()
    assert len(listed(page)) == 10


def test_the_report_of_the_release_is_a_link_away(page: Page, explorer: Explorer, trained_shop: Shop) -> None:
    page.goto(explorer.url)
    page.get_by_role("link", name="Report of").click()
    expect(page.get_by_text(str(trained_shop.store.active())).first).to_be_visible()
    assert page.url == f"{explorer.url}/report/{trained_shop.store.active()}"


def test_the_keyboard_reaches_everything(page: Page, explorer: Explorer, trained_shop: Shop) -> None:
    page.goto(f"{explorer.url}/?user={trained_shop.user_ids[0]}")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    reached = ["Explore", "Compare", "Items", "Report"]
    for name in reached:
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name=re.compile(f"^{name}"))).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("User", exact=True)).to_be_focused()
    unnamed = page.locator("input:not([type=hidden]), select, textarea").evaluate_all(
        "inputs => inputs.filter(input => !input.labels.length).map(input => input.name)"
    )
    assert unnamed == []


def test_the_page_is_light_or_dark_like_the_system(browser: Browser, explorer: Explorer) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        with browser.new_context(color_scheme=scheme) as context:
            page = context.new_page()
            page.goto(explorer.url)
            colours[scheme] = page.locator("body").evaluate("body => getComputedStyle(body).backgroundColor")
    assert colours == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 26)"}


def test_wrong_values_are_one_line(page: Page, explorer: Explorer) -> None:
    page.goto(f"{explorer.url}/?profile=age")
    expect(page.get_by_role("alert")).to_have_text("Profile 'age': write one name=value a line, such as age=30-34")


def test_an_unknown_user_is_a_new_one(page: Page, explorer: Explorer) -> None:
    page.goto(f"{explorer.url}/?user=nobody-has-this-id")
    expect(page.get_by_text("User nobody-has-this-id is not stored: a new user.")).to_be_visible()
    assert len(listed(page)) == 10


@pytest.mark.parametrize(
    ("method", "host", "status"),
    [("GET", "127.0.0.1", 200), ("GET", "shop.example", 400), ("POST", "127.0.0.1", 405)],
)
def test_it_only_reads_and_answers_to_its_own_name_alone(
    explorer: Explorer, method: str, host: str, status: int
) -> None:
    connection = HTTPConnection("127.0.0.1", explorer.port)
    connection.request(method, "/", headers={"Host": host})
    assert connection.getresponse().status == status
    connection.close()


def test_missing_parts_are_named(page: Page, compact: Service, trained_shop: Shop, tmp_path: Path) -> None:
    ports = {name: compact.ports[name] for name in NAMES} | {"rank": free_ports(1)[0]}
    environment = {**port_variables(ports), "RECMESH_MODEL_STORE": str(tmp_path)}
    with running_explorer(environment, ready=False) as explorer:
        page.goto(f"{explorer.url}/?user={trained_shop.user_ids[0]}")
        expect(page.get_by_text("Degraded: rank (rank did not answer")).to_be_visible()
        assert len(listed(page)) == 10


def test_a_mesh_that_is_down_is_one_line(page: Page, tmp_path: Path) -> None:
    ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
    with running_explorer({**port_variables(ports), "RECMESH_MODEL_STORE": str(tmp_path)}, ready=False) as explorer:
        page.goto(f"{explorer.url}/?user=1")
        expect(page.get_by_role("alert")).to_contain_text("The mesh does not answer")
        expect(page.get_by_role("alert")).to_contain_text(f"recall 127.0.0.1:{ports['recall']}")
