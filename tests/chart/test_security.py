"""TLS, identities, passwords and callers: who mounts what, who may call what, and who makes it."""

import hashlib
import json
import re
from typing import Any

import pytest
import yaml

from recmesh.callers import METHODS, Policy
from recmesh.stores.acl import USERS
from tests.chart.conftest import (
    CHARTS,
    VALUES,
    Resource,
    containers,
    environment,
    find,
    pod_templates,
    refused,
    render,
    run_helm,
)

COMPONENT = "app.kubernetes.io/component"
SPIFFE = "spiffe://cluster.local/ns/prod/release/shop"
NO_PASSWORDS = ("--set=redis.auth.enabled=false", "--set=milvus.auth.enabled=false")
TLS_OFF = "--set=global.tls.enabled=false"
STAGES = ["um/*", "cm/*", "recall/*", "rank/*"]

# The Secrets of each component, and the keys that its pods can read. "tls" stands for the files of a certificate, and
# "all" for every key: ingestion sets the passwords of all users of Milvus.
REDIS_USERS = {name: {f"shop-{name}-tls": "tls", "shop-redis-auth": name} for name in ("um", "cm", "feed", "archive")}
BOTH_STORES = {"shop-redis-auth": "recall", "shop-milvus-auth": "recall"}
INGEST = {"shop-redis-auth": "ingest", "shop-milvus-auth": "all"}
STORES = {
    "redis": {"shop-redis-tls": "tls", "shop-redis-auth": "probe users.acl"},
    "milvus": {"shop-milvus-tls": "tls", "shop-milvus-auth": "root"},
}
JOBS = {
    "ingest": {"shop-ingest-tls": "tls", **INGEST},
    "train": {},
    "secrets": {},
    "test": {"shop-client-tls": "tls"},
    "controller": {
        "shop-controller-tls": "tls",
        "shop-redis-auth": "controller",
        "shop-milvus-auth": "recall",
    },
}
DEFAULT = {
    **REDIS_USERS,
    **STORES,
    **JOBS,
    "recall": {"shop-recall-tls": "tls", **BOTH_STORES},
    "rank": {"shop-rank-tls": "tls"},
    "as": {"shop-as-tls": "tls"},
}
COMPACT = {
    "feed": REDIS_USERS["feed"],
    "archive": REDIS_USERS["archive"],
    **STORES,
    **JOBS,
    "compact": {"shop-compact-tls": "tls", "shop-redis-auth": "compact", "shop-milvus-auth": "recall"},
}


def files(source: Resource) -> str:
    """The keys of a Secret that a volume holds."""
    keys = " ".join(sorted(item["key"] for item in source.get("items", [{"key": "all"}])))
    return "tls" if keys == "ca.crt tls.crt tls.key" else keys


def secrets_of(template: Resource) -> dict[str, str]:
    """The Secrets of a pod, and the keys that it can read."""
    found = {
        volume["secret"]["secretName"]: files(volume["secret"])
        for volume in template["spec"].get("volumes", ())
        if "secret" in volume
    }
    for container in containers(template):
        for value in environment(container).values():
            if isinstance(value, tuple):
                found[value[0]] = value[1]
    return found


def by_component(resources: list[Resource]) -> dict[str, dict[str, str]]:
    """The Secrets of the pods of each component."""
    found: dict[str, dict[str, str]] = {}
    for template in pod_templates(resources).values():
        component = template["metadata"]["labels"][COMPONENT]
        assert found.setdefault(component, secrets_of(template)) == secrets_of(template), component
    return found


@pytest.mark.parametrize(("values", "expected"), [("default", DEFAULT), ("local", COMPACT)])
def test_each_component_has_its_own_secrets_and_no_other(values: str, expected: dict[str, dict[str, str]]) -> None:
    assert by_component(render(values)) == expected


