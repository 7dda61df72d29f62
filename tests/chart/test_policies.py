"""NetworkPolicies allow exactly the connections of the architecture, at both ends."""

from typing import Any

import pytest

from tests.chart.conftest import VALUES, Resource, find, given, pod_templates, refused, render

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
    for url in ((), options[1:]):
        rules = policies(render("default", options[0], *url))
        assert {job for job in ("train", "ingest", "retrain", "archive") if {} in rules[job]["egress"]} == (
            {"train", "ingest", "retrain", "archive"} if url else set()
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


JOBS = ("train", "ingest", "retrain", "archive", "secrets", "import")
NOBODY: dict[str, list[Resource]] = {"clients": [], "operators": [], "metrics": [], "metricsNamespaces": []}
EMPTY: dict[str, tuple[str, ...]] = {
    "as it is": (),
    "null": (given(networkPolicy=dict.fromkeys(NOBODY)),),
    "nobody": (given(networkPolicy=NOBODY),),
    "nobody but scrapers": (
        given(
            networkPolicy={**NOBODY, "metricsNamespaces": ["monitoring"]},
            redis={"metrics": {"enabled": True}},
            milvus={"metrics": {"enabled": True}},
        ),
    ),
}


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("options", EMPTY.values(), ids=EMPTY)
def test_no_rule_admits_everybody(values: str, options: tuple[str, ...]) -> None:
    """A rule without peers admits everybody, and one without ports all ports."""
    for component, spec in policies(render(values, "--set=explorer.enabled=true", *options)).items():
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        for rule in spec.get("ingress", ()):
            assert [*filter(None, rule["from"])] == rule["from"] != [], component
            assert [*filter(None, rule["ports"])] == rule["ports"] != [], component
        for direction in ("ingress", "egress"):
            assert spec.get(direction, [{}]), (component, direction)  # Kubernetes drops an empty list
            for rule in spec.get(direction, ()):
                assert all(rule.values()), (component, direction)


def test_nobody_may_be_admitted() -> None:
    rules = policies(render("default", "--set=explorer.enabled=true", *EMPTY["nobody"]))
    assert "ingress" not in rules["explorer"]
    test = {"podSelector": {"matchLabels": {"app.kubernetes.io/instance": "shop", COMPONENT: "test"}}}
    assert rules["feed"]["ingress"] == [{"from": [test], "ports": [{"port": 8940, "protocol": "TCP"}]}]
    assert [rule["from"] for rule in rules["as"]["ingress"]] == [[test]]


def test_scrapers_may_read_metrics_of_every_process_and_nothing_else() -> None:
    team = {"podSelector": {"matchLabels": {"app": "agent"}}}
    namespaces = [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}} for name in ("monitoring", "ops")
    ]
    options = given(
        networkPolicy={"metricsNamespaces": ["monitoring", "ops"], "metrics": [team]},
        redis={"metrics": {"enabled": True}},
        milvus={"metrics": {"enabled": True}},
        paddleServing={"enabled": True},
    )
    scraped = {
        component: [port["port"] for port in rule["ports"]]
        for component, spec in policies(render("default", options)).items()
        for rule in spec.get("ingress", ())
        if rule["from"] == [team, *namespaces]
    }
    assert scraped == {
        **{name: [port + 10000] for name, port in PORTS.items()},
        "paddle-serving": [18961],
        "controller": [18970],
        "redis": [9121],
        "milvus": [9091],
    }
    closed = policies(render("default", given(networkPolicy={"metricsNamespaces": ["monitoring"]})))
    assert [len(closed[store]["ingress"]) for store in ("redis", "milvus")] == [1, 1]


def ports(*numbers: int) -> list[Resource]:
    return [{"port": number, "protocol": protocol} for number in numbers for protocol in ("UDP", "TCP")]


def test_every_pod_but_the_stores_may_ask_the_dns_of_the_cluster() -> None:
    kube_dns = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}
    openshift = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "openshift-dns"}}}
    node_local = {"ipBlock": {"cidr": "169.254.20.10/32"}}
    for dns, expected in (
        ({}, {"to": [kube_dns], "ports": ports(53)}),
        ({"peers": [openshift], "ports": [5353]}, {"to": [openshift], "ports": ports(5353)}),
        (
            {"peers": [kube_dns, node_local], "ports": [53, 8053]},
            {"to": [kube_dns, node_local], "ports": ports(53, 8053)},
        ),
        ({"peers": []}, {"ports": ports(53)}),
    ):
        for component, spec in policies(render("all", given(networkPolicy={"dns": dns}))).items():
            assert (expected in spec.get("egress", ())) is (component not in ("redis", "milvus")), component
    assert "/networkPolicy/dns/ports" in refused("--set-json=networkPolicy.dns.ports=[]")


