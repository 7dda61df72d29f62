"""`recmesh verify` on a mesh that breaks one promise: the checks of this promise fail, and no others."""

import asyncio
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import grpc
import pytest

from local.ports import free_ports
from recmesh.cli.verify.running import OK, Options, Result, verify
from recmesh.cli.verify.session import Place
from recmesh.client import Targets
from recmesh.contract import ServiceName
from recmesh.pb.as_pb2 import ASResponse
from recmesh.pb.um_pb2 import UserModelResponse
from tests.by_http import Answer
from tests.mesh.wrong_server import Call, HttpChange, Refusal, wrong_http_server, wrong_server
from tests.processes import Service, port_variables, running
from tests.shop import Shop

INVALID, NOT_FOUND, INTERNAL = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.INTERNAL,
)
DAY = 86_400.0


@pytest.fixture(scope="module")
def places(compact: Service, trained_shop: Shop) -> Iterator[dict[str, str]]:
    """The variables with the targets of compact and of feed."""
    with running("feed", trained_shop.environment) as feed:
        yield {**port_variables(compact.ports), "RECMESH_FEED_TARGET": feed.target("feed")}


def failures(place: Place, service: ServiceName, user_id: str) -> dict[str, str]:
    """The checks of a service that do not pass, with the reasons."""

    async def check() -> list[Result]:
        options = Options([service], [user_id], wait=0, timeout=30)
        return [result async for result in verify(options, place, print)]

    return {result.what: result.reason for result in asyncio.run(check()) if result.state != OK}


def has_pairs(call: Call, least: int) -> bool:
    """Whether the answer has so many score pairs."""
    return call.answer is not None and len(call.answer.score_pairs) >= least


def has_items(call: Call, least: int) -> bool:
    """Whether the answer has so many items."""
    return call.answer is not None and len(call.answer.item_infos) >= least


def other_user(call: Call) -> None:
    if call.answer and call.answer.error.code == 200:
        call.answer.user_info.user_id = "somebody else"


def short_column(call: Call) -> None:
    if call.answer and call.answer.history.times:
        del call.answer.history.times[-1]


def everybody_known(call: Call) -> None:
    if call.answer:
        call.answer.error.code = 200


def other_text(call: Call) -> None:
    if call.answer:
        call.answer.error.text = "no such user"


def other_status(call: Call) -> None:
    if len(call.request.user_id) == 129:
        raise Refusal(NOT_FOUND, "an id has 129 bytes: at most 128")


def no_limit_named(call: Call) -> None:
    if len(call.request.user_id) == 129:
        raise Refusal(INVALID, "too long")


def accepts_long_ids(call: Call) -> Any:
    return UserModelResponse(error={"code": 500}) if len(call.request.user_id) == 129 else None


def other_order(call: Call) -> None:
    if has_items(call, 3):
        del call.answer.item_infos[2:]
        call.answer.item_infos.reverse()


def no_missing_ids(call: Call) -> None:
    if call.answer:
        del call.answer.missing_ids[:]


def lower_limit(call: Call) -> None:
    if len(call.request.item_ids) == 2000:
        raise Refusal(INVALID, "item_ids has 2,000 entries: at most 1,000")


def pair_twice(call: Call) -> None:
    if has_pairs(call, 100):
        call.answer.score_pairs[1].nid = call.answer.score_pairs[0].nid


def nan_score(call: Call) -> None:
    if has_pairs(call, 1) and len(call.answer.score_pairs) in (1, 20, 100):
        call.answer.score_pairs[-1].score = math.nan


def worst_first(call: Call) -> None:
    if has_pairs(call, 20):
        pairs = list(call.answer.score_pairs)[::-1]
        del call.answer.score_pairs[:]
        call.answer.score_pairs.extend(pairs)


def one_too_few(call: Call) -> None:
    if call.request.request_num == 7:
        del call.answer.score_pairs[-1]


def excluded_candidate(call: Call) -> None:
    if call.request.exclude_ids and call.answer:
        call.answer.score_pairs[0].nid = call.request.exclude_ids[0]


def without_milvus(call: Call) -> None:
    if call.request.recall_type == "two_tower" and call.answer:
        call.answer.degraded.append("two_tower")


