"""The rules of the data set that was ingested last."""

import asyncio
import contextlib

import pydantic

from recmesh.errors import DamagedData, RecmeshError, Unavailable
from recmesh.stores.editor import Editor
from recmesh.stores.keys import Keys
from recmesh.stores.rules import Rules

INTERVAL_SECONDS = 2.0


class LatestRules:
    """Keeps the rules that an ingestion wrote."""

    def __init__(self, editor: Editor, keys: Keys) -> None:
        """Know none yet."""
        self._editor = editor
        self._key = keys.schema
        self._content: bytes | None = None
        self._rules: Rules | None = None

    def get(self) -> Rules:
        """Return the latest rules that were read.

        Raises:
            Unavailable: None were read yet.
        """
        if self._rules is None:
            raise Unavailable("feed does not know the fields and action types of the data set; run an ingestion")
        return self._rules

    async def refresh(self) -> None:
        """Read the rules. If they are missing or damaged, the last ones stay.

        Raises:
            DamagedData: Redis holds something else.
            Unavailable: Redis does not answer.
        """
        (content,) = await self._editor.read([self._key])
        if content is None or content == self._content:
            return
        try:
            self._rules = Rules.model_validate_json(content)
        except pydantic.ValidationError as error:
            raise DamagedData(f"Redis holds damaged rules of the data set; run the ingestion again: {error}") from error
        self._content = content

    async def follow(self, interval: float = INTERVAL_SECONDS) -> None:
        """Refresh every `interval` seconds until cancelled."""
        while True:
            with contextlib.suppress(RecmeshError):
                await self.refresh()
            await asyncio.sleep(interval)

    async def check(self) -> None:
        """Return if there are rules.

        Raises:
            RecmeshError: There are none, or none could be read.
        """
        if self._rules is None:
            await self.refresh()
        self.get()
