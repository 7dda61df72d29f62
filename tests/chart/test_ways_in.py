"""Ways in from outside the cluster: Services with an address, Ingresses and routes of the Gateway API."""

from typing import Any

import pytest

from tests.chart.conftest import Resource, find, given, refused, render
from tests.chart.test_security import hosts, spec_of

TLS_OFF = "--set=global.tls.enabled=false"
HTTP = given(**{name: {"http": {"enabled": True}} for name in ("as", "feed")})
ROUTES = [
    {"host": "shop.example"},
    {"host": "other.example", "service": "as", "protocol": "grpc"},
    {"host": "api.example", "protocol": "http"},
    {"host": "feed.example", "service": "feed"},
    {"host": "api.feed.example", "service": "feed", "protocol": "http"},
]
SERVED = {
    "as-grpc": (["shop.example", "other.example"], "grpc", 8930),
    "as-http": (["api.example"], "http", 8931),
    "feed-grpc": (["feed.example"], "grpc", 8940),
    "feed-http": (["api.feed.example"], "http", 8941),
}
"""The name of each resource without that of the release: hosts, protocol and port."""
GATEWAY = {"enabled": True, "parentRefs": [{"name": "public", "namespace": "gateways"}], "routes": ROUTES}


def of_kind(resources: list[Resource], *kinds: str) -> dict[str, Resource]:
    return {
        resource["metadata"]["name"].removeprefix("shop-"): resource
        for resource in resources
        if resource["kind"] in kinds
    }


def port(name: str, number: int, target: str, protocol: str) -> Resource:
    return {"name": name, "port": number, "targetPort": target, "appProtocol": protocol}


@pytest.mark.parametrize(("values", "pods"), [("default", "as"), ("local", "compact")])
def test_an_exposed_service_has_the_type_and_the_fields_of_the_values(values: str, pods: str) -> None:
    expose: dict[str, Any] = {
        "enabled": True,
        "type": "LoadBalancer",
        "annotations": {"cloud.example/internal": "true"},
        "spec": {"loadBalancerSourceRanges": ["192.0.2.0/24"], "externalTrafficPolicy": "Local"},
    }
    resources = render(values, given(**{"as": {"expose": expose}, "feed": {"expose": {"enabled": True}}}))
    exposed = of_kind(resources, "Service")["as-public"]
    assert exposed["metadata"]["annotations"] == expose["annotations"]
    assert exposed["spec"] == {
        "type": "LoadBalancer",
        **expose["spec"],
        "selector": {"app.kubernetes.io/instance": "shop", "app.kubernetes.io/component": pods},
        "ports": [port("grpc", 8930, "as", "https")],
    }
    feed = of_kind(resources, "Service")["feed-public"]["spec"]
    assert (feed["type"], feed["selector"]["app.kubernetes.io/component"]) == ("ClusterIP", "feed")
    assert feed["ports"] == [port("grpc", 8940, "feed", "https")]
    assert find(resources, "Service", "as-")["metadata"]["name"] == "shop-as-public"
    assert [name for name in of_kind(render(values), "Service") if "public" in name] == []


def test_ports_name_their_protocol_with_and_without_tls() -> None:
    exposed = given(**{"as": {"expose": {"enabled": True}}})
    for options, protocols in (((), ("https", "https")), ((TLS_OFF,), ("kubernetes.io/h2c", "http"))):
        service = of_kind(render("default", HTTP, exposed, *options), "Service")["as-public"]
        assert service["spec"]["ports"] == [
            port("grpc", 8930, "as", protocols[0]),
            port("http", 8931, "as-http", protocols[1]),
        ]


def test_without_feed_only_as_is_exposed() -> None:
    exposed = given(**{name: {"expose": {"enabled": True}} for name in ("as", "feed")})
    services = of_kind(render("default", exposed, "--set=feed.enabled=false"), "Service")
    assert [name for name in services if name.endswith("-public")] == ["as-public"]


