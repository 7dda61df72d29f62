"""What the secrets Job makes, renews and rotates, by a clock that the tests move."""

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509

from recmesh.errors import RecmeshError, SettingsError
from recmesh.issuing import Change, Identity, Rotation, Spec, Stored
from recmesh.issuing.authority import Authority
from recmesh.issuing.certificates import bundle_of, pair_of, signed_by
from tests.unit.issuing.installation import BEGIN, SPEC, Installation, Killed, spiffe


def leaf(made: Installation, component: str = "um") -> x509.Certificate:
    data = made.store.stored[f"{component}-tls"].data
    return pair_of(data["tls.crt"], data["tls.key"]).certificate


def authority(made: Installation) -> Authority:
    return Authority.read(made.store.stored["ca"].data)


def test_the_first_run_makes_everything_and_the_second_one_nothing() -> None:
    made = Installation()
    lines = made.run()
    assert sorted(made.store.stored) == ["as-tls", "ca", "client-tls", "milvus-auth", "redis-auth", "um-tls"]
    assert lines == [
        "ca: a new CA",
        "redis-auth: passwords of operator, um",
        "milvus-auth: passwords of recall, root",
        "um-tls, as-tls, client-tls: a certificate until 2027-02-27: there was none",
    ]
    assert leaf(made).not_valid_after_utc == BEGIN + timedelta(days=90)
    assert authority(made).signer.certificate.not_valid_after_utc == BEGIN + timedelta(days=3650)
    assert {name: sorted(entry.data) for name, entry in made.store.stored.items() if name != "as-tls"} == {
        "ca": ["ca.crt", "ca.key"],
        "um-tls": ["ca.crt", "tls.crt", "tls.key"],
        "client-tls": ["ca.crt", "tls.crt", "tls.key"],
        "redis-auth": ["operator", "um", "users.acl"],
        "milvus-auth": ["recall", "root"],
    }
    assert made.run() == []


def test_passwords_have_32_random_bytes_and_are_url_safe() -> None:
    made, other = Installation(), Installation()
    made.run()
    other.run()
    passwords = [
        entry.data[user].decode()
        for one in (made, other)
        for name, users in (("redis-auth", ("um", "operator")), ("milvus-auth", ("root", "recall")))
        for user in users
        for entry in (one.store.stored[name],)
    ]
    assert len(set(passwords)) == len(passwords) == 8
    assert all(len(password) == 43 and password.replace("-", "").replace("_", "").isalnum() for password in passwords)


def test_a_certificate_is_renewed_when_less_than_a_third_of_its_life_is_left() -> None:
    made = Installation()
    made.run()
    before = leaf(made)
    assert made.after(days=59, hours=23).run() == []
    assert leaf(made) == before
    assert made.after(hours=1, minutes=5).run() == [
        "um-tls, as-tls, client-tls: a certificate until 2027-04-28: less than a third of its life was left"
    ]
    assert leaf(made).not_valid_after_utc == made.now + timedelta(days=90)
    assert signed_by(leaf(made), authority(made).signer.certificate)


def test_a_certificate_is_made_again_if_its_names_change_or_it_is_damaged() -> None:
    made = Installation()
    made.run()
    others = {**SPEC.certificates, "um": Identity(dns=("r-um", "r-um.shop.svc", "r-um.shop"), uri=spiffe("um"))}
    made.spec = SPEC.model_copy(update={"certificates": others})
    assert made.run() == ["um-tls: a certificate until 2027-02-27: its names are others now"]
    damaged = made.store.stored["as-tls"]
    made.store.stored["as-tls"] = replace(damaged, data={**damaged.data, "tls.crt": damaged.data["tls.crt"][:99]})
    assert made.run() == ["as-tls: a certificate until 2027-02-27: the one there could not be read"]
    made.store.stored.pop("client-tls")
    assert made.run() == ["client-tls: a certificate until 2027-02-27: there was none"]


def test_rotation_of_certificates_makes_all_of_them_again() -> None:
    made = Installation()
    made.run()
    before, ca = leaf(made), made.store.stored["ca"]
    assert made.after(days=1).run("certificates") == [
        "um-tls, as-tls, client-tls: a certificate until 2027-02-28: as asked"
    ]
    assert leaf(made) != before
    assert made.store.stored["ca"] is ca


