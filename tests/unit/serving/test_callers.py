"""Who calls: certificates, tokens and JWTs, by files that change while a server runs."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from recmesh.errors import DataError, PermissionDenied, SettingsError, Unauthenticated
from recmesh.serving import ServerSettings
from recmesh.serving.callers import Caller, Callers
from recmesh.serving.encryption import Encryption
from recmesh.serving.load import Refused
from recmesh.serving.peer import NO_PEER, Peer, Peers, bearer_token
from tests.web_keys import AUDIENCE, ISSUER, NOW, Key, jwks, set_time

SHOP, NEXT, WEB = "shop-0123456789abcdef", "next-0123456789abcdef", "web-0123456789abcdef"
WRONG, MALFORMED, TOKEN = "wrong", "a.b.c", "abc"
AS = Peer(dns=("r-as",), uris=("spiffe://cluster.local/ns/shop/release/r/as",), encrypted=True, certified=True)
UM = Peer(dns=("r-um",), uris=("spiffe://cluster.local/ns/shop/release/r/um",), encrypted=True, certified=True)
MUTUAL, MIXED = (Encryption(cast(Any, None), client_auth=True, accept_plain=plain) for plain in (False, True))
POLICY = """\
callers:
  - {name: as, certificates: spiffe://cluster.local/ns/shop/release/r/as}
  - {name: shop, tokens: shop, rate: {per_second: 2, burst: 3}}
  - {name: partner, jwt: {sub: partner}}
allow:
  - {callers: as, methods: ["um/*"]}
  - {callers: partner, methods: feed/put_items}
"""


class Clock:
    """Seconds that a test moves."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class _Files:
    """The files of a server, and its callers."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self.clock, self.monotonic = Clock(NOW), Clock(50.0)
        set_time(monkeypatch, self.clock)

    def write(self, name: str, content: str | bytes) -> Path:
        path = self._folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def callers(self, encryption: Encryption | None = MUTUAL, **content: str | bytes) -> Callers:
        given: dict[str, Any] = {f"{name}_file": self.write(name, text) for name, text in content.items()}
        if "jwks" in content:
            given |= {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE}
        settings = ServerSettings(**given)
        return Callers(settings, encryption, clock=self.clock, monotonic=self.monotonic)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Files:
    return _Files(tmp_path, monkeypatch)


def refused(admit: Callable[[], Caller], error: type[Exception]) -> str:
    with pytest.raises(error) as raised:
        admit()
    return str(raised.value)


def test_without_settings_everybody_may_call_everything() -> None:
    assert Callers.of(ServerSettings(), None) is None


def test_without_a_policy_a_certificate_opens_everything_and_a_token_only_as(files: _Files) -> None:
    callers = files.callers(tokens=f"shop: {SHOP}")
    for method in ("um/um_call", "feed/delete_user", "metrics", "reflection"):
        assert callers.admit(UM, method).name == UM.uris[0]
    shop = Peer(encrypted=True, token=SHOP)
    assert callers.admit(shop, "as/as_call") == Caller("token shop", allowed={"as/as_call": True})
    assert refused(lambda: callers.admit(shop, "um/um_call"), PermissionDenied) == (
        "token shop may not call um/um_call: a rule of the policy must allow it"
    )


def test_the_policy_says_who_may_call_what(files: _Files) -> None:
    callers = files.callers(policy=POLICY, tokens=f"shop: {SHOP}\nweb: {WEB}")
    assert (callers.admit(AS, "um/um_call").name, callers.admit(AS, "um/um_call").label) == ("as", "as")
    assert refused(lambda: callers.admit(AS, "cm/cm_call"), PermissionDenied).startswith("as may not call cm/cm_call")
    stranger = callers.admit(UM, "as/as_call")
    assert (stranger.name, stranger.label) == (UM.uris[0], "other")
    assert refused(lambda: callers.admit(UM, "um/um_call"), PermissionDenied)
    web = callers.admit(Peer(token=WEB), "as/as_call")
    assert (web.name, web.label) == ("token web", "other")


def test_who_shows_nothing_is_nobody(files: _Files) -> None:
    callers = files.callers(policy=POLICY)
    text = "callers must show a client certificate or a bearer token (docs/callers.md)"
    for peer in (NO_PEER, Peer(encrypted=True)):
        assert refused(lambda: callers.admit(peer, "as/as_call"), Unauthenticated) == text  # noqa: B023
    by_token = files.callers(None, tokens=f"shop: {SHOP}")
    assert refused(lambda: by_token.admit(NO_PEER, "as/as_call"), Unauthenticated) == (
        "callers must show a bearer token (docs/callers.md)"
    )
    # Names that nobody has verified.
    uncertified = AS._replace(certified=False)
    assert refused(lambda: callers.admit(uncertified, "as/as_call"), Unauthenticated) == text


def test_a_wrong_token_is_refused_even_with_a_good_certificate(files: _Files) -> None:
    callers = files.callers(tokens=f"shop: {SHOP}")
    text = "the bearer token is not known: it is wrong, or was withdrawn"
    assert refused(lambda: callers.admit(AS._replace(token=SHOP + "x"), "as/as_call"), Unauthenticated) == text
    assert refused(lambda: callers.admit(AS._replace(token=MALFORMED), "as/as_call"), Unauthenticated) == text
    # The token says more than the certificate of the program that passes it on.
    assert callers.admit(AS._replace(token=SHOP), "as/as_call").name == "token shop"
    # Without tokens in the settings, the header is none of the server's business.
    assert files.callers().admit(AS._replace(token=WRONG), "um/um_call").name == AS.uris[0]


def test_plain_callers_may_call_everything_while_they_are_accepted(files: _Files) -> None:
    callers = files.callers(MIXED, policy=POLICY, tokens=f"shop: {SHOP}")
    for peer in (NO_PEER, Peer(token=WRONG)):
        caller = callers.admit(peer, "feed/delete_user")
        assert (caller.name, caller.label) == ("plain", "plain")
    assert refused(lambda: callers.admit(Peer(encrypted=True), "as/as_call"), Unauthenticated)
    assert refused(lambda: callers.admit(Peer(encrypted=True, token=WRONG), "as/as_call"), Unauthenticated)


def test_a_caller_has_one_bucket_whatever_it_shows_and_calls(files: _Files) -> None:
    callers = files.callers(policy=POLICY, tokens=f"shop: [{SHOP}, {NEXT}]")
    for token, method in ((SHOP, "as/as_call"), (NEXT, "as/as_call"), (SHOP, "as/as_call")):
        callers.admit(Peer(token=token), method)
    with pytest.raises(Refused) as error:
        callers.admit(Peer(token=NEXT), "as/as_call")
    assert (error.value.reason, str(error.value)) == ("rate", "shop calls more than 2 times a second: call less often")
    # Calls that are denied take nothing, and others have no limit.
    files.monotonic.now += 0.5
    refused(lambda: callers.admit(Peer(token=SHOP), "um/um_call"), PermissionDenied)
    callers.admit(Peer(token=SHOP), "as/as_call")
    for _ in range(100):
        callers.admit(AS, "um/um_call")


def test_a_jwt_is_accepted_until_it_expires(files: _Files) -> None:
    key = Key("ES256", "k1")
    callers = files.callers(policy=POLICY, jwks=jwks(key.public()))
    partner, other = Peer(token=key.token()), Peer(token=key.token({"sub": "reader"}))
    for _ in range(2):
        assert callers.admit(partner, "feed/put_items").name == "partner"
    caller = callers.admit(other, "as/as_call")
    assert (caller.name, caller.label) == ("jwt reader", "other")
    files.clock.now = NOW + 309
    callers.admit(partner, "feed/put_items")
    files.clock.now = NOW + 310
    text = "JWT not accepted: Signature has expired"
    assert refused(lambda: callers.admit(partner, "feed/put_items"), Unauthenticated) == text


def test_a_token_that_was_checked_is_not_checked_again(files: _Files, monkeypatch: pytest.MonkeyPatch) -> None:
    from recmesh.callers import web_tokens

    checks: list[str] = []
    check = web_tokens.WebTokens.check

    def counted(self: web_tokens.WebTokens, token: str) -> web_tokens.Claims:
        checks.append(token)
        return check(self, token)

    monkeypatch.setattr(web_tokens.WebTokens, "check", counted)
    key = Key("ES256", "k1")
    callers = files.callers(jwks=jwks(key.public()))
    monkeypatch.setattr("recmesh.serving.callers._MAX_KEPT", 3)
    tokens = [key.token({"sub": str(number)}) for number in range(4)]
    for token in (*tokens[:3], *tokens[:3]):
        callers.admit(Peer(token=token), "as/as_call")
    assert checks == tokens[:3]
    # What is kept is limited.
    callers.admit(Peer(token=tokens[3]), "as/as_call")
    callers.admit(Peer(token=tokens[0]), "as/as_call")
    assert checks == [*tokens, tokens[0]]
    # Tokens that are not accepted are not kept.
    for _ in range(2):
        refused(lambda: callers.admit(Peer(token=MALFORMED), "as/as_call"), Unauthenticated)
    assert checks[5:] == ["a.b.c"] * 2


def test_keys_and_tokens_are_replaced_while_the_server_runs(files: _Files) -> None:
    first, second = Key("ES256", "k1"), Key("RS256", "k2")
    callers = files.callers(policy=POLICY, tokens=f"shop: {SHOP}", jwks=jwks(first.public()))
    old, new = Peer(token=first.token()), Peer(token=second.token())
    assert callers.admit(old, "as/as_call").name == "partner"
    assert refused(lambda: callers.admit(new, "as/as_call"), Unauthenticated)
    files.write("jwks", jwks(first.public(), second.public()))
    files.write("tokens", f"shop: [{SHOP}, {NEXT}]")
    callers.refresh()
    assert [callers.admit(peer, "as/as_call").name for peer in (old, new)] == ["partner"] * 2
    assert [callers.admit(Peer(token=token), "as/as_call").name for token in (SHOP, NEXT)] == ["shop"] * 2
    files.write("jwks", jwks(second.public()))
    files.write("tokens", f"shop: {NEXT}")
    callers.refresh()
    assert callers.admit(new, "as/as_call").name == "partner"
    # What was withdrawn is refused, also if it was kept.
    assert refused(lambda: callers.admit(old, "as/as_call"), Unauthenticated)
    assert refused(lambda: callers.admit(Peer(token=SHOP), "as/as_call"), Unauthenticated)


def test_a_new_policy_counts_and_rates_that_stay_keep_their_buckets(files: _Files) -> None:
    callers = files.callers(policy=POLICY, tokens=f"shop: {SHOP}")
    shop = Peer(token=SHOP)
    for _ in range(3):
        callers.admit(shop, "as/as_call")
    files.write("policy", POLICY.replace('["um/*"]', '["cm/*"]'))
    callers.refresh()
    assert callers.admit(AS, "cm/cm_call").name == "as"
    assert refused(lambda: callers.admit(AS, "um/um_call"), PermissionDenied)
    assert refused(lambda: callers.admit(shop, "as/as_call"), Refused)
    files.write("policy", POLICY.replace("burst: 3", "burst: 1"))
    callers.refresh()
    callers.admit(shop, "as/as_call")
    assert refused(lambda: callers.admit(shop, "as/as_call"), Refused)


def test_a_file_that_becomes_bad_changes_nothing_and_is_logged_once(files: _Files, tmp_path: Path) -> None:
    callers = files.callers(policy=POLICY, tokens=f"shop: {SHOP}")
    files.write("policy", "callers: [")
    files.write("tokens", f"shop: {NEXT}")
    with capture_logs() as lines:
        for _ in range(3):
            callers.refresh()
        (tmp_path / "policy").unlink()
        for _ in range(3):
            callers.refresh()
    assert callers.admit(AS, "um/um_call").name == "as"
    assert callers.admit(Peer(token=NEXT), "as/as_call").name == "shop"
    gone = f"RECMESH_POLICY_FILE {tmp_path}/policy cannot be read: No such file or directory"
    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("warning", "file not used; what it held before stays"),
        ("info", "file read"),
        ("warning", "file not used; what it held before stays"),
    ]
    reasons = [line["reason"] for line in lines]
    assert reasons[0].startswith(f"{tmp_path}/policy line 1, column 11: invalid YAML")
    assert reasons[2].startswith(gone)
    # It is back, as it was.
    files.write("policy", POLICY)
    callers.refresh()
    assert callers.admit(AS, "um/um_call").name == "as"


def test_a_secret_that_kubernetes_replaces_is_read_again(files: _Files, tmp_path: Path) -> None:
    for version, token in (("..1", SHOP), ("..2", NEXT)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "tokens.yaml").write_text(f"shop: {token}")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "tokens.yaml").symlink_to("..data/tokens.yaml")
    callers = Callers(ServerSettings(tokens_file=tmp_path / "tokens.yaml"))
    assert callers.admit(Peer(token=SHOP), "as/as_call")
    (tmp_path / "..tmp").symlink_to("..2")
    os.replace(tmp_path / "..tmp", tmp_path / "..data")  # noqa: PTH105
    callers.refresh()
    assert callers.admit(Peer(token=NEXT), "as/as_call")
    assert refused(lambda: callers.admit(Peer(token=SHOP), "as/as_call"), Unauthenticated)


def test_a_server_does_not_start_with_bad_settings(files: _Files, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"RECMESH_POLICY_FILE /nowhere cannot be read: No such file or directory"):
        Callers.of(ServerSettings(policy_file=Path("/nowhere")), None)
    with pytest.raises(SettingsError, match=r"^callers cannot show who they are: set RECMESH_TOKENS_FILE"):
        files.callers(None, policy=POLICY)
    with pytest.raises(DataError, match=r"policy line 1, column 1: must be a mapping"):
        files.callers(policy="")
    with pytest.raises(SettingsError, match=r"^RECMESH_JWKS_FILE needs RECMESH_JWT_ISSUER and RECMESH_JWT_AUDIENCE"):
        Callers(ServerSettings(jwks_file=files.write("jwks", jwks()), jwt_issuer="x"), MUTUAL)


def test_a_method_of_another_version_is_logged(files: _Files) -> None:
    with capture_logs() as lines:
        files.callers(policy='allow: [{callers: "*", methods: [um/um_look]}]')
    assert [(line["event"], line["reason"]) for line in lines] == [
        ("the policy names methods that do not exist", "um/um_look")
    ]


@pytest.mark.parametrize(
    ("metadata", "token"),
    [
        ((("authorization", "Bearer abc"),), "abc"),
        ((("x", "Bearer x"), ("authorization", "bearer  abc "), ("authorization", "Bearer b")), "abc"),
        ((("authorization", "Basic abc"),), ""),
        ((("authorization", b"Bearer abc"),), ""),
        ((("authorization", "Bearer"),), ""),
        ((), ""),
        (None, ""),
    ],
)
def test_the_token_is_in_the_metadata(metadata: Any, token: str) -> None:
    assert bearer_token(metadata) == token
    assert Peer(dns=("a",)).with_token(metadata) == Peer(dns=("a",), token=token)


KINDS = ("peer_dns", "peer_uri")


class _Context:
    """What gRPC knows about a connection; `asked` counts the slow questions."""

    def __init__(self, place: str = "", *, common: bytes = b"", **properties: list[bytes]) -> None:
        self._place = place
        self._properties = {**properties, "transport_security_type": [b"ssl"], "x509_pem_cert": [b"..."]}
        self._common = common
        self.asked = 0

    def peer(self) -> str:
        return self._place

    def peer_identity_key(self) -> str:
        return "x509_common_name" if self._common else "x509_subject_alternative_name"

    def peer_identities(self) -> list[bytes]:
        return [self._common] if self._common else [name for kind in KINDS for name in self._properties.get(kind, ())]

    def auth_context(self) -> dict[str, list[bytes]]:
        self.asked += 1
        return self._properties

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", "Bearer abc"),)


def test_grpc_is_asked_once_about_a_certificate() -> None:
    peers = Peers()
    context = _Context(peer_dns=[b"r-as"], peer_uri=[b"spiffe://a/b"])
    for _ in range(3):
        assert peers.of(context) == (("r-as",), ("spiffe://a/b",), True, True, TOKEN)
    assert context.asked == 1


@pytest.mark.parametrize(
    "other",
    [
        _Context("ipv4:10.0.0.1:7", peer_dns=[b"r-um"]),
        _Context("ipv4:10.0.0.1:7", common=b"r-as"),
        _Context("ipv4:10.0.0.1:8", peer_uri=[b"r-as"]),
        _Context("ipv4:10.0.0.1:7", peer_dns=[b"r-as", b"r-um"]),
    ],
)
def test_no_connection_is_taken_for_another_one(other: _Context) -> None:
    ours = _Context("ipv4:10.0.0.1:7", peer_dns=[b"r-as"])
    for contexts in ((ours, other), (other, ours)):
        peers = Peers()
        found = {context: peers.of(context) for context in contexts}
        assert found[ours] == (("r-as",), (), True, True, TOKEN)
        assert found[other] != found[ours]


def test_without_a_certificate_grpc_tells_whether_there_is_tls() -> None:
    class Plain(_Context):
        def auth_context(self) -> dict[str, list[bytes]]:
            return {"transport_security_type": [b"insecure"]}

    assert Peers().of(Plain()) == NO_PEER._replace(token=TOKEN)
    assert Peers(by_token_only=True).of(_Context(peer_dns=[b"r-as"])) == NO_PEER._replace(token=TOKEN)


def test_the_number_of_known_peers_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recmesh.serving.peer._MAX_KEPT", 2)
    peers = Peers()
    for number in range(10):
        peers.of(_Context(peer_dns=[b"r-%d" % number]))
        assert len(peers._known) <= 2


def test_a_certificate_without_names_is_a_caller_without_a_name(files: _Files) -> None:
    nameless = Peer(encrypted=True, certified=True)
    assert files.callers().admit(nameless, "um/um_call").name == "a certificate without names"
    callers = files.callers(policy=POLICY)
    assert callers.admit(nameless, "as/as_call").label == "other"
    assert refused(lambda: callers.admit(nameless, "um/um_call"), PermissionDenied)


def test_metrics_are_for_those_whom_the_policy_lets_and_take_no_calls(files: _Files) -> None:
    callers = files.callers(policy=POLICY + "  - {callers: shop, methods: metrics}", tokens=f"shop: {SHOP}")
    assert {callers.check(Peer(token=SHOP), "metrics").name for _ in range(100)} == {"shop"}
    with pytest.raises(PermissionDenied):
        callers.check(AS, "metrics")
    with pytest.raises(Unauthenticated):
        callers.check(NO_PEER, "metrics")
    assert files.callers().check(AS, "metrics").everything