@pytest.mark.parametrize("values", ["default", "local"])
@pytest.mark.parametrize("tls", [True, False])
def test_an_ingress_for_each_service_and_protocol(values: str, tls: bool) -> None:
    certificates = [{"secretName": "shop-example", "hosts": ["shop.example"]}]
    ingress = {"enabled": True, "className": "nginx", "annotations": {"a": "b"}, "routes": ROUTES, "tls": certificates}
    resources = render(values, HTTP, given(ingress=ingress), *(() if tls else (TLS_OFF,)))
    found = of_kind(resources, "Ingress")
    assert found.keys() == SERVED.keys()
    for name, (served, protocol, number) in SERVED.items():
        service = f"shop-{name.split('-')[0]}-public"
        spec = found[name]["spec"]
        assert (spec["ingressClassName"], spec["tls"]) == ("nginx", certificates)
        backend = {"service": {"name": service, "port": {"name": protocol}}}
        paths = {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}
        assert spec["rules"] == [{"host": host, "http": paths} for host in served]
        spoken = protocol.upper() + ("S" if tls else "")
        assert found[name]["metadata"]["annotations"] == {
            "a": "b",
            "nginx.ingress.kubernetes.io/backend-protocol": spoken,
        }
        ports = of_kind(resources, "Service")[service.removeprefix("shop-")]["spec"]["ports"]
        assert {entry["name"]: entry["port"] for entry in ports}[protocol] == number


def test_an_ingress_needs_nothing_but_a_host() -> None:
    own = {"nginx.ingress.kubernetes.io/backend-protocol": "HTTPS"}
    ingress = {"enabled": True, "routes": [{"host": "*.shop.example"}], "annotations": own}
    (found,) = of_kind(render("default", given(ingress=ingress)), "Ingress").values()
    assert found["spec"].keys() == {"rules"}
    assert [rule["host"] for rule in found["spec"]["rules"]] == ["*.shop.example"]
    assert found["metadata"]["annotations"] == own


@pytest.mark.parametrize(("values", "certificate"), [("default", "as"), ("local", "compact")])
def test_routes_of_the_gateway_api(values: str, certificate: str) -> None:
    resources = render(values, HTTP, given(gateway={**GATEWAY, "annotations": {"a": "b"}}))
    found = of_kind(resources, "GRPCRoute", "HTTPRoute")
    assert found.keys() == SERVED.keys()
    for name, (served, protocol, number) in SERVED.items():
        route = found[name]
        service = f"shop-{name.split('-')[0]}-public"
        assert route["kind"] == f"{protocol.upper()}Route"
        assert route["metadata"]["annotations"] == {"a": "b"}
        assert route["spec"] == {
            "parentRefs": GATEWAY["parentRefs"],
            "hostnames": served,
            "rules": [{"backendRefs": [{"name": service, "port": number}]}],
        }
    policies = of_kind(resources, "BackendTLSPolicy")
    assert {name: policy["spec"] for name, policy in policies.items()} == {
        f"{name}-public": {
            "targetRefs": [{"group": "", "kind": "Service", "name": f"shop-{name}-public"}],
            "validation": {
                "hostname": f"shop-{name}.prod.svc",
                "caCertificateRefs": [{"group": "", "kind": "Secret", "name": f"shop-{secret}-tls"}],
            },
        }
        for name, secret in (("as", certificate), ("feed", "feed"))
    }


def test_the_gateway_checks_pods_that_speak_tls_alone() -> None:
    authority = [{"kind": "ConfigMap", "name": "ca"}]
    for options, refs in (
        (({"backendTLS": {"caCertificateRefs": authority}},), [{"group": "", "kind": "ConfigMap", "name": "ca"}]),
        (({"backendTLS": {"enabled": False}},), None),
        (({}, TLS_OFF), None),
    ):
        values, *more = options
        gateway = {**GATEWAY, "routes": ROUTES[:1], **values}
        policies = of_kind(render("default", given(gateway=gateway), *map(str, more)), "BackendTLSPolicy")
        found = [policy["spec"]["validation"]["caCertificateRefs"] for policy in policies.values()]
        assert found == ([refs] if refs else [])


