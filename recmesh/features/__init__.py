"""Features of users and items: the one implementation that training and serving share.

A release fixes its features in a `FeatureSpec`, vocabularies, a `Catalogue` and `Statistics`. An `Encoder` combines
them: it turns profiles, histories and item fields into the inputs of the release's models.
"""

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
