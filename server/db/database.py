"""Owns where connections come from: a database that is named by a URL, or one that has to be found and logged in to."""

from __future__ import annotations

from typing import Any, Protocol

import asyncpg

from schema.errors import Reason, UnavailableError
from server.db.wake_up import Waking
from server.settings.dsn import parse_dsn


class DatabaseAbsentError(UnavailableError):
    """There is no such database now, or it is stopped: it is no use to try again before somebody has acted."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.DATABASE_UNAVAILABLE, message)


class DatabaseMissingError(DatabaseAbsentError):
    """It does not exist: not the instance, or not the database in it."""


class Database(Protocol):
    """A database that can be connected to, whenever it is there."""

    @property
    def waking(self) -> Waking:
        """What is known of its sleep."""

    async def connect(self, *, timeout: float, **options: Any) -> asyncpg.Connection:  # noqa: ASYNC109 # asyncpg's own option
        """A new connection: each attempt within that many seconds, and while it wakes as many as it takes.

        The options are asyncpg's, but for where it is and who logs in.

        Raises:
            DatabaseAbsentError: it is not there, and why.
            UnavailableError: it cannot be told where it is.
            asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError: as asyncpg raises them.
        """


class UrlDatabase:
    """A database by its URL, with a password that stays, if any."""

    def __init__(self, url: str, *, sleeps: bool = False, wake_timeout: float = 0) -> None:
        self._dsn = parse_dsn(url)
        self.waking = Waking(sleeps=sleeps, patience=wake_timeout)

    async def connect(self, *, timeout: float, **options: Any) -> asyncpg.Connection:  # noqa: ASYNC109 # as above
        """As the URL says."""
        return await self.waking.connect(lambda: asyncpg.connect(dsn=self._dsn, timeout=timeout, **options))
