"""Policies: who a caller is, what each may call, and that every error names its line."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmesh.callers import DEFAULT_POLICY, METHODS, Policy, Rate
from recmesh.callers.policy import MAX_POLICY_BYTES
from recmesh.errors import DataError

AS = "spiffe://cluster.local/ns/shop/release/r/as"
GOOD = """\
callers:
  - {name: as, certificates: ["spiffe://cluster.local/ns/shop/release/r/as", "dns:r-as"]}
  - {name: ours, certificates: spiffe://cluster.local/ns/shop/*}
  - {name: edge, certificates: "dns:*.edge.example"}
  - {name: shop, tokens: [shop, web], rate: {per_second: 200, burst: 400}}
  - {name: partner, jwt: {sub: partner, groups: buyers}, rate: {per_second: 0.5}}
allow:
  - {callers: [as, ours], methods: ["um/*", cm/cm_call]}
  - {callers: shop, methods: "feed/put_*"}
  - {callers: ["*"], methods: [as/*, metrics]}
"""
POLICY = Policy.parse(GOOD.encode(), "policy.yaml")
ERROR = re.compile(r"policy\.yaml line (\d+), column (\d+): [^\n]+")


def refused(text: str | bytes) -> str:
    with pytest.raises(DataError) as error:
        Policy.parse(text.encode() if isinstance(text, str) else text, "policy.yaml")
    assert ERROR.fullmatch(str(error.value)), str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("dns", "uris", "name"),
    [
        ([], [AS], "as"),
        (["R-AS"], [], "as"),
        (["x", "r-as"], ["spiffe://cluster.local/ns/shop/release/r/um"], "as"),  # The first caller that fits.
        ([], ["spiffe://cluster.local/ns/shop/release/r/um"], "ours"),
        ([], ["spiffe://cluster.local/ns/shop/"], None),
        ([], ["spiffe://cluster.local/ns/shopping/release/r/um"], None),
        ([], [AS + "/more"], "ours"),
        ([], ["dns:r-as"], None),
        ([AS], [], None),
        (["a.edge.example"], [], "edge"),
        (["a.b.edge.example"], [], None),
        (["edge.example"], [], None),
        (["r-as.example"], [], None),
        ([], [], None),
    ],
)
def test_a_certificate_makes_a_caller(dns: list[str], uris: list[str], name: str | None) -> None:
    caller = POLICY.with_certificate(dns, uris)
    assert (caller and caller.name) == name


@pytest.mark.parametrize(("token", "name"), [("shop", "shop"), ("web", "shop"), ("as", None), ("", None)])
def test_a_token_makes_a_caller(token: str, name: str | None) -> None:
    caller = POLICY.with_token(token)
    assert (caller and caller.name) == name


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"sub": "partner", "groups": ["sellers", "buyers"]}, "partner"),
        ({"sub": "partner", "groups": "buyers"}, "partner"),
        ({"sub": "partner", "groups": "my buyers"}, None),
        ({"sub": "partner", "groups": ["my buyers"]}, None),
        ({"sub": "partner"}, None),
        ({"sub": ["partner"], "groups": {"buyers": 1}}, None),
        ({}, None),
    ],
)
def test_claims_make_a_caller_if_all_of_them_fit(claims: dict[str, object], name: str | None) -> None:
    caller = POLICY.with_claims(claims)
    assert (caller and caller.name) == name


@pytest.mark.parametrize(
    ("caller", "allowed"),
    [
        ("as", {"um/um_call", "cm/cm_call", "as/as_call", "metrics"}),
        ("shop", {"feed/put_users", "feed/put_items", "as/as_call", "metrics"}),
        ("partner", {"as/as_call", "metrics"}),
        ("other", {"as/as_call", "metrics"}),
    ],
)
def test_callers_may_call_what_a_rule_allows_and_nothing_else(caller: str, allowed: set[str]) -> None:
    assert {method for method in METHODS if POLICY.allows(caller, method)} == allowed


def test_only_as_is_open_by_default_and_a_rule_that_names_it_closes_it() -> None:
    assert [method for method in METHODS if DEFAULT_POLICY.allows("other", method)] == ["as/as_call"]
    closed = Policy.parse(
        b"callers: [{name: a, tokens: a}, {name: b, tokens: b}]\nallow: [{callers: a, methods: as/as_call}]", "p"
    )
    assert [closed.allows(caller, "as/as_call") for caller in ("a", "b", "other")] == [True, False, False]
    # A caller cannot take the place of "*".
    assert not closed.allows("*", "um/um_call")


def test_the_methods_are_those_of_the_services() -> None:
    assert (
        *("um/um_call", "cm/cm_call", "recall/recall", "rank/rank_predict", "as/as_call"),
        *("feed/record_actions", "feed/put_users", "feed/put_items", "feed/remove_items", "feed/set_availability"),
        *("feed/delete_user", "paddle-serving/inference", "metrics", "reflection"),
    ) == METHODS
    everything = Policy.parse(b'callers: [{name: a, tokens: a}]\nallow: [{callers: a, methods: "*"}]', "p")
    assert all(everything.allows("a", method) for method in METHODS)


def test_methods_of_another_version_are_named_but_accepted() -> None:
    policy = Policy.parse(b'allow: [{callers: "*", methods: [um/um_look, um/*, feed/put_x*]}]', "p")
    assert policy.unknown_methods() == ["um/um_look", "feed/put_x*"]
    assert POLICY.unknown_methods() == []


def test_the_burst_is_that_of_a_second_and_never_less_than_a_call() -> None:
    rates = {caller.name: caller.rate for caller in POLICY.callers if caller.rate}
    assert rates == {"shop": Rate(per_second=200, burst=400), "partner": Rate(per_second=0.5)}
    assert [rate.most for rate in (*rates.values(), Rate(per_second=20))] == [400, 1, 20]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1: must be a mapping with the keys callers and allow"),
        ("callers: [", "line 1, column 11: invalid YAML: expected the node content, but found '<stream end>'"),
        ("callers: []\ncallers: []", 'line 2, column 1: invalid YAML: key "callers" occurs twice'),
        ("allows: []", 'line 1, column 1: unknown key "allows"; did you mean "allow"?; allowed: callers, allow'),
        ("callers: x", 'line 1, column 10: callers: must be a list, not "x"'),
        (
            "callers:\n  - x",
            'line 2, column 5: callers: must be a mapping with the keys name, certificates, tokens, jwt, rate, not "x"',
        ),
        (
            "callers:\n  - {name: a, token: a}",
            'line 2, column 15: unknown key "token"; did you mean "tokens"?; '
            "allowed: name, certificates, tokens, jwt, rate",
        ),
        (
            "callers:\n  - {tokens: a}",
            'line 2, column 5: the key "name" is missing; allowed: name, certificates, tokens, jwt, rate',
        ),
        ("callers:\n  - {name: a}", 'line 2, column 5: callers: caller "a" needs certificates, tokens or jwt'),
        (
            "callers:\n  - {name: a b, tokens: a}",
            'line 2, column 12: callers.name: must be a name of 1 to 64 letters, digits and ._-, not "a b"',
        ),
        (
            "callers:\n  - {name: plain, tokens: a}",
            'line 2, column 12: callers.name: "plain" has a meaning of its own: choose another name',
        ),
        (
            "callers:\n  - {name: a, tokens: a}\n  - {name: a, tokens: b}",
            'line 3, column 12: name: "a" is the name of the caller in line 2; choose another one',
        ),
        (
            "callers:\n  - {name: a, certificates: [r-as]}",
            "line 2, column 30: callers.certificates: must be a URI such as spiffe://cluster.local/ns/shop/*, or "
            'dns:NAME, not "r-as"',
        ),
        (
            'callers:\n  - {name: a, certificates: "spiffe://*/as"}',
            "line 2, column 29: callers.certificates: must be a URI such as spiffe://cluster.local/ns/shop/*, or "
            'dns:NAME, not "spiffe://*/as"',
        ),
        ("callers:\n  - {name: a, jwt: {sub: ''}}", "line 2, column 26: callers.jwt.sub: String should have at least"),
        (
            "callers:\n  - {name: a, tokens: a, rate: {per_second: 0}}",
            'line 2, column 45: callers.rate.per_second: must be greater than 0, not "0"',
        ),
        (
            "callers:\n  - {name: a, tokens: a, rate: 5}",
            'line 2, column 32: callers.rate: must be a mapping with the keys per_second, burst, not "5"',
        ),
        (
            "callers:\n  - {name: a, tokens: a, rate: {per_secnd: 5}}",
            'line 2, column 33: unknown key "per_secnd"; did you mean "per_second"?; allowed: per_second, burst',
        ),
        (
            "allow:\n  - {callers: shp, methods: um/*}\ncallers: [{name: shop, tokens: a}]",
            'line 2, column 15: callers: no caller is called "shp"; did you mean "shop"?',
        ),
        (
            'allow:\n  - {callers: "*", methods: fed/*}',
            'line 2, column 29: allow.methods: "fed/*": no service is called "fed"; did you mean "feed"?',
        ),
        (
            'allow:\n  - {callers: "*", methods: metric}',
            'line 2, column 29: allow.methods: "metric": no method is called "metric"; did you mean "metrics"?',
        ),
        (
            'allow:\n  - {callers: "*", methods: []}',
            "line 2, column 29: allow.methods: must have at least 1 entries, not 0",
        ),
        ('allow:\n  - {callers: "*"}', 'line 2, column 5: the key "methods" is missing; allowed: callers, methods'),
        ("allow:\n  - {callers: a b, methods: um/*}", "line 2, column 15: allow.callers: must be a name of 1 to 64"),
        ("#" * (MAX_POLICY_BYTES + 1), "line 1, column 65537: the file is longer than 65,536 bytes"),
        (b"\xff", "line 1, column 1: is not UTF-8"),
        ("[" * 5_000, "line 1, column 1: is nested too deeply"),
    ],
)
def test_every_error_names_its_line_and_says_what_to_do(text: str | bytes, message: str) -> None:
    assert message in refused(text)


