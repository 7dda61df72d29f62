"""NetworkPolicies allow exactly the connections of the architecture, at both ends."""

from typing import Any

import pytest

from tests.chart.conftest import VALUES, Resource, find, pod_templates, render

COMPONENT = "app.kubernetes.io/component"
PORTS = {"um": 8910, "cm": 8920, "recall": 8950, "rank": 8960, "as": 8930, "feed": 8940}
STAGES = ("um", "cm", "recall", "rank")
HTTP = ("--set=as.http.enabled=true", "--set=feed.http.enabled=true")
CONTROLLED = {("controller", "redis", 6380), ("controller", "milvus", 19530)}
CONNECTIONS = {
    *CONTROLLED,
    *(("as", stage, PORTS[stage]) for stage in STAGES),
    ("um", "redis", 6380),
    ("cm", "redis", 6380),
    ("recall", "redis", 6380),
    ("feed", "redis", 6380),
    ("ingest", "redis", 6380),
    ("archive", "redis", 6380),
    ("recall", "milvus", 19530),
    ("ingest", "milvus", 19530),
}
COMPACT_CONNECTIONS = {
    *CONTROLLED,
    ("feed", "redis", 6380),
    ("archive", "redis", 6380),
    *(
        (source, target, port)
        for source in ("compact", "ingest")
        for target, port in (("redis", 6380), ("milvus", 19530))
    ),
}


def policies(resources: list[Resource]) -> dict[str, dict[str, Any]]:
    """All policies, by the component whose pods they select."""
    return {
        resource["spec"]["podSelector"]["matchLabels"][COMPONENT]: resource["spec"]
        for resource in resources
        if resource["kind"] == "NetworkPolicy"
    }


def connections(rules: dict[str, dict[str, Any]], direction: str, peers: str) -> set[tuple[str, str, int]]:
    """(own component, other component, port) of each rule that names a component."""
    return {
        (component, peer["podSelector"]["matchLabels"][COMPONENT], port["port"])
        for component, spec in rules.items()
        for rule in spec.get(direction, ())
        for peer in rule.get(peers, ())
        if COMPONENT in peer.get("podSelector", {}).get("matchLabels", {})
        for port in rule["ports"]
    }


@pytest.mark.parametrize(("values", "expected"), [("default", CONNECTIONS), ("local", COMPACT_CONNECTIONS)])
def test_connections_are_those_of_the_architecture(values: str, expected: set[tuple[str, str, int]]) -> None:
    resources = render(values)
    rules = policies(resources)
    present = {template["metadata"]["labels"][COMPONENT] for template in pod_templates(resources).values()}
    assert connections(rules, "egress", "to") == expected
    received = {(source, target, port) for target, source, port in connections(rules, "ingress", "from")}
    assert {connection for connection in received if connection[0] in present and connection[0] != "test"} == expected


@pytest.mark.parametrize("values", VALUES)
def test_every_pod_has_a_policy_for_both_directions(values: str) -> None:
    resources = render(values)
    rules = policies(resources)
    for name, template in pod_templates(resources).items():
        component = template["metadata"]["labels"][COMPONENT]
        if component != "test":
            assert rules[component]["policyTypes"] == ["Ingress", "Egress"], name


@pytest.mark.parametrize("values", ["default", "local", "all"])
def test_no_egress_is_unrestricted_with_internal_stores(values: str) -> None:
    for component, spec in policies(render(values)).items():
        if values == "all" and component in ("train", "ingest", "import", "retrain"):
            continue  # the data set comes from a URL
        assert {} not in spec.get("egress", ()), component


def test_jobs_reach_an_external_archive() -> None:
    options = ("--set=retrain.schedule=0 3 * * *", "--set=archive.url=s3://bucket/archive")
    for given in ((), options[1:]):
        rules = policies(render("default", options[0], *given))
        assert {job for job in ("train", "ingest", "retrain", "archive") if {} in rules[job]["egress"]} == (
            {"train", "ingest", "retrain", "archive"} if given else set()
        )
        assert {} not in rules["recall"]["egress"]


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        ("default", (), {"as": [8930], "feed": [8940]}),
        ("local", (), {"compact": [8930], "feed": [8940]}),
        ("default", HTTP, {"as": [8930, 8931], "feed": [8940, 8941]}),
        ("local", HTTP, {"compact": [8930, 8931], "feed": [8940, 8941]}),
    ],
)
def test_clients_may_call_as_and_feed_but_no_stage(
    values: str, options: tuple[str, ...], expected: dict[str, list[int]]
) -> None:
    client = {"podSelector": {"matchLabels": {"recmesh.io/client": "true"}}}
    allowed = {
        component: [
            port["port"] for rule in spec.get("ingress", ()) if client in rule["from"] for port in rule["ports"]
        ]
        for component, spec in policies(render(values, *options)).items()
    }
    assert {component: ports for component, ports in allowed.items() if ports} == expected


def test_only_clients_operators_and_tests_may_call_feed() -> None:
    rules = policies(render("default", "--set=explorer.enabled=true", *HTTP))
    peers = [peer["podSelector"]["matchLabels"] for rule in rules["feed"]["ingress"] for peer in rule["from"]]
    test = {"app.kubernetes.io/instance": "shop", COMPONENT: "test"}
    assert peers == [{"recmesh.io/client": "true"}, test, {"recmesh.io/operator": "true"}]
    ports = [[port["port"] for port in rule["ports"]] for rule in rules["feed"]["ingress"]]
    assert ports == [[8940, 8941], [8940, 8941]]


@pytest.mark.parametrize("values", ["default", "local"])
def test_the_explorer_calls_the_stages_and_is_open_to_operators_alone(values: str) -> None:
    rules = policies(render(values, "--set=explorer.enabled=true"))
    stages = {("explorer", "compact" if values == "local" else stage, PORTS[stage]) for stage in STAGES}
    assert {connection for connection in connections(rules, "egress", "to") if connection[0] == "explorer"} == stages
    received = {(source, target, port) for target, source, port in connections(rules, "ingress", "from")}
    assert {connection for connection in received if connection[0] == "explorer"} == stages
    (rule,) = rules["explorer"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"recmesh.io/operator": "true"}}}]


def test_as_recall_and_rank_reach_a_model_store_outside() -> None:
    rules = policies(render("default", "--set=modelStore.url=s3://bucket/store"))
    services = {component for component in PORTS if {} in rules[component]["egress"]}
    assert services == {"as", "recall", "rank"}


def test_only_rank_may_call_paddle_serving() -> None:
    (rule, metrics) = policies(render("all"))["paddle-serving"]["ingress"]
    assert [peer["podSelector"]["matchLabels"][COMPONENT] for peer in rule["from"]] == ["rank"]
    assert metrics["ports"] == [{"port": 18961, "protocol": "TCP"}]


def test_policies_can_be_disabled() -> None:
    assert policies(render("all", "--set=global.networkPolicy.enabled=false")) == {}


def test_stores_may_not_connect_to_anything() -> None:
    rules = policies(render("default"))
    for store in ("redis", "milvus"):
        assert rules[store]["policyTypes"] == ["Ingress", "Egress"]
        assert "egress" not in rules[store]


def test_a_disruption_takes_a_single_pod_of_a_service() -> None:
    for name in PORTS:
        spec = find(render("default"), "PodDisruptionBudget", name)["spec"]
        assert (spec["maxUnavailable"], spec["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
