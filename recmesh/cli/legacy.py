"""Requests of the v0 contract's client."""

from recmesh.pb.item_info_pb2 import ItemInfo
from recmesh.pb.rank_pb2 import RankRequest
from recmesh.pb.user_info_pb2 import UserInfo

LEGACY_RANK = RankRequest(
    user_info=UserInfo(
        user_id="1", age="5.0", sex="1.0", city_level="5.0", province="20.0", city="176.0", country="1933.0"
    ),
    item_infos=[ItemInfo(sku_id="1", brand="3456", shopid="6980", cate="70")],
)
"""What the legacy client sends for `rank` without arguments."""
