"""Settings of feed."""

from pydantic import PositiveFloat

from recmesh.serving import RedisSettings


class FeedSettings(RedisSettings):
    """feed needs Redis and nothing else.

    Attributes:
        event_window: Seconds for which feed remembers the event ids of actions.
    """

    event_window: PositiveFloat = 3600.0
