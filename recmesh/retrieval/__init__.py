"""Retrieval of candidates: the channels in memory, and the merge of all channels by reciprocal-rank fusion."""

from recmesh.retrieval.merge import Merged, below, merge
from recmesh.retrieval.retriever import IN_MEMORY, Retriever
from recmesh.retrieval.scored import Scored

__all__ = ["IN_MEMORY", "Merged", "Retriever", "Scored", "below", "merge"]