def test_optional_components_have_their_own_secrets_as_well() -> None:
    options = (
        "--set=explorer.enabled=true",
        "--set=paddleServing.enabled=true",
        "--set=retrain.schedule=0 3 * * *",
        "--set=dataset.volume.enabled=true",
    )
    resources = render("default", *options)
    assert by_component(resources) == {
        **DEFAULT,
        "explorer": {"shop-explorer-tls": "tls"},
        "paddle-serving": {"shop-paddle-serving-tls": "tls"},
        "retrain": {"shop-retrain-tls": "tls", **INGEST},
    }
    mounted = {
        container["name"]: {mount["name"] for mount in container["volumeMounts"]} & {"tls", "redis", "milvus"}
        for container in containers(find(resources, "CronJob", "retrain")["spec"]["jobTemplate"]["spec"]["template"])
    }
    assert mounted == {"dataset": set(), "train": set(), "ingest": {"tls", "redis", "milvus"}}


def test_every_volume_of_a_secret_is_read_only() -> None:
    for values in VALUES:
        for name, template in pod_templates(render(values)).items():
            secret = {volume["name"] for volume in template["spec"].get("volumes", ()) if "secret" in volume}
            for container in containers(template):
                for mount in container.get("volumeMounts", ()):
                    assert mount["name"] not in secret or mount.get("readOnly") is True, name


def test_nothing_secret_is_in_a_manifest() -> None:
    """Helm makes no key and no password: the same values give the same manifests, without a Secret."""
    command = ("template", "shop", str(CHARTS / "recmesh"), "--namespace=prod")
    assert run_helm(*command).stdout == run_helm(*command).stdout
    for values in VALUES:
        assert [resource for resource in render(values) if resource["kind"] == "Secret"] == []


def spec_of(resources: list[Resource]) -> dict[str, Any]:
    """What the secrets Job is to make."""
    loaded: dict[str, Any] = json.loads(find(resources, "ConfigMap", "secrets-spec")["data"]["spec.json"])
    return loaded


def hosts(*components: str) -> list[str]:
    """The names of servers, as their callers know them."""
    ends = ("", ".prod", ".prod.svc", ".prod.svc.cluster.local")
    return [f"shop-{component}{end}" for component in components for end in ends]


def test_the_secrets_job_makes_a_certificate_and_a_password_for_each_component() -> None:
    servers = ("um", "cm", "recall", "rank", "as", "feed", "controller", "redis", "milvus")
    expected = {
        **{name: {"uri": f"{SPIFFE}/{name}", "dns": hosts(name)} for name in servers},
        **{name: {"uri": f"{SPIFFE}/{name}"} for name in ("ingest", "archive", "client", "prometheus")},
    }
    users = ["um", "cm", "recall", "compact", "feed", "ingest", "archive", "controller", "probe", "operator"]
    assert set(users) == set(USERS)
    assert spec_of(render()) == {
        "release": "shop",
        "namespace": "prod",
        "trust_domain": "cluster.local",
        "days": 90,
        "certificates": expected,
        "redis": {"users": users, "prefix": "recmesh:"},
        "milvus": {"users": ["root", "recall", "ingest"]},
    }
    compact = spec_of(render("local"))["certificates"]["compact"]
    assert compact == {"uri": f"{SPIFFE}/compact", "dns": hosts("compact", "um", "cm", "recall", "rank", "as")}


def test_the_secrets_of_a_long_name_are_those_that_are_mounted() -> None:
    """The Job composes the names from its spec."""
    options = ("--set=paddleServing.enabled=true", "--set=explorer.enabled=true")
    result = run_helm("template", "a" * 53, str(CHARTS / "recmesh"), "--namespace=prod", *options)
    resources = [resource for resource in yaml.safe_load_all(result.stdout) if resource]
    mounted = {name for found in by_component(resources).values() for name in found}
    (spec,) = [json.loads(found["data"]["spec.json"]) for found in resources if "spec.json" in found.get("data", {})]
    release = spec["release"]
    assert release == "a" * 35 + "-" + hashlib.sha256(b"a" * 53).hexdigest()[:8]
    made = {f"{release}-{name}-tls" for name in spec["certificates"]}
    assert mounted == (made - {f"{release}-prometheus-tls"}) | {f"{release}-redis-auth", f"{release}-milvus-auth"}


def test_the_spec_follows_the_values() -> None:
    options = ("--set=global.tls.trustDomain=shop.example", "--set=global.tls.days=30")
    spec = spec_of(render("default", *options, "--set=external.redis.prefix=b:"))
    assert (spec["trust_domain"], spec["days"], spec["redis"]["prefix"]) == ("shop.example", 30, "b:")
    assert spec["certificates"]["um"]["uri"] == "spiffe://shop.example/ns/prod/release/shop/um"
    external = spec_of(render("external"))
    assert not {"redis", "milvus"} & (external.keys() | external["certificates"].keys())


