"""Facts about the active release, as metrics: how old it is, how good it was on held-out users, how it was trained."""

from recmesh.releases import Manifest
from recmesh.serving import metrics

_GAUGES = (
    *(metrics.RELEASE_CREATED, metrics.RELEASE_DATA, metrics.RELEASE_ITEMS, metrics.HELD_OUT),
    *(metrics.TRAINING_SECONDS, metrics.TRAINING_ROWS),
)


def export(manifest: Manifest) -> None:
    """Replace the facts about the release before."""
    for gauge in _GAUGES:
        gauge.clear()
    release = manifest.id
    metrics.RELEASE_CREATED.labels(release).set(manifest.created.timestamp())
    if manifest.as_of:
        metrics.RELEASE_DATA.labels(release).set(manifest.as_of / 1000)
    metrics.RELEASE_ITEMS.labels(release).set(manifest.items)
    for segment, found in manifest.metrics.items():
        systems = {"chain": found.chain, "popularity": found.popularity, **found.channels}
        for system, means in systems.items():
            for metric, mean in means.items():
                metrics.HELD_OUT.labels(release, segment, system, metric).set(mean)
    training = manifest.training
    if training is not None:
        metrics.TRAINING_SECONDS.labels(release).set(training.seconds)
        for outcome, rows in training.rows.items():
            metrics.TRAINING_ROWS.labels(release, outcome).set(rows)
