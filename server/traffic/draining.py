"""The shutdown signal within the process."""

from __future__ import annotations

import asyncio


class Draining:
    """Set once, when the process begins to stop. Operations in flight are finished; subscriptions are ended."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()

    @property
    def begun(self) -> bool:
        """Whether the process is stopping."""
        return self._begun.is_set()

    def begin(self) -> None:
        """Wake everything that waits."""
        self._begun.set()

    async def wait(self) -> None:
        """Return as soon as the process begins to stop."""
        await self._begun.wait()
