"""The asyncio client of a mesh: typed calls, one deadline a call, and retries that ride out a restarting service.

async with Mesh() as mesh:
    answer = await mesh.recommend("8888", size=10)
    print([item.sku_id for item in answer.items], answer.degraded)
"""

from recmesh.client._mesh import Mesh
from recmesh.client._methods import AS, CM, RANK, RECALL, UM, Method
from recmesh.client._model import Candidate, Candidates, History, Item, Items, Recommendation, Scores, User
from recmesh.client._targets import Targets

__all__ = [
    "AS",
    "CM",
    "RANK",
    "RECALL",
    "UM",
    "Candidate",
    "Candidates",
    "History",
    "Item",
    "Items",
    "Mesh",
    "Method",
    "Recommendation",
    "Scores",
    "Targets",
    "User",
]