def test_a_rotation_of_the_ca_has_three_steps_in_runs_of_their_own() -> None:
    made = Installation()
    made.run()
    old = authority(made).signer.certificate
    lines = made.after(hours=1).run("ca")
    assert lines == [
        "ca: a new CA, which everybody trusts from now on; the old one still signs",
        "um-tls, as-tls, client-tls: the CAs to trust",
        "ca: the new CA is known next to every certificate",
        "ca: a run after 2026-11-29 13:10:00 UTC signs with the new CA",
    ]
    new, _ = bundle_of(made.store.data("um-tls", "ca.crt"))
    assert bundle_of(made.store.data("ca", "ca.crt")) == [new, old]
    assert signed_by(leaf(made), old)

    assert made.after(minutes=9, seconds=59).run() == ["ca: a run after 2026-11-29 13:10:00 UTC signs with the new CA"]
    assert made.run("ca") == ["ca: a run after 2026-11-29 13:10:00 UTC signs with the new CA"], "there is only one"
    assert made.after(seconds=1).run() == [
        "ca: the new CA signs from now on; the old one is still trusted",
        "um-tls, as-tls, client-tls: a certificate until 2027-02-27: another CA signs",
        "ca: a run after 2027-02-28 13:10:00 UTC drops the old CA",
    ]
    assert authority(made).signer.certificate == new
    assert signed_by(leaf(made), new)
    assert bundle_of(made.store.data("um-tls", "ca.crt")) == [new, old]

    made.after(days=90, hours=23, minutes=59).run()
    assert authority(made).bundle == (new, old), "a certificate of the old CA was valid until a day before"
    lines = made.after(minutes=1).run()
    assert lines[0] == "ca: an old CA is no longer trusted"
    assert authority(made).bundle == (new,)
    assert bundle_of(made.store.data("client-tls", "ca.crt")) == [new]
    assert sorted(made.store.stored["ca"].data) == ["ca.crt", "ca.key"]
    assert made.run() == []


def test_a_ca_is_rotated_when_less_than_a_third_of_its_life_is_left() -> None:
    made = Installation(SPEC.model_copy(update={"ca_days": 365}))
    made.run()
    old = authority(made).signer.certificate
    while made.now - BEGIN < timedelta(days=243):
        made.after(days=1).run()
    assert authority(made).bundle == (old,)
    lines = made.after(days=1).run()
    assert "ca: a new CA, which everybody trusts from now on; the old one still signs" in lines
    assert "ca: the new CA signs from now on; the old one is still trusted" in made.after(days=1).run()
    assert authority(made).signer.certificate.not_valid_after_utc > old.not_valid_after_utc


def test_a_ca_that_has_ended_is_replaced_at_once() -> None:
    made = Installation()
    made.run()
    lines = made.after(days=3651).run()
    assert lines[0] == "ca: a new CA: the old one has ended"
    assert len(authority(made).bundle) == 1
    assert signed_by(leaf(made), authority(made).signer.certificate)


def test_a_shorter_life_of_new_certificates_does_not_drop_the_old_ca_too_early() -> None:
    made = Installation()
    made.run()
    made.spec = SPEC.model_copy(update={"days": 1})
    made.run("ca")
    made.after(minutes=10).run()
    assert made.after(days=89).run()[-1:] == ["ca: a run after 2027-02-28 12:00:00 UTC drops the old CA"]


def test_a_password_of_redis_is_rotated_in_three_steps() -> None:
    made = Installation()
    made.run()
    old = made.store.data("redis-auth", "um").decode()

    def state() -> tuple[str, str]:
        """What um logs in with, and its line in the list."""
        line = made.store.data("redis-auth", "users.acl").decode().splitlines()[0]
        return made.store.data("redis-auth", "um").decode(), line

    assert state() == (old, f"um recmesh: {old}")
    lines = made.after(hours=1).run("redis")
    assert lines == [
        "redis-auth: new passwords, which Redis accepts from now on; programs still use the old ones",
        "redis-auth: a run after 2026-11-29 13:10:00 UTC hands out the new passwords",
    ]
    new = made.store.data("redis-auth", "um.next").decode()
    assert state() == (old, f"um recmesh: {old} {new}")
    assert made.run("redis") == lines[1:], "there is only one rotation at a time"
    made.after(minutes=9).run()
    assert state() == (old, f"um recmesh: {old} {new}")
    assert made.after(minutes=1).run() == [
        "redis-auth: programs use the new passwords from now on; Redis still accepts the old ones",
        "redis-auth: a run after 2026-11-29 13:20:00 UTC drops the old passwords",
    ]
    assert state() == (new, f"um recmesh: {new} {old}")
    assert made.after(minutes=10).run() == ["redis-auth: Redis no longer accepts the old passwords"]
    assert state() == (new, f"um recmesh: {new}")
    assert sorted(made.store.stored["redis-auth"].data) == ["operator", "um", "users.acl"]
    assert made.run() == []