def test_the_secrets_job_runs_at_once_and_daily_and_again_if_its_spec_changes() -> None:
    resources = render()
    job, cron = find(resources, "Job", "secrets"), find(resources, "CronJob", "secrets")
    assert cron["spec"]["jobTemplate"]["spec"] == job["spec"]
    assert (cron["spec"]["schedule"], cron["spec"]["suspend"]) == ("41 4 * * *", False)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["jobs.secrets", "--spec", "/etc/recmesh/secrets/spec.json"]
    assert {"name": "spec", "mountPath": "/etc/recmesh/secrets", "readOnly": True} in container["volumeMounts"]
    spec_volume = {"name": "spec", "configMap": {"name": "shop-secrets-spec"}}
    assert spec_volume in job["spec"]["template"]["spec"]["volumes"]
    name = job["metadata"]["name"]
    assert find(render("default", "--set=um.replicas=3"), "Job", "secrets")["metadata"]["name"] == name
    assert find(render("default", "--set=explorer.enabled=true"), "Job", "secrets")["metadata"]["name"] != name


def test_the_secrets_job_may_create_secrets_and_change_its_own_alone() -> None:
    resources = render()
    create, change = find(resources, "Role", "secrets")["rules"]
    assert create == {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]}
    names = [f"shop-{name}-tls" for name in spec_of(resources)["certificates"]]
    assert sorted(change["resourceNames"]) == sorted([*names, "shop-ca", "shop-redis-auth", "shop-milvus-auth"])
    assert (change["apiGroups"], change["resources"], change["verbs"]) == ([""], ["secrets"], ["get", "update"])
    policy = find(resources, "NetworkPolicy", "secrets")["spec"]
    assert "ingress" not in policy  # nobody
    assert policy["egress"][1:] == [{"ports": [{"port": port, "protocol": "TCP"} for port in (443, 6443, 8443, 16443)]}]


def test_without_anything_to_make_there_is_no_secrets_job() -> None:
    for values, options in (("default", (TLS_OFF, *NO_PASSWORDS)), ("external", (TLS_OFF,))):
        assert [
            resource["kind"] for resource in render(values, *options) if "secrets" in str(resource["metadata"])
        ] == []


CERT_MANAGER = ("--set=global.tls.issuer.name=corporate", "--set=global.tls.issuer.kind=ClusterIssuer")


def test_cert_manager_makes_the_certificates_if_it_has_an_issuer() -> None:
    resources = render("default", *CERT_MANAGER, "--set=global.tls.days=10")
    certificates = {
        resource["metadata"]["name"]: resource["spec"]
        for resource in resources
        if resource["kind"] == "Certificate" and resource["apiVersion"] == "cert-manager.io/v1"
    }
    made = spec_of(render())["certificates"]
    assert certificates.keys() == {f"shop-{component}" for component in made}
    for component, identity in made.items():
        spec = certificates[f"shop-{component}"]
        assert spec["secretName"] == f"shop-{component}-tls"
        assert (spec["duration"], spec["uris"]) == ("240h", [identity["uri"]])
        assert spec["issuerRef"] == {"name": "corporate", "kind": "ClusterIssuer", "group": "cert-manager.io"}
        assert spec["usages"] == ["digital signature", "server auth", "client auth"]
        expected = ([*identity["dns"], "localhost"], ["127.0.0.1", "::1"]) if "dns" in identity else (None, None)
        assert (spec.get("dnsNames"), spec.get("ipAddresses")) == expected
    assert by_component(resources) == DEFAULT
    assert spec_of(resources)["certificates"] == {}
    (_, change) = find(resources, "Role", "secrets")["rules"]
    assert change["resourceNames"] == ["shop-redis-auth", "shop-milvus-auth"]


