"""The rules that a release must pass to be activated."""

import math
from collections.abc import Callable, Iterable

from recmesh.errors import ReleaseError
from recmesh.evaluation.metrics import margin
from recmesh.releases.manifest import HEADLINE, Manifest, SegmentMetrics

Check = Callable[[Manifest], None]
"""Raises ReleaseError, with the figures, when the release must not be activated."""


def beats_popularity(manifest: Manifest) -> None:
    """Refuse a release whose chain does not beat popularity on held-out data (mean over users of all segments)."""
    segments = {name: segment for name, segment in manifest.metrics.items() if segment.users}
    users = sum(segment.users for segment in segments.values())
    if not users:
        measure = "; its models come from elsewhere: measure them (docs/models.md), then give --force"
        raise ReleaseError(
            f"release {manifest.id} refused: its manifest has no held-out metrics to beat popularity with"
            + (measure if manifest.imported else "")
        )
    chain = sum(segment.users * _headline(segment.chain) for segment in segments.values()) / users
    popularity = sum(segment.users * _headline(segment.popularity) for segment in segments.values()) / users
    if not chain > popularity:
        each = ", ".join(f"{name} {_figures(segment)}" for name, segment in sorted(segments.items()))
        raise ReleaseError(
            f"release {manifest.id} refused: held-out {HEADLINE} {chain:.4f} "
            f"does not beat popularity's {popularity:.4f} ({each})"
        )


def not_worse_than(active: Callable[[], Manifest | None]) -> Check:
    """Refuse a release that is significantly worse than the active one, where the two can be compared.

    They can be when training measured both on the same held-out users, whose labels neither had seen; else where both
    come from the same data and were held out on the same window. Nothing else is said: figures of two windows are not
    comparable. Worse: the 95 % interval of the difference, as the mean over the users of all segments, is below 0.
    """

    def check(manifest: Manifest) -> None:
        other = active()
        if other is None or other.id == manifest.id:
            return
        found = list(_paired(manifest, other) or _unpaired(manifest, other))
        users = sum(count for count, _, _ in found)
        if not users:
            return
        difference = sum(count * mean for count, mean, _ in found) / users
        # The segments share users: this is what the error is at most, however their figures hang together.
        half = margin(sum(count * error for count, _, error in found) / users)
        if difference < -half:
            raise ReleaseError(
                f"release {manifest.id} refused: held-out {HEADLINE} {-difference:.4f} ± {half:.4f} below that of the "
                f"active release {other.id} over {users} lists"
            )

    return check


def _paired(manifest: Manifest, other: Manifest) -> Iterable[tuple[int, float, float]]:
    """Users, difference and its standard error of each segment, as training measured them."""
    if manifest.compared is None or manifest.compared.release != other.id:
        return ()
    segments = manifest.compared.segments.values()
    return [(one.users, one.mean.get(HEADLINE, math.nan), one.error.get(HEADLINE, math.nan)) for one in segments]


def _unpaired(manifest: Manifest, other: Manifest) -> Iterable[tuple[int, float, float]]:
    """The same from the held-out metrics of both, where they are of the same data and window."""
    for name, ours in manifest.metrics.items():
        theirs = other.metrics.get(name)
        if theirs is None or manifest.fingerprint != other.fingerprint or not ours.window == theirs.window != "":
            continue
        errors = (ours.errors.get(HEADLINE, math.nan), theirs.errors.get(HEADLINE, math.nan))
        yield ours.users, _headline(ours.chain) - _headline(theirs.chain), math.hypot(*errors)


def rows_match(count: Callable[[str], int]) -> Check:
    """Refuse a release whose collection does not hold exactly its items; `count` gives a collection's rows by name."""

    def check(manifest: Manifest) -> None:
        rows = count(manifest.collection)
        if rows != manifest.items:
            raise ReleaseError(
                f"release {manifest.id} refused: collection {manifest.collection} holds {rows} rows, "
                f"the release has {manifest.items} items; run the ingestion again"
            )

    return check


def _headline(metrics: dict[str, float]) -> float:
    return metrics.get(HEADLINE, math.nan)


def _figures(segment: SegmentMetrics) -> str:
    return f"{_headline(segment.chain):.4f} against {_headline(segment.popularity):.4f} over {segment.users} users"
