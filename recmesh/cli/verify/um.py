"""What um promises."""

from recmesh.cli.verify.faults import Violation
from recmesh.cli.verify.model import Checks, require, require_equal, require_failed
from recmesh.cli.verify.session import Session
from recmesh.client import UM
from recmesh.contract import DETAILED_ACTIONS, FAILED, MAX_ID_BYTES, MAX_REQUEST_BYTES, NO_USER_IDS, OK
from recmesh.pb.um_pb2 import UserModelRequest
from recmesh.pb.user_info_pb2 import History

CHECKS = Checks("um")


@CHECKS.add("known users: their ids and histories")
async def _known_users(session: Session) -> None:
    for user_id in session.users:
        answer = await session.call(UM, UserModelRequest(user_id=user_id))
        if answer.error.code != OK:
            raise Violation(f"user {user_id} is unknown: name users of your data set with --user ID")
        require_equal("user_info.user_id", answer.user_info.user_id, user_id)
        _require_history(answer.history)


def _require_history(history: History) -> None:
    count = len(history.sku_ids)
    require(count <= DETAILED_ACTIONS, f"the history has {count:,} actions: at most {DETAILED_ACTIONS}")
    for name in ("times", "types", "values"):
        found = len(getattr(history, name))
        require(found in (0, count), f"history.{name} has {found:,} entries for {count:,} actions")
    beyond = max(history.types, default=-1) >= len(history.type_names)
    require(not beyond, "history.types has an index beyond type_names")


@CHECKS.add("an unknown user: error.code 500 and the text of the v0 contract")
async def _unknown_user(session: Session) -> None:
    answer = await session.call(UM, UserModelRequest(user_id=session.unknown_id))
    require_failed(answer, f'UM server get user_info from redis fail. (user_id: "{session.unknown_id}"\n)')


@CHECKS.add('the ids "" and "-1", which mean nobody: error.code 500')
async def _nobody(session: Session) -> None:
    for user_id in NO_USER_IDS:
        answer = await session.call(UM, UserModelRequest(user_id=user_id))
        require_equal(f'error.code for "{user_id}"', answer.error.code, FAILED)


@CHECKS.add(f"an id of {MAX_ID_BYTES} bytes is not too long")
async def _longest_id(session: Session) -> None:
    answer = await session.call(UM, UserModelRequest(user_id="x" * MAX_ID_BYTES))
    require_equal("error.code", answer.error.code, FAILED)


CHECKS.refuses(
    f"an id of {MAX_ID_BYTES + 1} bytes", UM, lambda: UserModelRequest(user_id="x" * (MAX_ID_BYTES + 1)), MAX_ID_BYTES
)
CHECKS.refuses(
    "a request of more than 1 MiB", UM, lambda: UserModelRequest(user_id="x" * MAX_REQUEST_BYTES), MAX_REQUEST_BYTES
)
