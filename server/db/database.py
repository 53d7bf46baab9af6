"""Owns where connections come from: a database that is named by a URL, or one that has to be found and logged in to."""

from __future__ import annotations

from typing import Any, Protocol

import asyncpg

from server.db.dsn import parse_dsn


class Database(Protocol):
    """A database that can be connected to, whenever it is there."""

    async def connect(self, **options: Any) -> asyncpg.Connection:
        """A new connection. The options are asyncpg's, but for where it is and who logs in.

        Raises:
            UnavailableError: it is not there, and why.
            asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError: as asyncpg raises them.
        """


class UrlDatabase:
    """A database by its URL."""

    def __init__(self, url: str) -> None:
        self._dsn = parse_dsn(url)

    async def connect(self, **options: Any) -> asyncpg.Connection:
        """As the URL says."""
        return await asyncpg.connect(dsn=self._dsn, **options)