def test_existing_secrets_replace_those_of_the_release() -> None:
    components = [name for name in spec_of(render())["certificates"] if name != "prometheus"]
    given = json.dumps({name: f"own-{name}" for name in components})
    resources = render("default", f"--set-json=global.tls.existingSecrets={given}")
    renamed = {
        component: {re.sub("^shop-(.*)-tls$", r"own-\1", secret): keys for secret, keys in found.items()}
        for component, found in DEFAULT.items()
    }
    assert by_component(resources) == renamed
    assert spec_of(resources)["certificates"] == {}
    assert [resource for resource in resources if resource["kind"] == "Certificate"] == []
    missing = refused('--set-json=global.tls.existingSecrets={"um":"own-um"}')
    assert "global.tls.existingSecrets: name a Secret for archive as well" in missing
    # With an issuer, a Secret replaces a single certificate.
    mixed = render("default", *CERT_MANAGER, "--set=global.tls.existingSecrets.as=public")
    assert by_component(mixed)["as"] == {"public": "tls"}
    assert "shop-as" not in {resource["metadata"]["name"] for resource in mixed if resource["kind"] == "Certificate"}


def policy_of(resources: list[Resource]) -> dict[str, Any]:
    """Who may call what."""
    loaded: dict[str, Any] = yaml.safe_load(find(resources, "ConfigMap", "policy")["data"]["policy.yaml"])
    return loaded


@pytest.mark.parametrize("values", VALUES)
def test_services_read_the_policy_as_it_is_meant(values: str) -> None:
    policy = Policy.parse(find(render(values), "ConfigMap", "policy")["data"]["policy.yaml"].encode(), "policy.yaml")
    assert policy.unknown_methods() == []
    names = {caller.name for caller in policy.callers}
    by_default = {
        "as": {"um/um_call", "cm/cm_call", "recall/recall", "rank/rank_predict"},
        "explorer": {"um/um_call", "cm/cm_call", "recall/recall", "rank/rank_predict"},
        "prometheus": {"metrics"},
        "client": {*METHODS} - {"paddle-serving/inference", "reflection"},
    }
    if values == "all":
        by_default["rank"] = {"paddle-serving/inference"}
    for name in (*names, "other"):
        allowed = {method for method in METHODS if policy.allows(name, method)}
        assert allowed == {"as/as_call"} | by_default.get(name, set()), name
    found = policy.with_certificate((), (f"{SPIFFE}/prometheus",))
    assert found
    assert found.name == "prometheus"


def rules(*stage_callers: str, scorer: str = "") -> list[dict[str, list[str]]]:
    """The rules of a release."""
    return [
        {"callers": list(stage_callers), "methods": STAGES},
        {"callers": ["*"], "methods": ["as/*"]},
        {"callers": ["client"], "methods": ["feed/*"]},
        *([{"callers": [scorer], "methods": ["paddle-serving/*"]}] if scorer else []),
        {"callers": ["prometheus", "client"], "methods": ["metrics"]},
    ]


@pytest.mark.parametrize(
    ("values", "options", "expected"),
    [
        ("default", (), rules("as", "client")),
        ("all", (), rules("as", "explorer", "client", scorer="rank")),
        ("local", (), rules("client")),
        (
            "local",
            ("--set=explorer.enabled=true", "--set=paddleServing.enabled=true"),
            rules("explorer", "client", scorer="compact"),
        ),
    ],
)
def test_components_may_call_what_they_need(values: str, options: tuple[str, ...], expected: list[Any]) -> None:
    policy = policy_of(render(values, *options))
    assert policy["allow"] == expected
    known = {caller["name"]: caller["certificates"] for caller in policy["callers"]}
    named = {caller for rule in policy["allow"] for caller in rule["callers"]} - {"*"}
    assert named <= known.keys()
    assert known.keys() == spec_of(render(values, *options))["certificates"].keys() - {"redis", "milvus"}
    for name, certificates in known.items():
        assert certificates == [f"{SPIFFE}/{name}", f"dns:shop-{name}.prod.svc"]


SHOP = {"name": "shop", "tokens": ["shop"], "rate": {"per_second": 200, "burst": 400}}


