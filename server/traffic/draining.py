"""Owns the word that this process is about to stop, for all who would otherwise go on for ever."""

from __future__ import annotations

import asyncio


class Draining:
    """Begins once, and never ends. What is in flight is finished; a subscription, which has no end, is sent on."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()

    @property
    def begun(self) -> bool:
        """Whether the process is about to stop."""
        return self._begun.is_set()

    def begin(self) -> None:
        """Tell everybody."""
        self._begun.set()

    async def wait(self) -> None:
        """Return as soon as the process is about to stop."""
        await self._begun.wait()
