"""Nobody is ever refused while certificates and passwords are renewed and rotated.

A pod sees what is stored some time later than it is written, each pod and each Secret at its own pace, but within the
time that the spec allows. Whatever two pods have at the same time must fit together.
"""

import random
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest
from cryptography import x509

from recmesh.issuing import Change, Identity, Rotation, Spec
from recmesh.issuing.certificates import bundle_of, pair_of, signed_by
from recmesh.issuing.spec import RedisUsers
from tests.unit.issuing.installation import Installation, Killed, spiffe

PODS = ("um", "as")
SPEC = Spec(
    release="r",
    namespace="shop",
    certificates={pod: Identity(dns=(f"r-{pod}",), uri=spiffe(pod)) for pod in PODS},
    redis=RedisUsers(users=PODS),
    days=30,
    ca_days=120,
)


class Pods:
    """What pods may have: all states of a Secret that are not older than the time that the spec allows."""

    def __init__(self, made: Installation) -> None:
        self._made = made
        self._history: dict[str, list[tuple[datetime, Mapping[str, bytes]]]] = defaultdict(list)

    def record(self) -> None:
        """Remember what is stored now."""
        for name, stored in self._made.store.stored.items():
            if not self._history[name] or self._history[name][-1][1] != stored.data:
                self._history[name].append((self._made.now, stored.data))

    def visible(self, name: str) -> list[Mapping[str, bytes]]:
        """The states of a Secret that a pod may have: the newest, and those that were replaced a moment ago."""
        states, oldest = self._history[name], self._made.now - self._made.spec.settle
        return [
            data
            for position, (_, data) in enumerate(states)
            if position + 1 == len(states) or states[position + 1][0] > oldest
        ]

    def check(self) -> None:
        """Every certificate that a pod may show is trusted by every pod, and every password by Redis."""
        for shown in PODS:
            for data in self.visible(f"{shown}-tls"):
                certificate = pair_of(data["tls.crt"], data["tls.key"]).certificate
                assert certificate.not_valid_before_utc <= self._made.now < certificate.not_valid_after_utc
                for other in PODS:
                    for trusted in self.visible(f"{other}-tls"):
                        assert self._trusts(bundle_of(trusted["ca.crt"]), certificate), f"{other} refuses {shown}"
        for user in PODS:
            for used in self.visible("redis-auth"):
                for known in self.visible("redis-auth"):
                    (line,) = [line for line in known["users.acl"].decode().splitlines() if line.startswith(user)]
                    assert used[user].decode() in line.split(), f"Redis refuses {user}"

    def _trusts(self, bundle: list[x509.Certificate], certificate: x509.Certificate) -> bool:
        now = self._made.now
        valid = [ca for ca in bundle if ca.not_valid_before_utc <= now < ca.not_valid_after_utc]
        return any(signed_by(certificate, ca) for ca in valid)


@pytest.mark.parametrize("seed", range(6))
def test_pods_always_trust_each_other(seed: int) -> None:
    """A year of daily runs, of which some are killed, and of rotations at random times."""
    chance = random.Random(seed)
    made = Installation(SPEC)
    pods = Pods(made)
    made.run()
    pods.record()

    def maybe_killed(change: Change) -> None:
        pods.record()
        if chance.random() < 0.05:
            raise Killed

    made.store.before_write = maybe_killed
    rotations: list[Rotation | None] = [None, None, None, "certificates", "ca", "redis"]
    authorities = set()
    end = made.now + timedelta(days=365)
    while made.now < end:
        asked = chance.choice(rotations) if chance.random() < 0.1 else None
        try:
            made.run(asked)
        except Killed:
            made.after(minutes=chance.choice([1, 5, 20]))
            continue
        pods.record()
        pods.check()
        # Soon enough for pods to have old states, or on the next day.
        made.after(minutes=chance.choice([1, 5, 9, 11, 60, 1440, 1440, 1440]))
        pods.check()
        authorities.add(bundle_of(made.store.data("ca", "ca.crt"))[0])
    assert len(authorities) > 2, "the CA was not rotated"
    assert len(bundle_of(made.store.data("ca", "ca.crt"))) < 5, "old CAs stay"


def test_the_check_finds_a_ca_that_signs_too_early() -> None:
    made = Installation(SPEC)
    pods = Pods(made)
    made.run()
    pods.record()
    made.after(days=1).run("ca")
    pods.record()
    data = made.store.stored["ca"].data
    hurried = {**data, "next.since": b"2026-01-01T00:00:00+00:00"}
    made.store.write(Change("ca", hurried, "by hand"), made.store.stored["ca"])
    made.run()
    pods.record()
    with pytest.raises(AssertionError, match="refuses"):
        pods.check()
