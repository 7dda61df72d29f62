"""The rules that a release must pass to be activated."""

import math
from collections.abc import Callable

from recmesh.errors import ReleaseError
from recmesh.releases.manifest import HEADLINE, Manifest, SegmentMetrics

Check = Callable[[Manifest], None]
"""Raises ReleaseError, with the figures, when the release must not be activated."""


def beats_popularity(manifest: Manifest) -> None:
    """Refuse a release whose chain does not beat popularity on held-out data (mean over users of all segments)."""
    segments = {name: segment for name, segment in manifest.metrics.items() if segment.users}
    users = sum(segment.users for segment in segments.values())
    if not users:
        raise ReleaseError(
            f"release {manifest.id} refused: its manifest has no held-out metrics to beat popularity with"
        )
    chain = sum(segment.users * _headline(segment.chain) for segment in segments.values()) / users
    popularity = sum(segment.users * _headline(segment.popularity) for segment in segments.values()) / users
    if not chain > popularity:
        each = ", ".join(f"{name} {_figures(segment)}" for name, segment in sorted(segments.items()))
        raise ReleaseError(
            f"release {manifest.id} refused: held-out {HEADLINE} {chain:.4f} "
            f"does not beat popularity's {popularity:.4f} ({each})"
        )


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
