"""Owns the connecting to instances: found by name, logged in to with a minted token, woken where they sleep."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from schema.errors import ApiError, Reason, UnavailableError
from schema.lakebase_ports import InstanceState
from server.auth import is_loopback
from server.db.database import DatabaseAbsentError, DatabaseMissingError
from server.lakebase.credentials import TokenProvider, heard

if TYPE_CHECKING:
    from schema.lakebase_ports import Instance
    from server.lakebase.loading import PlatformLoader
    from server.settings import Settings

_REFUSED: Final = (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)
# An instance that is not there is not asked for again by each of many requests.
_REMEMBERED_SECONDS: Final = 1.0
_PAUSES_SECONDS: Final = (0.05, 0.25)


class _Instance:
    """What is remembered of one instance."""

    def __init__(self, credentials: TokenProvider) -> None:
        self.credentials = credentials
        self.host: str | None = None
        self.missing: ApiError | None = None
        self.looked_at = 0.0
        self.looking: asyncio.Task[None] | None = None


class Instances:
    """The instances of the workspace, by name. Nothing is asked before the first connection."""

    def __init__(self, settings: Settings, loader: PlatformLoader) -> None:
        self._settings = settings
        self._loader = loader
        self._known: dict[str, _Instance] = {}
        self._user: str | None = settings.pguser
        self._asking: asyncio.Task[str] | None = None

    async def connect(self, name: str, database: str, *, timeout: float, **options: Any) -> asyncpg.Connection:  # noqa: ASYNC109 # as asyncpg has it
        """A new connection to a database of the instance, as the server's own identity, within that many seconds.

        Raises:
            DatabaseAbsentError: there is no such instance or database, or it is stopped.
            UnavailableError: the platform does not answer.
            asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError: as asyncpg raises them.
        """
        known = self._known.setdefault(name, _Instance(TokenProvider(lambda: self._mint(name))))
        # Seconds of imports, once a process; they always come to an end.
        await self._loader.get()
        # Finding it and minting a token included; both go on without who no longer waits.
        async with asyncio.timeout(timeout):
            try:
                return await self._connect(known, name, database, time.monotonic() + timeout, options)
            except asyncpg.InvalidCatalogNameError:
                raise DatabaseMissingError(
                    f"The database instance {name} has no database {database} (yet): provisionLakebase makes it."
                ) from None

    async def _connect(
        self, known: _Instance, name: str, database: str, deadline: float, options: dict[str, Any]
    ) -> asyncpg.Connection:
        refused = woken = False
        while True:
            host = await self._host(known, name)
            try:
                return await self._open(known, host, database, options)
            except _REFUSED:
                # The platform may have ended the token early, or the instance is another than it was.
                known.host = None
                if refused:
                    raise
                refused = True
            except (asyncpg.CannotConnectNowError, OSError) as error:
                # One that sleeps says that it cannot yet, and wakes up; while it does it may be deaf for a moment.
                woken = woken or isinstance(error, asyncpg.CannotConnectNowError)
                pause = random.uniform(*_PAUSES_SECONDS)  # noqa: S311 # a jitter
                if not woken or time.monotonic() + pause > deadline:
                    known.host = None
                    raise
                await asyncio.sleep(pause)

    def forget(self, name: str) -> None:
        """Look for it anew: it has been deleted, or made."""
        if known := self._known.get(name):
            known.host, known.missing = None, None

    async def _open(self, known: _Instance, host: str, database: str, options: dict[str, Any]) -> asyncpg.Connection:
        given: list[str] = []

        async def password() -> str:
            given.append(await known.credentials.get())
            return given[-1]

        try:
            return await asyncpg.connect(
                host=host,
                port=self._settings.lakebase_port,
                user=await self._user_name(),
                database=database,
                password=password,
                # The embedded PostgreSQL of a laptop has no TLS; anything that is not this machine must have it.
                ssl=False if is_loopback(host) else "require",
                **options,
            )
        except _REFUSED:
            for token in given:
                known.credentials.reject(token)
            raise

    async def _host(self, known: _Instance, name: str) -> str:
        if self._settings.lakebase_host and name == self._settings.lakebase_instance_name:
            return self._settings.lakebase_host
        if known.host is None and (known.missing is None or time.monotonic() - known.looked_at > _REMEMBERED_SECONDS):
            if known.looking is None or known.looking.done():
                known.looking = asyncio.create_task(self._look(known, name), name="find instance")
            await asyncio.shield(known.looking)
        if known.host is not None:
            return known.host
        raise known.missing or DatabaseMissingError(_absent(name))

    async def _look(self, known: _Instance, name: str) -> None:
        try:
            found = await (await self._loader.get()).find_instance(name)
            known.host = found.host if found and found.state is not InstanceState.STOPPED else None
            known.missing = None if known.host else _why_not(name, found)
        except ApiError as error:
            # Whoever wants orders is told of the database; the platform's own word goes with it.
            known.missing = UnavailableError(
                Reason.DATABASE_UNAVAILABLE, f"The database instance {name} cannot be looked up. {error.message}"
            )
        known.looked_at = time.monotonic()

    async def _mint(self, name: str) -> Any:
        return await (await self._loader.get()).credential(name)

    async def _user_name(self) -> str:
        if self._user is None:
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._ask_user_name(), name="who are we")
                self._asking.add_done_callback(heard)
            self._user = await asyncio.shield(self._asking)
        return self._user

    async def _ask_user_name(self) -> str:
        return await (await self._loader.get()).user_name()


class InstanceDatabase:
    """One database of one instance, for the pools."""

    def __init__(self, instances: Instances, name: str, database: str) -> None:
        self._instances = instances
        self._name = name
        self._database = database

    async def connect(self, *, timeout: float, **options: Any) -> asyncpg.Connection:  # noqa: ASYNC109 # asyncpg's own option
        """As the instance is found then."""
        return await self._instances.connect(self._name, self._database, timeout=timeout, **options)


def _why_not(name: str, found: Instance | None) -> DatabaseAbsentError:
    if found is None:
        return DatabaseMissingError(_absent(name))
    if found.state is InstanceState.STOPPED:
        return DatabaseAbsentError(
            f"The database instance {name} is stopped. Somebody has to start it: updateDatabaseInstance."
        )
    return DatabaseAbsentError(f"The database instance {name} has no address yet; it is {found.state.value}.")


def _absent(name: str) -> str:
    return f"There is no database instance {name} (yet): provisionLakebase makes it."
