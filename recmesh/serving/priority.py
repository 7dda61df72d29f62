"""Calls that can wait, which services refuse before others under load. A call passes its priority on to the stages."""

from collections.abc import Sequence
from contextvars import ContextVar

from recmesh.contract import BATCH, PRIORITY
from recmesh.serving.tracing import Metadata

batch: ContextVar[bool] = ContextVar("recmesh_batch", default=False)
"""Whether the request that the current task answers can wait."""

_BATCH_METADATA = ((PRIORITY, BATCH),)


def is_batch(metadata: Metadata | None) -> bool:
    """Whether a call with this metadata can wait."""
    return any(entry in _BATCH_METADATA for entry in metadata or ())


def outgoing_metadata() -> Sequence[tuple[str, str]]:
    """Metadata that passes the priority of the current request on."""
    return _BATCH_METADATA if batch.get() else ()
