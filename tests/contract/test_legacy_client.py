"""A legacy client, generated from the v0 protos alone, gets the answers that the v0 contract promises."""

import pytest

from tests.contract.conftest import LegacyClient
from tests.processes import Service
from tests.shop import Shop


def test_um(legacy_client: LegacyClient, compact: Service, trained_shop: Shop) -> None:
    user_id = trained_shop.user_ids[0]
    answer = legacy_client(compact, "um", user_id)

    assert answer["error"]["code"] == 200
    assert set(answer["user_info"]) == {"user_id", "age", "sex", "city_level", "province", "city", "country"}
    assert answer["user_info"]["user_id"] == user_id


def test_um_names_an_unknown_user(legacy_client: LegacyClient, compact: Service) -> None:
    error = legacy_client(compact, "um", "5")["error"]

    assert error == {"code": 500, "text": 'UM server get user_info from redis fail. (user_id: "5"\n)'}


def test_cm(legacy_client: LegacyClient, compact: Service, trained_shop: Shop) -> None:
    first, second = trained_shop.sku_ids[:2]
    answer = legacy_client(compact, "cm", f"{first},{second}")

    assert answer["error"]["code"] == 200
    assert [item["sku_id"] for item in answer["item_infos"]] == [first, second]
    assert {"sku_id", "brand", "shopid", "cate"} == set(answer["item_infos"][0])


def test_cm_names_unknown_items(legacy_client: LegacyClient, compact: Service) -> None:
    error = legacy_client(compact, "cm", "1324142525")["error"]

    assert error == {"code": 500, "text": 'CM server get item_info from redis fail. (item_ids: "1324142525"\n)'}


def test_recall_returns_a_hundred_candidates(legacy_client: LegacyClient, compact: Service, trained_shop: Shop) -> None:
    answer = legacy_client(compact, "recall", trained_shop.user_ids[0])

    assert answer["error"]["code"] == 200
    assert len({pair["nid"] for pair in answer["score_pairs"]}) == 100
    assert {pair["nid"] for pair in answer["score_pairs"]} <= set(trained_shop.sku_ids)


def test_rank_scores_an_item_by_its_fields(legacy_client: LegacyClient, compact: Service) -> None:
    answer = legacy_client(compact, "rank")

    assert answer["error"]["code"] == 200
    assert [pair["nid"] for pair in answer["score_pairs"]] == ["1"]


@pytest.mark.parametrize("profile", [("5.0", "1.0", "3.0", "11.0", "120.0", "741.0"), ("", "1.0", "", "", "", "")])
def test_as_for_a_new_user(legacy_client: LegacyClient, compact: Service, profile: tuple[str, ...]) -> None:
    answer = legacy_client(compact, "as", *profile)

    assert answer["error"]["code"] == 200
    assert len({item["sku_id"] for item in answer["item_infos"]}) == 50


def test_as_for_a_known_user(legacy_client: LegacyClient, compact: Service, trained_shop: Shop) -> None:
    answer = legacy_client(compact, "as", trained_shop.user_ids[0])

    assert answer["error"]["code"] == 200
    scores = [item["rank_score"] for item in answer["item_infos"]]
    assert len(scores) == 50
    assert scores == sorted(scores, reverse=True)
    assert all("cate" in item for item in answer["item_infos"])


def test_as_for_an_unknown_user(legacy_client: LegacyClient, compact: Service) -> None:
    answer = legacy_client(compact, "as", "no such user")

    assert answer["error"]["code"] == 200
    assert len(answer["item_infos"]) == 50