def other_column(call: Call) -> None:
    if call.request.columnar:
        call.answer.candidates.ids[0] = "another item"


def no_filter(call: Call) -> None:
    if call.answer and call.request.filter.conditions:
        call.answer.score_pairs.add(nid="another item", score=-1e9)


def other_release_hidden(call: Call) -> None:
    if call.request.release:
        del call.answer.degraded[:]


def item_left_out(call: Call) -> None:
    if has_pairs(call, 20):
        del call.answer.score_pairs[-1]


def by_position(call: Call) -> None:
    """Scores that depend on the order of the request."""
    ids = list(call.request.item_ids)
    if call.answer and len(call.answer.score_pairs) == len(ids) == 20:
        del call.answer.score_pairs[:]
        for position, sku_id in enumerate(ids):
            call.answer.score_pairs.add(nid=sku_id, score=1 - position / 20)


def item_twice(call: Call) -> None:
    if has_items(call, 50) and call.request.user_id.isdigit():
        call.answer.item_infos[1].sku_id = call.answer.item_infos[0].sku_id


def list_too_short(call: Call) -> None:
    if has_items(call, 7) and call.request.size == 7:
        del call.answer.item_infos[-1], call.answer.reasons[-1]


def infinite_score(call: Call) -> None:
    if has_items(call, 50) and call.request.user_id.isdigit():
        call.answer.item_infos[0].rank_score = math.inf


def list_worst_first(call: Call) -> None:
    if has_items(call, 50) and call.request.user_id.isdigit():
        call.answer.item_infos.reverse()


def degraded(call: Call) -> None:
    if call.answer and call.request.user_id.isdigit():
        call.answer.degraded.append("um")


def unknown_user_hidden(call: Call) -> None:
    if call.answer:
        call.answer.unknown_user = False


def other_list_for_nobody(call: Call) -> None:
    if call.request.user_id == "-1":
        call.answer.item_infos[0].sku_id = "another item"


def fields_lost(call: Call) -> None:
    if has_items(call, 1):
        call.answer.item_infos[0].ClearField("cate")


def excluded_item(call: Call) -> None:
    if call.request.exclude_ids and has_items(call, 2):
        call.answer.item_infos[0].sku_id = call.request.exclude_ids[0]


def page_again(call: Call) -> None:
    if call.request.cursor and call.answer:
        call.answer.item_infos[1].sku_id = call.answer.item_infos[0].sku_id


def any_cursor(call: Call) -> Any:
    return ASResponse(error={"code": 200}) if call.request.cursor == "no cursor" else None


def reason_lost(call: Call) -> None:
    if call.request.explain and call.request.size == 5 and call.request.user_id.isdigit():
        del call.answer.reasons[-1]


def other_cause(call: Call) -> None:
    if call.answer and call.answer.missing:
        call.answer.missing[2].reason = "rank"


def item_beside_the_filter(call: Call) -> None:
    if has_items(call, 2) and call.request.filter.conditions[:1] and call.request.filter.conditions[0].any_of:
        call.answer.item_infos[-1].sku_id = "another item"


def context_recommended(call: Call) -> None:
    if has_items(call, 1) and call.request.context_ids:
        call.answer.item_infos[0].sku_id = call.request.context_ids[0]


def outside_the_history(call: Call) -> None:
    if call.request.scenario == "repeat" and has_items(call, 1):
        call.answer.item_infos[0].sku_id = "another item"


def no_scenario(call: Call) -> None:
    if call.request.scenario == "trending":
        raise Refusal(INVALID, "scenario 'trending' is unknown")


def deadline_wanted(call: Call) -> None:
    if call.seconds > DAY:
        raise Refusal(INTERNAL, "a deadline is needed")


def accepts_nobody(call: Call) -> None:
    if call.answer and call.answer.rejected:
        call.answer.accepted = 1


def no_reason(call: Call) -> None:
    for entry in call.answer.rejected if call.answer else ():
        entry.reason = ""