def test_a_rotation_that_is_asked_for_again_goes_on_with_the_one_under_way() -> None:
    made = Installation()
    made.run()
    made.run("ca")
    made.run("redis")
    new = made.store.data("redis-auth", "um.next")
    made.after(minutes=10)
    assert "ca: the new CA signs from now on; the old one is still trusted" in made.run("ca")
    assert len(authority(made).bundle) == 2
    assert made.store.data("redis-auth", "um") == new
    assert "redis-auth: Redis no longer accepts the old passwords" in made.after(minutes=10).run("redis")
    assert sorted(made.store.stored["redis-auth"].data) == ["operator", "um", "users.acl"]


def test_passwords_of_milvus_are_replaced_at_once() -> None:
    """Milvus knows one password of a user. An ingestion sets it, and needs root's former one for that."""
    made = Installation()
    made.run()
    before = made.store.stored["milvus-auth"].data
    assert made.after(hours=1).run("milvus") == ["milvus-auth: new passwords; the next ingestion sets them in Milvus"]
    after = made.store.stored["milvus-auth"].data
    assert sorted(after) == ["recall", "recall.old", "root", "root.old", "since"]
    assert (after["root.old"], after["recall.old"]) == (before["root"], before["recall"])
    assert not {after["root"], after["recall"]} & set(before.values())
    assert made.run("milvus") == [], "one that follows at once would lose the password that Milvus has"
    assert made.after(days=30).run() == []
    made.run("milvus")
    assert made.store.data("milvus-auth", "root.old") == after["root"]


def test_a_user_that_is_new_gets_a_password_and_the_others_keep_theirs() -> None:
    made = Installation()
    made.run()
    before = made.store.data("redis-auth", "um")
    made.spec = SPEC.model_copy(update={"redis": SPEC.redis and SPEC.redis.model_copy(update={"users": ("um", "cm")})})
    assert made.run() == ["redis-auth: passwords of cm"]
    assert made.store.data("redis-auth", "um") == before
    assert sorted(made.store.stored["redis-auth"].data) == ["cm", "um", "users.acl"]


def test_the_access_control_list_follows_the_prefix() -> None:
    made = Installation()
    made.run()
    made.spec = SPEC.model_copy(update={"redis": SPEC.redis and SPEC.redis.model_copy(update={"prefix": "shop:"})})
    assert made.run() == ["redis-auth: the access control list"]
    assert b" shop: " in made.store.data("redis-auth", "users.acl")


def test_what_somebody_else_made_is_used_as_it_is() -> None:
    theirs, made = Installation(), Installation()
    theirs.run()
    entries = {name: replace(theirs.store.stored[name], ours=False) for name in ("ca", "as-tls", "redis-auth")}
    made.store.stored |= entries
    lines = made.run()
    assert [line.partition(":")[0] for line in lines] == ["milvus-auth", "um-tls, client-tls", "ca"]
    assert lines[-1] == "ca: made by somebody else, ends on 2036-11-26"
    made.after(days=80).run("certificates")
    assert {name: made.store.stored[name] for name in entries} == entries
    ca = authority(theirs).signer.certificate
    assert signed_by(leaf(made), ca)
    assert made.store.data("um-tls", "ca.crt") == theirs.store.data("ca", "ca.crt")


@pytest.mark.parametrize(("rotate", "name"), [("ca", "ca"), ("redis", "redis-auth")])
def test_what_somebody_else_made_is_not_rotated(rotate: Rotation, name: str) -> None:
    made = Installation()
    made.run()
    made.store.stored[name] = replace(made.store.stored[name], ours=False)
    with pytest.raises(SettingsError, match=f"--rotate {rotate}: r-{name} was made by somebody else"):
        made.run(rotate)


def test_what_an_installation_does_not_make_is_not_rotated() -> None:
    made = Installation(SPEC.model_copy(update={"certificates": {}, "redis": None}))
    assert made.run() == ["milvus-auth: passwords of recall, root"]
    rotations: tuple[Rotation, ...] = ("ca", "certificates", "redis")
    for rotate in rotations:
        with pytest.raises(SettingsError, match=f"--rotate {rotate}: this installation makes none"):
            made.run(rotate)


