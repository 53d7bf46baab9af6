"""Where connections come from: the `Database` protocol, and a database that a URL names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import asyncpg

from schema.errors import Reason, UnavailableError
from server.db.wake_up import WakeUp
from server.settings.dsn import address_of, parse_dsn

if TYPE_CHECKING:
    from datetime import datetime

_ABSENT: Final = "The database does not exist, or is stopped. Orders are served again once an operator has started it."


class DatabaseAbsentError(UnavailableError):
    """The database does not exist or is stopped. Trying again is useless until an operator acts.

    Args:
        message: names the instance, and says what an operator can do. Only admins are told.
    """

    def __init__(self, message: str) -> None:
        super().__init__(Reason.DATABASE_UNAVAILABLE, message, public=_ABSENT)


class DatabaseMissingError(DatabaseAbsentError):
    """The instance does not exist, or the database in it does not."""


class LoginRefusedError(UnavailableError):
    """The server has no address or no credential for the database, because the platform gives it none.

    Callers get a message that is the same for every cause.

    Args:
        why: the cause and what an operator can do, for `/readyz` and the log.
    """

    def __init__(self, why: str) -> None:
        super().__init__(Reason.DATABASE_UNAVAILABLE, "The server cannot log in to its database. Try again shortly.")
        self.why = why


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a database is on the platform, and what it was copied from. What the platform does not tell is None.

    `source` is the name of the branch, snapshot or instance that it was made from, at `moment`. `is_root`: the platform
    says that it was made from none. `is_main`: it is the default branch of its instance.
    """

    instance: str | None = None
    branch: str | None = None
    source: str | None = None
    moment: datetime | None = None
    is_root: bool = False
    is_main: bool = False


class Database(Protocol):
    """A database to connect to."""

    @property
    def wake_up(self) -> WakeUp:
        """Its wake-up: whether it may be asleep."""

    async def origin(self) -> str:
        """What sets the database apart from a copy of its files: the platform's uid, or the address in the URL.

        Raises:
            DatabaseAbsentError: the platform has no such database.
            UnavailableError: the platform does not answer.
        """

    async def provenance(self) -> Provenance:
        """Where the platform says that the database is, and what it was copied from.

        Raises:
            DatabaseAbsentError: the platform has no such database.
            UnavailableError: the platform does not answer.
        """

    async def connect(self, *, timeout: float, **options: Any) -> asyncpg.Connection:  # noqa: ASYNC109 # asyncpg's own option
        """Open a connection: each attempt has `timeout` seconds, and during a wake-up there are as many as needed.

        The options are asyncpg's, except for the address and the login.

        Raises:
            DatabaseAbsentError: the database does not exist or is stopped.
            LoginRefusedError: the platform does not give the server its address or a credential.
            asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError: as asyncpg raises them.
        """

    async def look_up(self) -> None:
        """Find out on the platform whether the database exists and is started, without connecting to it.

        Raises:
            DatabaseAbsentError: it does not exist, or is stopped.
        """


class UrlDatabase:
    """A database that a URL names, with a permanent password, if any."""

    def __init__(self, url: str, *, sleeps: bool = False, wake_timeout: float = 0) -> None:
        self._dsn = parse_dsn(url)
        self.wake_up = WakeUp(sleeps=sleeps, patience=wake_timeout)

    async def origin(self) -> str:
        """The address in the URL, without the login."""
        return address_of(self._dsn)

    async def provenance(self) -> Provenance:
        """Nothing: no platform knows this database."""
        return Provenance()

    async def connect(self, *, timeout: float, **options: Any) -> asyncpg.Connection:  # noqa: ASYNC109 # as above
        """Open a connection to the URL."""
        return await self.wake_up.connect(lambda: asyncpg.connect(dsn=self._dsn, timeout=timeout, **options))

    async def look_up(self) -> None:
        """Do nothing: no platform knows this database."""