def test_the_shop_adds_callers_and_rules() -> None:
    allow = [{"callers": ["shop"], "methods": ["feed/*"]}]
    options = (f"--set-json=security.policy.callers={json.dumps([SHOP])}",)
    policy = policy_of(render("default", *options, f"--set-json=security.policy.allow={json.dumps(allow)}"))
    assert policy["callers"][-1] == SHOP
    assert policy["allow"] == [*rules("as", "client"), *allow]
    # A rule for `as` closes it for all others, except for the tests.
    allow = [{"callers": ["shop"], "methods": ["as/recommend"]}]
    policy = policy_of(render("default", *options, f"--set-json=security.policy.allow={json.dumps(allow)}"))
    assert policy["allow"][1] == {"callers": ["client"], "methods": ["as/*"]}
    assert policy["allow"][-1:] == allow
    reflection = policy_of(render("default", "--set=security.reflection=true"))["allow"][-1]
    assert reflection == {"callers": ["client"], "methods": ["reflection"]}
    clash = refused('--set-json=security.policy.callers=[{"name":"um"}]')
    assert "security.policy.callers: um is a component of the release: choose another name" in clash


SERVERS = {"um", "cm", "recall", "rank", "as", "feed", "compact", "paddle-serving", "controller"}


def server_variables(resources: list[Resource]) -> dict[str, dict[str, Any]]:
    """The variables of each server."""
    return {
        component: environment(containers(template)[0])
        for template in pod_templates(resources).values()
        if (component := template["metadata"]["labels"][COMPONENT]) in SERVERS
    }


def test_servers_check_tokens_and_write_who_called() -> None:
    options = (
        "--set=security.tokensSecret=tokens",
        "--set=security.jwks.configMap=keys",
        "--set=security.jwks.issuer=https://login.example",
        "--set=security.jwks.audience=recmesh",
        "--set=security.audit.enabled=true",
        "--set=security.audit.keySecret=audit",
        "--set=security.reflection=true",
        "--set=paddleServing.enabled=true",
    )
    resources = render("default", *options)
    expected = {
        "RECMESH_POLICY_FILE": "/etc/recmesh/policy/policy.yaml",
        "RECMESH_TOKENS_FILE": "/etc/recmesh/tokens/tokens.yaml",
        "RECMESH_JWKS_FILE": "/etc/recmesh/jwks/jwks.json",
        "RECMESH_JWT_ISSUER": "https://login.example",
        "RECMESH_JWT_AUDIENCE": "recmesh",
        "RECMESH_AUDIT": "true",
        "RECMESH_AUDIT_KEY_FILE": "/etc/recmesh/audit/key",
        "RECMESH_REFLECTION": "true",
    }
    found = server_variables(resources)
    assert found.keys() == SERVERS - {"compact"}
    for component, variables in found.items():
        assert expected.items() <= variables.items(), component
    for template in pod_templates(resources).values():
        component = template["metadata"]["labels"][COMPONENT]
        volumes = {volume["name"]: volume for volume in template["spec"].get("volumes", ())}
        checks = volumes.keys() & {"policy", "tokens", "jwks", "audit"}
        assert checks == ({"policy", "tokens", "jwks", "audit"} if component in SERVERS else set()), component
        if checks:
            assert volumes["tokens"]["secret"] == {
                "secretName": "tokens",
                "items": [{"key": "tokens.yaml", "path": "tokens.yaml"}],
            }
            assert volumes["jwks"]["configMap"]["name"] == "keys"
            assert volumes["audit"]["secret"]["secretName"] == "audit"
    assert "name who issues the tokens" in refused("--set=security.jwks.secret=keys")
    assert "both need TLS: set global.tls.enabled" in refused(TLS_OFF, "--set=security.tokensSecret=tokens")


def test_only_the_public_services_may_do_without_certificates() -> None:
    for values, public in (("all", {"as", "feed"}), ("local", {"compact", "feed"})):
        options = ("--set=global.tls.clientAuth=none", "--set=security.tokensSecret=tokens")
        found = server_variables(render(values, *options))
        without = {name for name, variables in found.items() if variables["RECMESH_TLS_CLIENT_AUTH"] == "none"}
        assert without == public
        default = server_variables(render(values))
        assert {variables["RECMESH_TLS_CLIENT_AUTH"] for variables in default.values()} == {"require"}
    assert "callers need tokens: set security.tokensSecret" in refused("--set=global.tls.clientAuth=none")