CASES: list[tuple[ServiceName, Callable[[Call], Any], dict[str, str]]] = [
    ("um", other_user, {"known users": "user_info.user_id is 'somebody else'"}),
    ("um", short_column, {"known users": "history.times has"}),
    (
        "um",
        everybody_known,
        {
            "an unknown user": "error.code is 200, not 500",
            "the ids": 'error.code for "" is 200, not 500',
            "an id of 128": "error.code is 200",
        },
    ),
    ("um", other_text, {"an unknown user": "error.text is 'no such user', not 'UM server get user_info"}),
    ("um", other_status, {"refuses an id of 129 bytes": "NOT_FOUND"}),
    ("um", no_limit_named, {"refuses an id of 129 bytes": "INVALID_ARGUMENT does not name 128: too long"}),
    ("um", accepts_long_ids, {"refuses an id of 129": "answered with error.code 500 instead of INVALID_ARGUMENT"}),
    ("cm", other_order, {"known items": "item_infos is"}),
    ("cm", no_missing_ids, {"an unknown item": "missing_ids is [], not", "unknown items alone": "missing_ids is []"}),
    ("cm", lower_limit, {"2,000 ids are not too many": "at most 1,000"}),
    (
        "recall",
        pair_twice,
        {"a known user": "is there twice", "somebody": "twice", "request_num 1, 7": "twice", "new_only": "twice"},
    ),
    (
        "recall",
        nan_score,
        {"a known user": "a score is nan", "somebody": "nan", "request_num 1, 7": "nan", "new_only": "nan"},
    ),
    (
        "recall",
        worst_first,
        {"a known user": "not in order", "somebody": "order", "request_num": "order", "new_only": "order"},
    ),
    ("recall", one_too_few, {"request_num 1, 7": "number of candidates is 6, not 7"}),
    ("recall", excluded_candidate, {"exclude_ids": "is in the list"}),
    ("recall", without_milvus, {"the channels": "degraded of two_tower is ['two_tower'], not []"}),
    ("recall", other_column, {"columnar": "candidates.ids is ['another item'"}),
    ("recall", no_filter, {"a filter": "the items is"}),
    ("recall", other_release_hidden, {"a release that is not held": "degraded is [], not ['release']"}),
    (
        "rank",
        item_left_out,
        {
            "items by id": "number of pairs is 19, not 20",
            "the order": "the items is",
            "items that": "21, not 22",
            "size 5": "19, not 20",
            "2,000": "1999, not 2000",
        },
    ),
    (
        "rank",
        nan_score,
        {
            "the request of the v0 client": "a score is nan",
            "items by id": "nan",
            "size 5": "nan",
            "the order": "has the score nan",
        },
    ),
    ("rank", worst_first, {"items by id": "not in order", "items that": "order", "size 5": "order"}),
    ("rank", by_position, {"the order of the request": "in one order, and"}),
    ("rank", other_release_hidden, {"a release that is not held": "degraded is [], not ['release']"}),
    ("as", item_twice, {"known users": "is there twice", "new_only": "twice", "size 1, 7": "twice"}),
    ("as", list_too_short, {"size 1, 7 and 200": "number of items is 6, not 7"}),
    ("as", infinite_score, {"known users": "a score is inf", "new_only": "inf", "size 1, 7": "inf"}),
    ("as", list_worst_first, {"known users": "not in order", "new_only": "order", "size 1, 7": "order"}),
    (
        "as",
        degraded,
        {
            "known users": "degraded is ['um'], not []",
            "the fields": "um",
            "size 1, 7": "um",
            "new_only": "um",
            "explain: ": "um",
            "the scenario repeat": "um",
        },
    ),
    ("as", unknown_user_hidden, {"an unknown id": "unknown_user is not set"}),
    ("as", other_list_for_nobody, {"a new user by profile": 'the list for "-1" is'}),
    ("as", fields_lost, {"the fields of the items": "item_infos is"}),
    ("as", excluded_item, {"exclude_ids": "is in the list"}),
    ("as", page_again, {"pages": "is there twice"}),
    ("as", any_cursor, {"refuses a damaged cursor": "answered with error.code 200 instead of INVALID_ARGUMENT"}),
    ("as", reason_lost, {"explain: ": "the items of reasons is"}),
    ("as", other_cause, {"explain_missing": "their reasons is ['listed', 'excluded', 'rank']"}),
    ("as", item_beside_the_filter, {"a filter": "another item"}),
    ("as", context_recommended, {"the scenarios related and basket": "is in the list"}),
    ("as", outside_the_history, {"the scenario repeat": "item ['another item'] is not in the history"}),
    ("as", no_scenario, {"the scenario trending": "INVALID_ARGUMENT"}),
    ("as", deadline_wanted, {"a request without a deadline": "INTERNAL: a deadline is needed"}),
    ("feed", accepts_nobody, {"entries of nobody": "accepted is 1, not 0"}),
    ("feed", no_reason, {"entries of nobody": "the reason is empty"}),
]


