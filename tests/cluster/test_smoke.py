"""`make cluster-smoke`: a new installation answers every call of the contract, also during rolling updates."""

import json

import pytest

from tests.cluster import kube
from tests.cluster.conftest import USERS, Answers, client, note, pods_use, traffic, written_and_removed


def test_the_trained_release_takes_over_from_the_starter_without_a_failed_answer(first_answers: Answers) -> None:
    assert first_answers.failed == []


def test_no_container_was_restarted(mesh: None) -> None:
    assert kube.restarts() == {}


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (("um", USERS[0]), "user_info"),
        (("cm", "12048"), "item_infos"),
        (("cm", "12048,12141", "12234"), "item_infos"),
        (("recall", USERS[0]), "score_pairs"),
        (("rank",), "score_pairs"),
        (("as", USERS[0]), "item_infos"),
        (("as", "5.0", "1.0", "3.0", "11.0", "120.0", "741.0"), "item_infos"),
    ],
)
def test_every_form_of_the_contract_is_answered_through_the_services(
    operator: str, arguments: tuple[str, ...], key: str
) -> None:
    answer = json.loads(client(operator, *arguments, "--json"))
    assert answer["error"]["code"] == 200
    assert answer[key]


def test_recommendations_are_complete(operator: str) -> None:
    answer = json.loads(client(operator, "as", USERS[0], "--size", "20", "--json"))
    assert len(answer["item_infos"]) == 20
    assert answer["release"]
    assert not answer.get("degraded")


def test_the_archiver_takes_what_feed_records(operator: str) -> None:
    client(operator, "record", "archived-user", "12048")
    assert written_and_removed(kube.run_scheduled("archive"))[0] >= 1


def test_helm_test_passes(mesh: None) -> None:
    print(kube.helm("test", kube.RELEASE, "--logs"))


def test_resource_usage_at_rest(mesh: None) -> None:
    for line in pods_use():
        note(f"at rest: {line}")


@pytest.mark.parametrize("service", ["recall", "as"])
def test_a_rolling_update_loses_no_answer(mesh: None, service: str) -> None:
    with traffic(f"rolling update of {service}") as seen:
        kube.roll(service)
    assert seen.answers.failed == []
