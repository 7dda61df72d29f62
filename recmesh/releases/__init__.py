"""Releases: manifests, the model store, and the checks before a release is activated.

A release is a folder with the results of a training: `manifest.json`, `features/`, `user_tower.onnx`,
`item_tower.onnx`, `ranker.onnx`, `ranker/` (the ranker in Paddle's format and a reference request),
`item_vectors.npy`, `metrics.json` and `report.html`. A starter, which an ingestion counts, has features alone.
docs/releases.md describes the files.
"""

from recmesh.releases.checks import (
    Check,
    beats_popularity,
    not_worse_than,
    replaces_no_trained,
    rows_match,
    same_data_as,
)
from recmesh.releases.manifest import (
    FORMAT,
    HEADLINE,
    STARTER_FORMAT,
    Compared,
    Difference,
    FileEntry,
    Index,
    Manifest,
    RankerModel,
    SegmentMetrics,
    TensorInput,
    TrainingFacts,
    collection_name,
    read_manifest,
    verify_folder,
    write_manifest,
)
from recmesh.releases.new_items import NewItems
from recmesh.releases.reference import ReferenceRequest
from recmesh.releases.rule_versions import RuleVersion
from recmesh.releases.store import Active, ModelStore
from recmesh.releases.trial import loads
from recmesh.releases.watch import watch

__all__ = [
    "FORMAT",
    "HEADLINE",
    "STARTER_FORMAT",
    "Active",
    "Check",
    "Compared",
    "Difference",
    "FileEntry",
    "Index",
    "Manifest",
    "ModelStore",
    "NewItems",
    "RankerModel",
    "ReferenceRequest",
    "RuleVersion",
    "SegmentMetrics",
    "TensorInput",
    "TrainingFacts",
    "beats_popularity",
    "collection_name",
    "loads",
    "not_worse_than",
    "read_manifest",
    "replaces_no_trained",
    "rows_match",
    "same_data_as",
    "verify_folder",
    "watch",
    "write_manifest",
]