def test_a_ca_that_cannot_be_used_is_left_and_named() -> None:
    made = Installation()
    made.run()
    whole = made.store.stored["ca"]
    other = Authority.new("other", timedelta(days=10), BEGIN)
    broken = {
        "ca.key is missing": {"ca.crt": whole.data["ca.crt"]},
        "ca.key is not the key of a certificate in ca.crt": {**whole.data, "ca.key": other.signer.key_pem},
        "ca.crt: no certificate in PEM": {**whole.data, "ca.crt": b"nothing"},
    }
    for reason, data in broken.items():
        made.store.stored["ca"] = replace(whole, data=data)
        with pytest.raises(SettingsError, match=f"^r-ca: {reason}.*: delete it, and the next run makes a new CA$"):
            made.run()
        assert made.store.stored["ca"].data == data
    made.store.stored["ca"] = replace(whole, data={}, ours=False)
    with pytest.raises(SettingsError, match=r"r-ca: ca\.crt is missing: put a CA and its key into it"):
        made.run()


def test_a_foreign_ca_that_has_ended_is_an_error() -> None:
    made = Installation()
    made.store.stored["ca"] = Stored(Authority.new("theirs", timedelta(days=5), BEGIN).data(), ours=False)
    made.run()
    with pytest.raises(SettingsError, match="r-ca: the CA ended on 2026-12-04: put a valid one into it"):
        made.after(days=5).run()


def test_two_runs_at_the_same_time_agree() -> None:
    """Before each of its writes, another run goes from the beginning to the end."""
    made = Installation()
    other = Installation()
    other.store = made.store
    running = False

    def interfere(change: Change) -> None:
        nonlocal running
        if not running:
            running = True
            other.run()
            running = False

    made.store.before_write = interfere
    lines = made.run()
    assert lines == ["ca: somebody else has just written it; reading again"]
    assert made.store.writes == 6
    assert made.run() == other.run() == []


def test_a_run_gives_up_if_others_never_stop_writing() -> None:
    made = Installation()
    made.run()

    def meddle(change: Change) -> None:
        made.store.stored[change.name] = replace(made.store.stored[change.name], version=object())

    made.store.before_write = meddle
    with pytest.raises(RecmeshError, match="others keep writing the same secrets"):
        made.run("certificates")


@pytest.mark.parametrize("writes", range(1, 12))
def test_a_run_that_is_killed_is_completed_by_the_next_one(writes: int) -> None:
    made = Installation()
    remaining = writes

    def kill(change: Change) -> None:
        nonlocal remaining
        remaining -= 1
        if remaining < 0:
            raise Killed

    made.run()
    made.store.before_write = kill
    rotations: tuple[Rotation | None, ...] = ("ca", None, None)
    for rotate in rotations:
        try:
            made.after(hours=1).run(rotate)
        except Killed:
            remaining = 1_000
            made.run(rotate)
    made.after(hours=1).run()
    assert made.store.stored["ca"].data.keys() == {"ca.crt", "ca.key", "old.until"}
    bundle = made.store.data("ca", "ca.crt")
    for component in SPEC.certificates:
        assert signed_by(leaf(made, component), authority(made).signer.certificate)
        assert made.store.data(f"{component}-tls", "ca.crt") == bundle


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not JSON"),
        ("{}", "release: Field required; namespace: Field required"),
        ('{"release": "r", "namespace": "shop", "days": 0}', "days: Input should be greater than or equal to 1"),
        ('{"release": "../r", "namespace": "shop"}', "release: String should match"),
        ('{"release": "r", "namespace": "shop", "certificates": {"a/b": {"uri": "spiffe://a/b"}}}', "certificates.a/b"),
        ('{"release": "r", "namespace": "shop", "certificates": {"um": {"uri": "http://a/b"}}}', "certificates.um.uri"),
        ('{"release": "r", "namespace": "shop", "redis": {"users": ["um.next"]}}', "redis.users.0"),
        ('{"release": "r", "namespace": "shop", "other": 1}', "other: Extra inputs are not permitted"),
    ],
)
def test_a_spec_that_is_wrong_is_named(text: str, problem: str) -> None:
    with pytest.raises(SettingsError) as error:
        Spec.parse(text, "spec.json")
    assert str(error.value).startswith(f"spec.json: {problem}")
    assert "\n" not in str(error.value)


def test_the_spec_of_the_chart_is_read() -> None:
    text = """{"release": "r", "namespace": "shop", "trust_domain": "cluster.local", "days": 90, "ca_days": 3650,
        "certificates": {"um": {"dns": ["r-um", "r-um.shop.svc.cluster.local"],
                                "uri": "spiffe://cluster.local/ns/shop/release/r/um"},
                         "client": {"dns": [], "uri": "spiffe://cluster.local/ns/shop/release/r/client"}},
        "redis": {"users": ["um"]}, "milvus": null}"""
    spec = Spec.parse(text, "spec.json")
    assert spec.certificates["client"] == Identity(uri=spiffe("client"))
    assert (spec.redis and spec.redis.prefix, spec.milvus, spec.settle) == ("recmesh:", None, timedelta(minutes=10))