def test_the_number_of_callers_rules_and_entries_is_limited() -> None:
    callers = "callers:\n" + "  - {name: c%d, tokens: a}\n" * 201 % tuple(range(201))
    assert "callers: must have at most 200 entries, not 201" in refused(callers)
    assert "must have at most 200" in refused("allow:\n" + '  - {callers: "*", methods: um/*}\n' * 201)
    assert "must have at most 100" in refused(f"callers:\n  - {{name: a, tokens: [{', '.join('t' * 101)}]}}")


_WORDS = [
    *("callers", "allow", "name", "tokens", "jwt", "rate", "per_second", "*", "um/*", "as", "5", "nan"),
    *("&a", "*a", "!!x", "dns:x", "spiffe://a/*"),
]
_CELLS = st.sampled_from([*_WORDS, "{", "}", "[", "]", ":", ",", "- ", "\n", " ", '"', "\x00", "é", "\u2028"])


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.lists(_CELLS, max_size=40).map("".join), st.text(max_size=60), st.binary(max_size=40)))
def test_any_file_is_a_policy_or_an_error_of_one_line(text: str | bytes) -> None:
    content = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    try:
        policy = Policy.parse(content, "policy.yaml")
    except DataError as error:
        assert ERROR.fullmatch(str(error)), str(error)
    else:
        assert not policy.allows("nobody", "um/um_call") or "*" in content.decode()


@settings(max_examples=200, deadline=None)
@given(
    position=st.integers(0, len(GOOD) - 1), removed=st.integers(0, 6), added=st.text("{}[],:-*'\" \nax5", max_size=3)
)
def test_a_damaged_policy_is_a_policy_or_an_error_of_one_line(position: int, removed: int, added: str) -> None:
    content = (GOOD[:position] + added + GOOD[position + removed :]).encode()
    try:
        policy = Policy.parse(content, "policy.yaml")
    except DataError as error:
        assert ERROR.fullmatch(str(error)), str(error)
    else:
        assert {caller.name for caller in policy.callers} >= {
            name for rule in policy.allow for name in rule.callers if name != "*"
        }
