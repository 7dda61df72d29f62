"""The CA of an installation, and its rotation.

Its Secret has the CAs that everybody trusts (`ca.crt`, newest first) and the key that signs (`ca.key`). A rotation has
three steps, each in a later run: the new CA joins the bundle (`next.key`); it signs, once the bundle has reached every
process (`next.since`); the old one leaves, when nothing that it signed can be valid any more (`old.until`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from recmesh.issuing.certificates import Pair, Unusable, bundle_of, bundle_pem, is_due, new_authority, pairs_of
from recmesh.issuing.times import text_of, time_of

_MARGIN = timedelta(days=1)


@dataclass(frozen=True)
class Authority:
    """A CA.

    Attributes:
        bundle: What everybody trusts, newest first.
        signer: The CA that signs.
        next: The CA that will sign after the next step of a rotation.
        next_since: When every certificate had the bundle with it.
        old_until: For each CA that has signed before, by its fingerprint: when what it has signed has ended.
    """

    bundle: tuple[x509.Certificate, ...]
    signer: Pair
    next: Pair | None = None
    next_since: datetime | None = None
    old_until: Mapping[str, datetime] = field(default_factory=dict)

    @classmethod
    def new(cls, name: str, life: timedelta, now: datetime) -> "Authority":
        """Make one."""
        signer = new_authority(name, life, now)
        return cls((signer.certificate,), signer)

    @classmethod
    def read(cls, data: Mapping[str, bytes]) -> "Authority":
        """Read what a Secret has.

        Raises:
            Unusable: A key is missing, cannot be read, or is not that of a certificate in the bundle.
        """
        text = _value(data, "ca.crt")
        bundle = tuple(_bundle(text))
        coming = _pair(text, data["next.key"], "next.key") if "next.key" in data else None
        return cls(
            bundle,
            _pair(text, _value(data, "ca.key"), "ca.key"),
            coming,
            time_of(data.get("next.since")),
            _times(data.get("old.until", b"")),
        )

    def data(self) -> dict[str, bytes]:
        """The keys of the Secret."""
        data = {"ca.crt": self.bundle_pem, "ca.key": self.signer.key_pem}
        if self.next:
            data["next.key"] = self.next.key_pem
        if self.next_since:
            data["next.since"] = text_of(self.next_since).encode()
        if self.old_until:
            data["old.until"] = "".join(f"{ca} {text_of(time)}\n" for ca, time in self.old_until.items()).encode()
        return data

    @property
    def bundle_pem(self) -> bytes:
        """What everybody trusts, as PEM."""
        return bundle_pem(self.bundle)

    def must_rotate(self, now: datetime) -> bool:
        """Whether less than a third of the life of the CA is left, and no rotation is under way."""
        return self.next is None and is_due(self.signer.certificate, now)

    def begin(self, name: str, life: timedelta, now: datetime) -> "Authority":
        """The first step of a rotation: everybody trusts the new CA as well."""
        coming = new_authority(name, life, now)
        return replace(self, bundle=(coming.certificate, *self.bundle), next=coming)

    def proceed(self, now: datetime, settle: timedelta, distributed: bool, last_end: datetime) -> "Authority":
        """The next step of a rotation, if it is time.

        Args:
            now: The time.
            settle: Time in which every process has what a run has written.
            distributed: Whether the bundle lies next to every certificate.
            last_end: When the last certificate that the signer has made, or makes until the next step, ends.
        """
        if self.next and distributed and not self.next_since:
            return replace(self, next_since=now)
        if self.next and self.next_since and now - self.next_since >= settle:
            old_until = {**self.old_until, _fingerprint(self.signer.certificate): last_end + _MARGIN}
            return Authority(self.bundle, self.next, old_until=old_until)
        return self._without({ca for ca, until in self.old_until.items() if now >= until})

    def _without(self, dropped: Collection[str]) -> "Authority":
        if not dropped:
            return self
        bundle = tuple(certificate for certificate in self.bundle if _fingerprint(certificate) not in dropped)
        old_until = {ca: until for ca, until in self.old_until.items() if ca not in dropped}
        return replace(self, bundle=bundle, next_since=None, old_until=old_until)


def _fingerprint(certificate: x509.Certificate) -> str:
    return certificate.fingerprint(hashes.SHA256()).hex()


def _times(text: bytes) -> dict[str, datetime]:
    lines = (line.partition(b" ") for line in text.splitlines())
    return {ca.decode(errors="replace"): time for ca, _, rest in lines if (time := time_of(rest))}


def _value(data: Mapping[str, bytes], key: str) -> bytes:
    if not data.get(key):
        raise Unusable(f"{key} is missing")
    return data[key]


def _bundle(text: bytes) -> Sequence[x509.Certificate]:
    try:
        return bundle_of(text)
    except Unusable as error:
        raise Unusable(f"ca.crt: {error}") from None


def _pair(bundle: bytes, key: bytes, name: str) -> Pair:
    try:
        pairs = pairs_of(bundle, key)
    except Unusable as error:
        raise Unusable(f"{name}: {error}") from None
    if not pairs:
        raise Unusable(f"{name} is not the key of a certificate in ca.crt")
    return pairs[0]
