"""Decides what has to be written. Nothing here reads a clock, a file or a Secret."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias, get_args

from recmesh.errors import SettingsError
from recmesh.issuing.authority import Authority
from recmesh.issuing.certificates import Pair, Unusable, has_names, is_due, issue, pair_of, signed_by
from recmesh.issuing.passwords import Passwords
from recmesh.issuing.spec import Identity, Spec

Rotation: TypeAlias = Literal["certificates", "ca", "redis", "milvus"]
ROTATIONS: tuple[Rotation, ...] = get_args(Rotation)
"""What can be rotated."""

CA, REDIS, MILVUS = "ca", "redis-auth", "milvus-auth"
ACL = "users.acl"

RenderAcl: TypeAlias = Callable[[Mapping[str, Sequence[str]], str], str]
"""Writes the access control list of Redis, from the passwords of each user and the prefix of the keys."""


@dataclass(frozen=True)
class Stored:
    """What a store has under a name.

    Attributes:
        data: Its keys.
        ours: Whether recmesh has made it. Otherwise it is used as it is.
        version: The store's own mark of this state, with which it refuses to overwrite another one.
    """

    data: Mapping[str, bytes]
    ours: bool = True
    version: object = None


@dataclass(frozen=True)
class Change:
    """What has to be written under a name, and why."""

    name: str
    data: Mapping[str, bytes]
    why: str


Found: TypeAlias = Mapping[str, Stored]


def names(spec: Spec) -> list[str]:
    """All names that an installation needs."""
    components = [CA, *map(tls, spec.certificates)] if spec.certificates else []
    return [*components, *([REDIS] if spec.redis else []), *([MILVUS] if spec.milvus else [])]


def tls(component: str) -> str:
    """The name for the certificate of a component."""
    return f"{component}-tls"


def plan(spec: Spec, found: Found, now: datetime, rotate: Rotation | None, render_acl: RenderAcl) -> list[Change]:
    """Decide what has to be written next. After that is written, ask again until nothing is left.

    Args:
        spec: What the installation needs.
        found: What is there, by name.
        now: The time, in UTC.
        rotate: What has to be rotated although it is not due.
        render_acl: Writes the access control list of Redis.

    Raises:
        SettingsError: What is there cannot be used, or what is to be rotated is not ours.
    """
    if rotate:
        _check(spec, found, rotate)
    changes = []
    changes += _redis(spec, found.get(REDIS), now, rotate == "redis", render_acl)
    changes += _milvus(spec, found.get(MILVUS), now, rotate == "milvus")
    if not spec.certificates:
        return changes
    # Certificates follow once the CA is written.
    if change := _authority(spec, found, now, rotate):
        return [change, *changes]
    authority = read_authority(spec, found[CA])
    for component, identity in spec.certificates.items():
        stored = found.get(tls(component))
        changes += _certificate(spec, component, identity, stored, authority, now, rotate == "certificates")
    return changes


def pending(spec: Spec, found: Found) -> list[str]:
    """What later runs will do for rotations that are under way, a line each."""
    lines = []
    if spec.certificates and CA in found:
        authority = read_authority(spec, found[CA])
        if not found[CA].ours:
            lines.append(
                f"ca: made by somebody else, ends on {authority.signer.certificate.not_valid_after_utc:%Y-%m-%d}"
            )
        if authority.next and authority.next_since:
            lines.append(f"ca: a run after {_second(authority.next_since + spec.settle)} signs with the new CA")
        if authority.old_until:
            lines.append(f"ca: a run after {_second(min(authority.old_until.values()))} drops the old CA")
    if spec.redis and REDIS in found:
        passwords = Passwords.read(found[REDIS].data, spec.redis.users)
        if passwords.rotating and passwords.since:
            step = "hands out the new passwords" if passwords.next else "drops the old passwords"
            lines.append(f"{REDIS}: a run after {_second(passwords.since + spec.settle)} {step}")
    return lines


def read_authority(spec: Spec, stored: Stored) -> Authority:
    """Read the CA.

    Raises:
        SettingsError: It cannot be used.
    """
    try:
        return Authority.read(stored.data)
    except Unusable as error:
        advice = "delete it, and the next run makes a new CA" if stored.ours else "put a CA and its key into it"
        raise SettingsError(f"{spec.release}-{CA}: {error}: {advice}") from None


def _check(spec: Spec, found: Found, rotate: Rotation) -> None:
    wanted = {"ca": CA, "redis": REDIS, "milvus": MILVUS}.get(rotate, "")
    there = {"ca": spec.certificates, "certificates": spec.certificates, "redis": spec.redis, "milvus": spec.milvus}
    if not there[rotate]:
        raise SettingsError(f"--rotate {rotate}: this installation makes none; rotate them where they are made")
    if wanted in found and not found[wanted].ours:
        raise SettingsError(
            f"--rotate {rotate}: {spec.release}-{wanted} was made by somebody else: change its content instead"
        )


def _authority(spec: Spec, found: Found, now: datetime, rotate: Rotation | None) -> Change | None:
    stored = found.get(CA)
    if stored is None:
        return Change(CA, Authority.new(spec.release, spec.ca_life, now).data(), "a new CA")
    before = read_authority(spec, stored)
    end = before.signer.certificate.not_valid_after_utc
    if not stored.ours:
        if end <= now:
            raise SettingsError(f"{spec.release}-{CA}: the CA ended on {end:%Y-%m-%d}: put a valid one into it")
        return None
    if end <= now:  # and with it everything that it has signed
        return Change(CA, Authority.new(spec.release, spec.ca_life, now).data(), "a new CA: the old one has ended")
    if rotate == "certificates":  # by the CA that signs now
        return None
    if (rotate == "ca" and before.next is None) or before.must_rotate(now):
        after = before.begin(spec.release, spec.ca_life, now)
    else:
        after = before.proceed(now, spec.settle, _distributed(spec, found, before), _last_end(spec, found, now))
    return None if after is before else Change(CA, after.data(), _step(before, after))


def _distributed(spec: Spec, found: Found, authority: Authority) -> bool:
    """Whether the bundle lies next to every certificate of ours."""
    stored = [found.get(tls(name)) for name in spec.certificates]
    return all(entry and (not entry.ours or entry.data.get("ca.crt") == authority.bundle_pem) for entry in stored)


def _last_end(spec: Spec, found: Found, now: datetime) -> datetime:
    """When the last of the certificates ends that are there, or are made now."""
    pairs = [_pair(found[tls(name)]) for name in spec.certificates if tls(name) in found]
    return max([now + spec.life, *(pair.certificate.not_valid_after_utc for pair in pairs if pair)])


def _step(before: Authority, after: Authority) -> str:
    if len(after.bundle) > len(before.bundle):
        return "a new CA, which everybody trusts from now on; the old one still signs"
    if len(after.bundle) < len(before.bundle):
        return "an old CA is no longer trusted"
    if after.next:
        return "the new CA is known next to every certificate"
    return "the new CA signs from now on; the old one is still trusted"


def _certificate(
    spec: Spec,
    component: str,
    identity: Identity,
    stored: Stored | None,
    authority: Authority,
    now: datetime,
    rotate: bool,
) -> list[Change]:
    if stored and not stored.ours:
        return []
    name, why = tls(component), _reason(stored, identity, authority, now, rotate)
    if why:
        pair = issue(authority.signer, f"{spec.release}-{component}"[:64], identity, spec.life, now)
        data = {"tls.crt": pair.certificate_pem, "tls.key": pair.key_pem, "ca.crt": authority.bundle_pem}
        return [Change(name, data, f"a certificate until {pair.certificate.not_valid_after_utc:%Y-%m-%d}: {why}")]
    if stored and stored.data.get("ca.crt") != authority.bundle_pem:
        return [Change(name, {**stored.data, "ca.crt": authority.bundle_pem}, "the CAs to trust")]
    return []


def _reason(stored: Stored | None, identity: Identity, authority: Authority, now: datetime, rotate: bool) -> str:
    """Why a certificate has to be made; empty if it has not."""
    if stored is None:
        return "there was none"
    pair = _pair(stored)
    if pair is None:
        return "the one there could not be read"
    if not signed_by(pair.certificate, authority.signer.certificate):
        return "another CA signs"
    if not has_names(pair.certificate, identity):
        return "its names are others now"
    if is_due(pair.certificate, now):
        return "less than a third of its life was left"
    return "as asked" if rotate else ""


def _pair(stored: Stored) -> Pair | None:
    try:
        return pair_of(stored.data.get("tls.crt", b""), stored.data.get("tls.key", b""))
    except Unusable:
        return None


def _redis(spec: Spec, stored: Stored | None, now: datetime, rotate: bool, render_acl: RenderAcl) -> list[Change]:
    if spec.redis is None or (stored and not stored.ours):
        return []
    before = Passwords.read(stored.data if stored else {}, spec.redis.users)
    whole = before.complete(spec.redis.users)
    after = whole.begin(now) if rotate and not whole.rotating else whole.proceed(now, spec.settle)
    data = {**after.data(), ACL: render_acl(after.accepted(), spec.redis.prefix).encode()}
    return [] if stored and data == dict(stored.data) else [Change(REDIS, data, _redis_step(before, after))]


def _redis_step(before: Passwords, after: Passwords) -> str:
    if after.next and not before.next:
        return "new passwords, which Redis accepts from now on; programs still use the old ones"
    if before.next and not after.next:
        return "programs use the new passwords from now on; Redis still accepts the old ones"
    if before.old and not after.old:
        return "Redis no longer accepts the old passwords"
    return _added(before, after) or "the access control list"


def _milvus(spec: Spec, stored: Stored | None, now: datetime, rotate: bool) -> list[Change]:
    if spec.milvus is None or (stored and not stored.ours):
        return []
    before = Passwords.read(stored.data if stored else {}, spec.milvus.users)
    whole = before.complete(spec.milvus.users)
    after = whole.replace(now, spec.settle) if rotate else whole
    data = after.data()
    why = (
        "new passwords; the next ingestion sets them in Milvus"
        if after.since != before.since
        else _added(before, after)
    )
    return (
        [] if stored and data == dict(stored.data) else [Change(MILVUS, data, why or "users that are no longer needed")]
    )


def _added(before: Passwords, after: Passwords) -> str:
    new = sorted(after.current.keys() - before.current.keys())
    return f"passwords of {', '.join(new)}" if new else ""


def _second(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"