def test_the_certificate_has_the_names_of_the_ways_in() -> None:
    def dns(certificate: str, *options: str, values: str = "default") -> list[str]:
        names: list[str] = spec_of(render(values, *options))["certificates"][certificate]["dns"]
        return names

    named = given(**{"as": {"expose": {"enabled": True, "dnsNames": ["shop.example", "*.shop.example"]}}})
    assert dns("as") == hosts("as")
    assert dns("as", named) == [*hosts("as", "as-public"), "shop.example", "*.shop.example"]
    assert dns("um", named) == hosts("um")
    routes = given(gateway={**GATEWAY, "routes": [{"host": "x.example", "service": "feed"}]})
    assert (dns("as", routes), dns("feed", routes)) == (hosts("as"), hosts("feed", "feed-public"))
    compact = dns("compact", named, values="local")
    assert compact == [
        *hosts("compact", "um", "cm", "recall", "rank", "as", "as-public"),
        "shop.example",
        "*.shop.example",
    ]
    issuer = "--set=global.tls.issuer.name=ca"
    certificate = of_kind(render("default", named, issuer), "Certificate")["as"]["spec"]
    assert certificate["dnsNames"] == [*hosts("as", "as-public"), "shop.example", "*.shop.example", "localhost"]


INGRESS = {"enabled": True, "routes": ROUTES[:1]}
REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "no feed": (
        (given(ingress={**INGRESS, "routes": [ROUTES[3]]}), "--set=feed.enabled=false"),
        "ingress.routes: feed.example leads to feed, which is not installed: set feed.enabled",
    ),
    "no HTTP": (
        (given(ingress={**INGRESS, "routes": [ROUTES[2]]}),),
        "ingress.routes: api.example leads to the HTTP port of as: set as.http.enabled",
    ),
    "no HTTP of feed": (
        (given(gateway={**GATEWAY, "routes": [ROUTES[4]]}),),
        "gateway.routes: api.feed.example leads to the HTTP port of feed: set feed.http.enabled",
    ),
    "no Gateway": (
        (given(gateway={**GATEWAY, "parentRefs": [], "routes": ROUTES[:1]}),),
        "gateway.parentRefs: name the Gateway",
    ),
    "no route": ((given(ingress={"enabled": True}),), "ingress.routes: name a host"),
    "no route of the Gateway": ((given(gateway={**GATEWAY, "routes": []}),), "gateway.routes: name a host"),
    "a host twice": (
        (
            given(ingress={**INGRESS, "routes": [ROUTES[0], {**ROUTES[0], "protocol": "http"}]}),
            "--set=as.http.enabled=true",
        ),
        f"ingress.routes: {ROUTES[0]['host']} leads to as-grpc and to as-http: give each of them a host of its own",
    ),
    "a host twice at the Gateway": (
        (given(gateway={**GATEWAY, "routes": [ROUTES[0], {**ROUTES[0], "service": "feed"}]}),),
        f"gateway.routes: {ROUTES[0]['host']} leads to as-grpc and to feed-grpc: give each of them a host of its own",
    ),
    "a stage": ((given(ingress={**INGRESS, "routes": [{"host": "x", "service": "um"}]}),), "/ingress/routes/0/service"),
    "no host": ((given(ingress={**INGRESS, "routes": [{}]}),), "/ingress/routes/0"),
    "type": (("--set=as.expose.type=ExternalName",), "/as/expose/type"),
    "type in the spec": (
        (given(**{"as": {"expose": {"enabled": True, "spec": {"type": "NodePort"}}}}),),
        "as.expose.spec: the chart sets type: see expose.type",
    ),
    "selector": (
        (given(feed={"expose": {"enabled": True, "spec": {"selector": {"a": "b"}}}}),),
        "feed.expose.spec: the chart sets selector",
    ),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_routes_that_lead_nowhere_are_refused_with_the_key(options: tuple[Any, ...], message: str) -> None:
    assert message in refused(*options)