@pytest.mark.parametrize(
    ("endpoint", "protocol", "port"),
    [
        ("http://collector:4317", "grpc", 4317),
        ("http://collector:4318/v1/traces", "http/protobuf", 4318),
        ("https://collector.example", "http/protobuf", 443),
        ("http://collector.example/otlp", "http/protobuf", 80),
        ("http://collector.example", "grpc", 443),
        ("http://[2001:db8::7]:4317", "grpc", 4317),
        ("https://[2001:db8::7]", "http/protobuf", 443),
    ],
)
def test_services_and_jobs_may_send_traces_to_the_port_of_the_endpoint(endpoint: str, protocol: str, port: int) -> None:
    options = given(
        external={"otlp": {"endpoint": endpoint, "protocol": protocol}},
        retrain={"schedule": "@daily"},
        dataset={"volume": {"enabled": True}},
    )
    rule = {"ports": [{"port": port, "protocol": "TCP"}]}
    rules = policies(render("default", options))
    assert {name for name, spec in rules.items() if rule in spec.get("egress", ())} == {*PORTS, *JOBS, "controller"}


def test_traces_go_to_the_pods_of_the_collector_alone() -> None:
    collector = {"podSelector": {"matchLabels": {"app": "collector"}}}
    rules = policies(render("all", given(networkPolicy={"otlp": [collector]})))
    rule = {"ports": [{"port": 4318, "protocol": "TCP"}], "to": [collector]}
    found = {name for name, spec in rules.items() if rule in spec.get("egress", ())}
    assert found == {*PORTS, *JOBS, "paddle-serving", "explorer", "controller"}


HTTPS = {"ports": [{"port": 443, "protocol": "TCP"}]}
INTERNET = {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}


@pytest.mark.parametrize(
    ("source", "anywhere", "limited"),
    [
        ("synthetic", None, None),
        ("synthetic:users=100000", None, None),
        ("/mnt/shop", None, None),
        ("ta_feng", HTTPS, {**HTTPS, "to": [INTERNET]}),
        ("ml_100k", HTTPS, {**HTTPS, "to": [INTERNET]}),
        ("https://data.example:8443/shop.zip", {}, {"to": [INTERNET]}),
        ("s3://bucket/shop", {}, {"to": [INTERNET]}),
    ],
)
def test_the_jobs_that_download_the_data_set_may_connect_to_where_it_is(
    source: str, anywhere: Resource | None, limited: Resource | None
) -> None:
    for peers, expected in (([], anywhere), ([INTERNET], limited)):
        for volume in (False, True):
            options = given(
                dataset={"source": source, "volume": {"enabled": volume}},
                networkPolicy={"internet": peers},
                retrain={"schedule": "@daily"},
            )
            rules = policies(render("default", options))
            plain = policies(
                render("default", "--set=retrain.schedule=@daily", f"--set=dataset.volume.enabled={volume}")
            )
            added = {
                component: [rule for rule in spec.get("egress", ()) if rule not in plain[component].get("egress", ())]
                for component, spec in rules.items()
            }
            downloading = ("import",) if volume else ("train", "ingest", "retrain")
            assert {component: found for component, found in added.items() if found} == (
                {} if expected is None else {component: [expected] for component in downloading}
            )


def test_the_secrets_job_and_the_controller_alone_may_call_the_api_server() -> None:
    def calling(*options: str) -> dict[str, list[int]]:
        rules = policies(render("all", "--set=external.otlp.endpoint=", *options))
        return {
            name: [port["port"] for port in rule["ports"]]
            for name, spec in rules.items()
            for rule in spec.get("egress", ())
            if rule.keys() == {"ports"}
        }

    assert calling() == {name: [443, 6443, 8443, 16443] for name in ("secrets", "controller")}
    assert calling(given(networkPolicy={"apiServerPorts": [6443]})) == {"secrets": [6443], "controller": [6443]}
    assert calling(given(networkPolicy={"apiServerPorts": []})) == {}
