"""Raw fields and histories to model inputs: one implementation for training and serving."""

from recmesh.features.catalogue import Catalogue
from recmesh.features.encoder import Encoder
from recmesh.features.spec import CHANNELS, SEGMENTS, FeatureSpec, Segment
from recmesh.features.statistics import Lists, Statistics
from recmesh.features.user import History, User

__all__ = [
    "CHANNELS",
    "SEGMENTS",
    "Catalogue",
    "Encoder",
    "FeatureSpec",
    "History",
    "Lists",
    "Segment",
    "Statistics",
    "User",
]