def test_who_calls_shows_its_certificate() -> None:
    resources = render("default", "--set=explorer.enabled=true")
    expected = {
        f"RECMESH_TLS_{name}": f"/etc/recmesh/tls/{file}"
        for name, file in (("CERTIFICATE", "tls.crt"), ("KEY", "tls.key"), ("CA", "ca.crt"))
    }
    callers = {"ingest", "archive", "controller", "test", "explorer", "um", "cm", "recall", "rank", "as", "feed"}
    for name, template in pod_templates(resources).items():
        main = containers(template)[-1]
        found = {key: value for key, value in environment(main).items() if key in expected}
        mount = {"name": "tls", "mountPath": "/etc/recmesh/tls", "readOnly": True}
        caller = template["metadata"]["labels"][COMPONENT] in callers
        assert found == (expected if caller else {}), name
        assert (mount in main.get("volumeMounts", ())) is caller, name


def redis_of(resources: list[Resource]) -> tuple[set[str], Resource, Resource]:
    """The lines of redis.conf, the container of Redis, and its Service."""
    lines = set(find(resources, "ConfigMap", "redis")["data"]["redis.conf"].splitlines())
    (container,) = find(resources, "StatefulSet", "redis")["spec"]["template"]["spec"]["containers"]
    return lines, container, find(resources, "Service", "redis")


def test_redis_takes_tls_alone_and_has_users() -> None:
    lines, container, service = redis_of(render())
    assert {"port 0", "tls-port 6380", "tls-auth-clients yes"} <= lines
    assert container["command"] == ["sh", "/etc/redis/start.sh", "/etc/redis/redis.conf"]
    assert environment(container) == {"TZ": "UTC"}
    assert container["ports"] == [{"name": "redis", "containerPort": 6380}]
    probe = ["sh", "-c", container["readinessProbe"]["exec"]["command"][2]]
    assert container["startupProbe"]["exec"]["command"] == container["readinessProbe"]["exec"]["command"] == probe
    assert probe[2] == (
        "REDISCLI_AUTH=$(cat /etc/redis-auth/probe) "
        "exec redis-cli -s /run/redis/redis.sock --user probe -e exists recmesh"
    )
    assert service["spec"]["ports"] == [{"name": "redis", "port": 6380, "targetPort": "redis"}]


@pytest.mark.parametrize(
    ("url", "ca"),
    [("redis://valkey.example:6379/0", None), ("rediss://valkey.example:6380/0", "/etc/ssl/certs/ca-certificates.crt")],
)
def test_an_external_store_is_not_trusted_by_the_ca_of_the_release(url: str, ca: str | None) -> None:
    (um,) = find(render("default", "--set=redis.enabled=false", f"--set=external.redis.url={url}"), "Deployment", "um")[
        "spec"
    ]["template"]["spec"]["containers"]
    assert environment(um).get("RECMESH_REDIS_CA") == ca


def test_a_certificate_of_redis_alone_keeps_its_port() -> None:
    resources = render("default", "--set=redis.tls.existingSecret=redis-tls")
    lines, container, service = redis_of(resources)
    assert {"port 0", "tls-port 6379", "tls-auth-clients no"} <= lines
    assert container["ports"] == [{"name": "redis", "containerPort": 6379}]
    assert service["spec"]["ports"] == [{"name": "redis", "port": 6379, "targetPort": "redis"}]
    found = by_component(resources)
    assert found["redis"] == {"redis-tls": "tls", "shop-redis-auth": "probe users.acl"}
    assert found["um"] == {"shop-um-tls": "tls", "redis-tls": "ca.crt", "shop-redis-auth": "um"}
    assert "redis" not in spec_of(resources)["certificates"]
    (um,) = find(resources, "Deployment", "um")["spec"]["template"]["spec"]["containers"]
    assert environment(um)["RECMESH_REDIS_URL"] == "rediss://shop-redis:6379/0"
    assert environment(um)["RECMESH_REDIS_CA"] == "/etc/recmesh/redis-ca/ca.crt"