@pytest.mark.parametrize(("service", "change", "expected"), CASES, ids=[f"{of}-{by.__name__}" for of, by, _ in CASES])
def test_a_broken_promise_fails_its_own_checks(
    places: dict[str, str],
    trained_shop: Shop,
    service: ServiceName,
    change: Callable[[Call], Any],
    expected: dict[str, str],
) -> None:
    targets = Targets.from_environment(places)
    with wrong_server(targets[service], change) as wrong:
        found = failures(Place(targets.having(service, wrong)), service, trained_shop.user_ids[0])
    assert len(found) == len(expected), found
    for what, reason in expected.items():
        (failed,) = (text for name, text in found.items() if name.startswith(what))
        assert reason in failed


def test_nothing_wrong_in_front_of_the_mesh_fails_nothing(places: dict[str, str], trained_shop: Shop) -> None:
    targets = Targets.from_environment(places)
    for service in targets.by_service:
        with wrong_server(targets[service], lambda _call: None) as same:
            assert failures(Place(targets.having(service, same)), service, trained_shop.user_ids[0]) == {}


@pytest.fixture(scope="module")
def with_http(trained_shop: Shop) -> Iterator[tuple[Targets, int]]:
    """A mesh whose `as` also answers over HTTP, and the port."""
    (port,) = free_ports(1)
    settings = {"RECMESH_AS_HTTP_PORT": str(port), "RECMESH_DEFAULT_TIMEOUT": "30"}
    with running("compact", {**trained_shop.environment, **settings}) as service:
        yield Targets.from_environment(port_variables(service.ports)), port


def not_healthy(path: str, answer: Answer) -> Answer:
    return replace(answer, status=503) if path == "/healthz" else answer


def always_200(_path: str, answer: Answer) -> Answer:
    return replace(answer, status=200)


def no_json(_path: str, answer: Answer) -> Answer:
    return replace(answer, body=b"<html>")


def other_items(_path: str, answer: Answer) -> Answer:
    return replace(answer, body=re.sub(rb'("skuId": *")', rb"\1x", answer.body))


def late_is_internal(_path: str, answer: Answer) -> Answer:
    return replace(answer, status=500) if answer.status == 504 else answer


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (not_healthy, {"GET /healthz": "the HTTP status is 503, not 200"}),
        (
            always_200,
            {
                "no JSON": "status is 200, not 400",
                "an unknown path": "status is 200, not 404",
                "a deadline": "the HTTP status is 200, not 504",
                "refuses size 201": "status is 200, not 400",
            },
        ),
        (
            no_json,
            {
                "no JSON": "the body is no JSON: b'<html>'",
                "an unknown path": "the body is no JSON",
                "a deadline": "the body is no JSON",
                "refuses size 201": "the body is no JSON",
                "the answer of gRPC": "the JSON is no ASResponse",
            },
        ),
        (other_items, {"the answer of gRPC": "the items is ['x"}),
        (late_is_internal, {"a deadline": "the HTTP status is 500, not 504"}),
    ],
)
def test_a_broken_promise_over_http_fails_its_own_checks(
    with_http: tuple[Targets, int], trained_shop: Shop, change: HttpChange, expected: dict[str, str]
) -> None:
    targets, port = with_http
    with wrong_http_server(port, change) as wrong:
        found = failures(Place(targets, {"as": wrong}), "as", trained_shop.user_ids[0])
    assert len(found) == len(expected), found
    for what, reason in expected.items():
        (failed,) = (text for name, text in found.items() if name.startswith(f"HTTP: {what}"))
        assert reason in failed
