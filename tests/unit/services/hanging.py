"""A store that never answers."""

import asyncio
from collections.abc import Sequence


class Hanging:
    """Reads users and items, and never returns."""

    async def get_user(self, user_id: str) -> tuple[bytes | None, bytes | None]:
        """Hang."""
        await asyncio.Event().wait()
        raise AssertionError

    async def get_items(self, sku_ids: Sequence[str]) -> list[bytes | None]:
        """Hang."""
        await asyncio.Event().wait()
        raise AssertionError