def test_milvus_takes_mutual_tls_alone_and_has_users() -> None:
    resources = render()
    (container,) = find(resources, "StatefulSet", "milvus")["spec"]["template"]["spec"]["containers"]
    variables = environment(container)
    assert variables["COMMON_SECURITY_TLSMODE"] == "2"
    assert variables["COMMON_SECURITY_AUTHORIZATIONENABLED"] == "true"
    assert variables["COMMON_SECURITY_SUPERUSERS"] == "root"
    assert variables["COMMON_SECURITY_DEFAULTROOTPASSWORD"] == ("shop-milvus-auth", "root")
    assert variables["PROXY_HTTP_ENABLED"] == "false"
    files = {name: variables[f"TLS_{name}PEMPATH"] for name in ("SERVER", "CA")}
    assert files == {"SERVER": "/etc/milvus-tls/tls.crt", "CA": "/etc/milvus-tls/ca.crt"}
    assert variables["TLS_SERVERKEYPATH"] == "/etc/milvus-tls/tls.key"
    assert container["command"] == ["sh", "/milvus/configs/start.sh"]
    script = find(resources, "ConfigMap", "milvus")["data"]["start.sh"]
    assert script.strip() == (CHARTS / "recmesh/files/milvus-start.sh").read_text().strip()
    own = render("default", "--set=milvus.auth.existingSecret=own")
    assert {found["own"] for found in by_component(own).values() if "own" in found} == {"root", "recall", "all"}
    assert "milvus" not in spec_of(own)


@pytest.mark.parametrize(
    ("tag", "folder"),
    [("v2.3.5", "/var/lib/milvus"), ("v2.6.9", "/var/lib/milvus/2.6"), ("x", "/var/lib/milvus/other")],
)
def test_a_minor_version_of_milvus_has_a_folder_of_its_own_which_ingestion_fills(tag: str, folder: str) -> None:
    resources = render("default", f"--set=milvus.image.tag={tag}")
    (container,) = find(resources, "StatefulSet", "milvus")["spec"]["template"]["spec"]["containers"]
    variables = environment(container)
    names = {"ETCD_DATA_DIR": "etcd", "LOCALSTORAGE_PATH": "data", "ROCKSMQ_PATH": "rdb_data"}
    assert {name: variables[name] for name in names} == {key: f"{folder}/{end}" for key, end in names.items()}
    patch = render("default", f"--set=milvus.image.tag={tag}-patch")
    other = render("default", "--set=milvus.image.tag=v9.9.0")
    job = [find(found, "Job", "ingest")["metadata"]["name"] for found in (resources, patch, other)]
    assert job[0] == job[1] != job[2]


def test_plain_connections_are_taken_only_on_request() -> None:
    for values in ("default", "local", "all"):
        resources = render(values)
        assert not any("RECMESH_TLS_ACCEPT_PLAIN" in found for found in server_variables(resources).values())
        assert resources == render(values, "--set=global.tls.acceptPlain=auto")  # no cluster to look at
        assert resources == render(values, "--set=global.tls.acceptPlain=false")
        for resource in resources:
            if resource["kind"] == "Deployment":
                assert resource["metadata"]["annotations"] == {"recmesh.io/tls": "required"}


def test_during_an_upgrade_servers_and_redis_take_pods_without_tls() -> None:
    resources = render("default", "--set=global.tls.acceptPlain=true", "--set=explorer.enabled=true")
    found = server_variables(resources)
    assert {variables["RECMESH_TLS_ACCEPT_PLAIN"] for variables in found.values()} == {"true"}
    for component in (*found, "explorer"):
        annotations = find(resources, "Deployment", component)["metadata"]["annotations"]
        assert annotations == {"recmesh.io/tls": "accepts-plain"}
    lines, container, service = redis_of(resources)
    assert {"port 6379", "tls-port 6380"} <= lines
    assert environment(container)["REDIS_DEFAULT_USER"] == "nopass"
    assert [(port["port"], port["targetPort"]) for port in service["spec"]["ports"]] == [(6380, "redis"), (6379, 6379)]
    both = [{"port": port, "protocol": "TCP"} for port in (6380, 6379)]
    assert find(resources, "NetworkPolicy", "redis")["spec"]["ingress"][0]["ports"] == both
    um = find(resources, "NetworkPolicy", "um")["spec"]["egress"]
    assert both in [rule["ports"] for rule in um]
    closed = render("default", "--set=explorer.enabled=true")
    before = {("Job" if resource["kind"] == "Job" else "", resource["metadata"]["name"]) for resource in resources}
    jobs = {resource["metadata"]["name"] for resource in closed if resource["kind"] == "Job"}
    assert {("Job", name) for name in jobs} < before  # none is repeated when plain connections end


