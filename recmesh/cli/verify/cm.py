"""What cm promises."""

from recmesh.cli.verify.model import Checks, require_equal, require_failed, require_ok
from recmesh.cli.verify.session import Session
from recmesh.client import CM
from recmesh.contract import MAX_ID_BYTES, MAX_LOOKED_UP, MAX_REQUEST_BYTES
from recmesh.pb.cm_pb2 import CMRequest, CMResponse

CHECKS = Checks("cm")


def _ids(answer: CMResponse) -> list[str]:
    return [item.sku_id for item in answer.item_infos]


@CHECKS.add("known items: all of them, in the order of the request")
async def _known_items(session: Session) -> None:
    sku_ids = [*await session.sku_ids()]
    for wanted in (sku_ids, sku_ids[::-1]):
        answer = await session.call(CM, CMRequest(item_ids=wanted))
        require_ok(answer)
        require_equal("item_infos", _ids(answer), wanted)
        require_equal("missing_ids", [*answer.missing_ids], [])


@CHECKS.add("an unknown item among known ones: these, and its id in missing_ids")
async def _partly_known(session: Session) -> None:
    first, second, *_ = await session.sku_ids()
    answer = await session.call(CM, CMRequest(item_ids=[first, session.unknown_id, second]))
    require_ok(answer)
    require_equal("item_infos", _ids(answer), [first, second])
    require_equal("missing_ids", [*answer.missing_ids], [session.unknown_id])


@CHECKS.add("unknown items alone: error.code 500 and the text of the v0 contract")
async def _unknown_items(session: Session) -> None:
    answer = await session.call(CM, CMRequest(item_ids=[session.unknown_id]))
    require_failed(answer, f'CM server get item_info from redis fail. (item_ids: "{session.unknown_id}"\n)')
    require_equal("missing_ids", [*answer.missing_ids], [session.unknown_id])


@CHECKS.add("no ids: an empty answer")
async def _no_items(session: Session) -> None:
    answer = await session.call(CM, CMRequest())
    require_ok(answer)
    require_equal("item_infos", _ids(answer), [])


@CHECKS.add(f"{MAX_LOOKED_UP:,} ids are not too many")
async def _most_items(session: Session) -> None:
    first, *_ = await session.sku_ids()
    unknown = [session.unknown_id] * (MAX_LOOKED_UP - 1)
    answer = await session.call(CM, CMRequest(item_ids=[first, *unknown]))
    require_ok(answer)
    require_equal("item_infos", _ids(answer), [first])


CHECKS.refuses(f"{MAX_LOOKED_UP + 1:,} ids", CM, lambda: CMRequest(item_ids=["x"] * (MAX_LOOKED_UP + 1)), MAX_LOOKED_UP)
CHECKS.refuses(
    f"an id of {MAX_ID_BYTES + 1} bytes", CM, lambda: CMRequest(item_ids=["x" * (MAX_ID_BYTES + 1)]), MAX_ID_BYTES
)
CHECKS.refuses(
    "a request of more than 1 MiB", CM, lambda: CMRequest(item_ids=["x" * MAX_REQUEST_BYTES]), MAX_REQUEST_BYTES
)
