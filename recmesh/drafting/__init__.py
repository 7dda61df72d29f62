"""A first schema.yaml, drafted from the files of a data set: `recmesh dataset init`."""

from recmesh.drafting.draft import Draft, draft, write

__all__ = ["Draft", "draft", "write"]
