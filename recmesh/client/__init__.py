"""The client library: typed calls to the services of a mesh, a deadline for each call, and retries within it.

`Mesh` is for asyncio, `recmesh.client.sync.Mesh` for everything else, and `recmesh.client.testing` has a fake of each
for unit tests. `recmesh.client.wire` converts between the values of this package and protobuf messages.

Example:
    async with Mesh() as mesh:
        answer = await mesh.recommend("8888", size=10)
        print([item.sku_id for item in answer.items], answer.degraded)
"""

from recmesh.client._mesh import DEFAULT_TIMEOUT, ChannelFactory, Mesh
from recmesh.client._methods import (
    AS,
    CM,
    DELETE_USER,
    PUT_ITEMS,
    PUT_USERS,
    RANK,
    RECALL,
    RECORD_ACTIONS,
    REMOVE_ITEMS,
    SET_AVAILABILITY,
    UM,
    Method,
    Request,
    Response,
    check_answer,
)
from recmesh.client._model import (
    Action,
    Candidate,
    Candidates,
    History,
    Item,
    Items,
    Missing,
    Recommendation,
    Recorded,
    Rejected,
    Scores,
    User,
)
from recmesh.client._targets import Targets
from recmesh.conditions import Condition
from recmesh.contract import ServiceName
from recmesh.errors import (
    AnswerFailed,
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    PermissionDenied,
    RecmeshError,
    Unauthenticated,
    Unavailable,
)

__all__ = [
    "AS",
    "CM",
    "DEFAULT_TIMEOUT",
    "DELETE_USER",
    "PUT_ITEMS",
    "PUT_USERS",
    "RANK",
    "RECALL",
    "RECORD_ACTIONS",
    "REMOVE_ITEMS",
    "SET_AVAILABILITY",
    "UM",
    "Action",
    "AnswerFailed",
    "Candidate",
    "Candidates",
    "ChannelFactory",
    "Condition",
    "DeadlineExceeded",
    "History",
    "InvalidRequest",
    "Item",
    "Items",
    "Mesh",
    "Method",
    "Missing",
    "Overloaded",
    "PermissionDenied",
    "RecmeshError",
    "Recommendation",
    "Recorded",
    "Rejected",
    "Request",
    "Response",
    "Scores",
    "ServiceName",
    "Targets",
    "Unauthenticated",
    "Unavailable",
    "User",
    "check_answer",
]
