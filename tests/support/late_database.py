"""A database that does not exist yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from server.db.database import DatabaseMissingError, Provenance, UrlDatabase
from server.db.wake_up import WakeUp

if TYPE_CHECKING:
    import asyncpg


class LateDatabase:
    """A database that exists from the moment on when `there` is set."""

    wake_up = WakeUp(sleeps=False, patience=0)

    def __init__(self, url: str) -> None:
        self.there = False
        self._database = UrlDatabase(url)

    async def connect(self, **options: Any) -> asyncpg.Connection:
        """Fail as for an instance that does not exist, or connect."""
        if not self.there:
            raise DatabaseMissingError("There is no such instance.")
        return await self._database.connect(**options)

    async def origin(self) -> str:
        """The same origin as that of a database that is always there."""
        return await self._database.origin()

    async def provenance(self) -> Provenance:
        """The same as that of a database that is always there."""
        return await self._database.provenance()

    async def look_up(self) -> None:
        """Find out nothing."""
