"""The checks that a release must pass before it is activated."""

import math
from collections.abc import Callable, Iterable

from recmesh.errors import ReleaseError
from recmesh.evaluation.metrics import margin
from recmesh.releases.manifest import HEADLINE, Manifest, SegmentMetrics

Check = Callable[[Manifest], None]
"""Raises ReleaseError, with the measured values, if the release must not be activated."""


GAIN_ERRORS = 3
"""Standard errors by which a release must beat popularity. Two would do for one list, but the best of several orders is
chosen on the lists that it is then judged by: on noise, the best of six exceeds two standard errors too often."""


def beats_popularity(manifest: Manifest) -> None:
    """Check that the chain beats popularity on held-out data beyond noise, in the mean over the users of all segments.

    The gain must exceed `GAIN_ERRORS` standard errors. Old releases have none recorded, and pass with any gain.

    Raises:
        ReleaseError: If it does not, or if the manifest has no held-out metrics.
    """
    segments = {name: segment for name, segment in manifest.metrics.items() if segment.users}
    users = sum(segment.users for segment in segments.values())
    if not users:
        measure = ""
        if manifest.imported:
            measure = "; its models were imported: measure them (docs/models.md), then use --force"
        elif manifest.starter:
            measure = "; it is a starter, which only an ingestion activates, where there is no trained release"
        raise ReleaseError(
            f"release {manifest.id} refused: its manifest has no held-out metrics to compare with popularity{measure}"
        )
    chain = sum(segment.users * _headline(segment.chain) for segment in segments.values()) / users
    popularity = sum(segment.users * _headline(segment.popularity) for segment in segments.values()) / users
    # Segments share users, so their errors may be correlated. This is an upper bound of the error.
    error = sum(segment.users * segment.gain_errors.get(HEADLINE, 0.0) for segment in segments.values()) / users
    if not chain - popularity > GAIN_ERRORS * error:
        details = ", ".join(f"{name} {_figures(segment)}" for name, segment in sorted(segments.items()))
        noise = (
            f" by more than the uncertainty of the difference, {GAIN_ERRORS * error:.4f}" if chain > popularity else ""
        )
        raise ReleaseError(
            f"release {manifest.id} refused: held-out {HEADLINE} {chain:.4f} "
            f"does not beat popularity's {popularity:.4f}{noise} ({details})"
        )


def replaces_no_trained(active: Callable[[], Manifest | None]) -> Check:
    """Make the check of a starter: it may be the first active release, or replace a starter, and nothing else.

    Args:
        active: Returns the manifest of the active release, if there is one.
    """

    def check(manifest: Manifest) -> None:
        other = active()
        if other is not None and not other.starter:
            raise ReleaseError(f"release {manifest.id} refused: it is a starter, and the release {other.id} is active")

    return check


def same_data_as(active: Callable[[], Manifest | None]) -> Check:
    """Make the check that a release reads the same data as the active release, whose data the stores hold.

    The states of one data set share its schema. Those of different ones may share item ids, so a grocery would
    recommend films.

    Args:
        active: Returns the manifest of the active release, if there is one.
    """

    def check(manifest: Manifest) -> None:
        other = active()
        if other is not None and other.schema_hash != manifest.schema_hash:
            raise ReleaseError(
                f"release {manifest.id} refused: its data set has another schema than that of the active release "
                f"{other.id}, whose data the stores hold; ingest its data set with --release {manifest.id}"
            )

    return check


def not_worse_than(active: Callable[[], Manifest | None]) -> Check:
    """Make the check that a release is not significantly worse than the active release.

    It is worse if the 95 % interval of the difference, averaged over the users of all segments, lies below 0. Releases
    are compared if training measured both on the same held-out users and neither had seen their labels. Otherwise they
    are compared if both used the same data and the same held-out window. All other releases pass, because the metrics
    of different windows are not comparable.

    Args:
        active: Returns the manifest of the active release, if there is one.
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
        # Segments share users, so their errors may be correlated. This is an upper bound of the error.
        half = margin(sum(count * error for count, _, error in found) / users)
        if difference < -half:
            raise ReleaseError(
                f"release {manifest.id} refused: held-out {HEADLINE} {-difference:.4f} ± {half:.4f} below that of the "
                f"active release {other.id} over {users} lists"
            )

    return check


def _paired(manifest: Manifest, other: Manifest) -> Iterable[tuple[int, float, float]]:
    """Return users, difference and standard error of each segment, as training measured them."""
    if manifest.compared is None or manifest.compared.release != other.id:
        return ()
    segments = manifest.compared.segments.values()
    return [(gain.users, gain.mean.get(HEADLINE, math.nan), gain.error.get(HEADLINE, math.nan)) for gain in segments]


def _unpaired(manifest: Manifest, other: Manifest) -> Iterable[tuple[int, float, float]]:
    """Yield the same from the held-out metrics of both releases, if they are of the same data and window."""
    for name, ours in manifest.metrics.items():
        theirs = other.metrics.get(name)
        if theirs is None or manifest.fingerprint != other.fingerprint or not ours.window == theirs.window != "":
            continue
        errors = (ours.errors.get(HEADLINE, math.nan), theirs.errors.get(HEADLINE, math.nan))
        yield ours.users, _headline(ours.chain) - _headline(theirs.chain), math.hypot(*errors)


def rows_match(count: Callable[[str], int]) -> Check:
    """Make the check that the collection of a release holds exactly its items.

    Args:
        count: Returns the number of rows of a collection.
    """

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