def test_an_upgrade_makes_the_secrets_before_it_replaces_pods() -> None:
    """The pod of Redis, whose predecessor ends first, does not have to wait for them."""
    ordinary = render("default")
    hooks = [resource for resource in render("default", "--set=global.tls.acceptPlain=true") if is_hook(resource)]
    kinds = sorted(resource["kind"] for resource in hooks if resource["kind"] != "Pod")
    assert kinds == ["ConfigMap", "Job", "Role", "RoleBinding", "ServiceAccount"]
    for resource in hooks:
        annotations = resource["metadata"]["annotations"]
        if resource["kind"] == "Pod":
            continue
        assert annotations["helm.sh/hook"] == "pre-upgrade"
        assert annotations["helm.sh/hook-weight"] == ("1" if resource["kind"] == "Job" else "0")
        assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
    role, job = (next(found for found in hooks if found["kind"] == kind) for kind in ("Role", "Job"))
    assert role["rules"] == find(ordinary, "Role", "secrets")["rules"]
    spec, normal = job["spec"]["template"]["spec"], find(ordinary, "Job", "secrets")["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == role["metadata"]["name"] == "shop-secrets-upgrade"
    assert spec["containers"] == normal["containers"]
    assert {"name": "spec", "configMap": {"name": "shop-secrets-upgrade-spec"}} in spec["volumes"]
    assert not [resource for resource in ordinary if is_hook(resource) and resource["kind"] != "Pod"]


def is_hook(resource: Resource) -> bool:
    """Whether helm runs a resource at a certain time."""
    return "helm.sh/hook" in resource["metadata"].get("annotations", {})


def test_without_tls_and_passwords_nothing_secret_is_needed() -> None:
    for values in ("default", "local"):
        resources = render(values, TLS_OFF, *NO_PASSWORDS)
        assert {str(found) for found in by_component(resources).values()} == {"{}"}
        text = json.dumps(resources)
        assert not re.search(r"rediss:|https|HTTPS|RECMESH_TLS|/etc/recmesh/", text)
        (as_port, *_) = find(resources, "Service", "as")["spec"]["ports"]
        assert as_port["appProtocol"] == "kubernetes.io/h2c"
        lines, container, _ = redis_of(resources)
        assert "port 6379" in lines
        assert container["command"] == ["redis-server", "/etc/redis/redis.conf"]
        assert (
            find(resources, "StatefulSet", "milvus")["spec"]["template"]["spec"]["containers"][0]["ports"][0][
                "containerPort"
            ]
            == 19530
        )


def test_passwords_do_not_need_tls() -> None:
    found = by_component(render("default", TLS_OFF))
    tls = {
        component: {name: key for name, key in given.items() if key != "tls"} for component, given in DEFAULT.items()
    }
    assert found == tls


@pytest.mark.parametrize(
    "missing",
    [
        *("security", "security.policy", "security.jwks", "security.audit", "security.policy.callers"),
        *("global.tls.issuer", "global.tls.existingSecrets", "global.tls.trustDomain", "global.tls.days"),
        *("global.tls.clientAuth", "global.tls.acceptPlain"),
        *("redis.auth", "redis.tls", "milvus.auth", "milvus.config"),
    ],
)
@pytest.mark.parametrize("values", ["default", "all", "local"])
def test_values_of_an_older_release_lack_the_new_ones(values: str, missing: str) -> None:
    assert find(render(values, f"--set={missing}=null"), "ServiceAccount", "services")


@pytest.mark.parametrize(
    "option",
    [
        "global.tls.acceptPlain=maybe",
        "global.tls.clientAuth=optional",
        "global.tls.days=0",
        "global.tls.trustDomain=Shop Example",
        "global.tls.secret=x",
        "tls.enabled=true",
        "security.tokens=x",
        "security.reflection=maybe",
        "milvus.auth.password=x",
        "redis.auth.password=x",
        "secrets.schedule=",
    ],
)
def test_invalid_values_are_refused(option: str) -> None:
    assert "don't meet the specifications of the schema" in refused(f"--set={option}")
