"""Owns the connecting to databases of the platform: found by name, logged in to with a minted token, woken."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from schema.errors import ApiError, Reason, UnavailableError
from server.db.database import DatabaseAbsentError, DatabaseMissingError
from server.db.wake_up import Waking
from server.lakebase.login.tokens import TokenProvider
from server.observability.event_loop import heard
from server.settings.dsn import is_local

if TYPE_CHECKING:
    from server.lakebase.platform.conversions import Whereabouts
    from server.lakebase.platform.loader import PlatformLoader
    from server.settings import Settings

_REFUSED: Final = (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)
# An instance that is not there is not asked for again by each of many requests.
_REMEMBERED_SECONDS: Final = 1.0
# The longest life that the platform gives a token of an endpoint.
_TOKEN_SECONDS: Final = 3_600
# An endpoint of the Autoscaling API is named by its path, which no instance's name can be.
_ENDPOINT: Final = "projects/"


class _Known:
    """What is remembered of one database server, by the instance's name or the endpoint's path."""

    def __init__(self, credentials: TokenProvider, waking: Waking) -> None:
        self.credentials = credentials
        self.waking = waking
        self.found: Whereabouts | None = None
        self.missing: ApiError | None = None
        self.looked_at = -math.inf
        self.looking: asyncio.Task[None] | None = None


class Instances:
    """The database servers of the workspace: instances by name, endpoints by path. Nothing is asked too early."""

    def __init__(self, settings: Settings, loader: PlatformLoader) -> None:
        self._settings = settings
        self._loader = loader
        self._by_name: dict[str, _Known] = {}
        self._user: str | None = settings.pguser
        self._asking: asyncio.Task[str] | None = None

    async def connect(
        self,
        name: str,
        database: str,
        *,
        timeout: float,  # noqa: ASYNC109 # as asyncpg has it
        read_only: bool = False,
        **options: Any,
    ) -> asyncpg.Connection:
        """A new connection to a database, as the server's own identity: each attempt within that many seconds.

        `read_only` asks for the readable secondaries, which nobody waits for.

        Raises:
            DatabaseAbsentError: there is no such instance or database, or it is stopped.
            UnavailableError: the platform does not answer.
            asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError: as asyncpg raises them.
        """
        known = self._known(name)
        # Seconds of imports, once a process; they always come to an end.
        await self._loader.get()

        async def attempt() -> asyncpg.Connection:
            # Finding it and minting a token included; both go on without who no longer waits.
            async with asyncio.timeout(timeout):
                return await self._attempt(known, name, database, options, read_only=read_only)

        try:
            return await (attempt() if read_only else known.waking.connect(attempt))
        except asyncpg.InvalidCatalogNameError:
            raise DatabaseMissingError(
                f"The database instance {name} has no database {database} (yet): provisionLakebase makes it."
            ) from None

    async def read_only_host(self, name: str) -> str | None:
        """Where its readable secondaries are, asked of the platform anew; None where it has none.

        Raises:
            UnavailableError: the platform does not answer.
        """
        if self._settings.lakebase_read_host and name == self._settings.served_name:
            return self._settings.lakebase_read_host
        known = self._known(name)
        await self._look(known, name)
        if known.found is None and known.missing is not None:
            raise known.missing.with_traceback(None)
        return known.found.read_only_host if known.found else None

    def waking(self, name: str) -> Waking:
        """What is known of its sleep."""
        return self._known(name).waking

    def token_state(self, name: str) -> str:
        """How it stands with its token, for an operator."""
        credentials = self._known(name).credentials
        if failure := credentials.failure:
            return f"{failure.reason.name}: {failure.message}"
        return "ok" if credentials.minted else "none has been minted yet"

    def forget(self, name: str) -> None:
        """Look for it anew: it has been deleted, or made."""
        if known := self._by_name.get(name):
            known.found, known.missing = None, None

    def _known(self, name: str) -> _Known:
        if name not in self._by_name:
            waking = Waking(sleeps=True, patience=self._settings.wake_timeout)
            self._by_name[name] = _Known(TokenProvider(lambda: self._mint(name)), waking)
        return self._by_name[name]

    async def _attempt(
        self, known: _Known, name: str, database: str, options: dict[str, Any], *, read_only: bool
    ) -> asyncpg.Connection:
        try:
            try:
                return await self._open(known, await self._host(known, name, read_only=read_only), database, options)
            except _REFUSED:
                # The platform may have ended the token early, or the instance is another than it was.
                if not read_only and not self._is_fresh(known):
                    await self._look(known, name)
                return await self._open(known, await self._host(known, name, read_only=read_only), database, options)
        except OSError:
            # It may be elsewhere by now. Until that is known, it is where it was.
            if not read_only and not self._is_fresh(known):
                self._start_looking(known, name)
            raise

    async def _open(self, known: _Known, host: str, database: str, options: dict[str, Any]) -> asyncpg.Connection:
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
                ssl=False if is_local(host) else self._settings.pgsslmode,
                **options,
            )
        except _REFUSED:
            for token in given:
                known.credentials.reject(token)
            raise

    async def _host(self, known: _Known, name: str, *, read_only: bool) -> str:
        given = self._settings.lakebase_read_host if read_only else self._settings.lakebase_host
        if given and name == self._settings.served_name:
            return given
        if known.found is None and (known.missing is None or not self._is_fresh(known)):
            await self._look(known, name)
        found = known.found
        if found is not None and (host := found.read_only_host if read_only else found.host):
            return host
        raise known.missing.with_traceback(None) if known.missing else DatabaseMissingError(_absent(name))

    @staticmethod
    def _is_fresh(known: _Known) -> bool:
        return time.monotonic() - known.looked_at <= _REMEMBERED_SECONDS

    def _start_looking(self, known: _Known, name: str) -> asyncio.Task[None]:
        if known.looking is None or known.looking.done():
            known.looking = asyncio.create_task(self._find(known, name), name="find instance")
        return known.looking

    async def _look(self, known: _Known, name: str) -> None:
        await asyncio.shield(self._start_looking(known, name))

    async def _find(self, known: _Known, name: str) -> None:
        try:
            platform = await self._loader.get()
            find = platform.find_endpoint if name.startswith(_ENDPOINT) else platform.find_instance
            found = await find(name)
            known.missing = None if found and found.host and not found.stopped else _why_not(name, found)
            known.found = None if known.missing else found
        except ApiError as error:
            # Whoever wants orders is told of the database, if it is not known from before where it is; the platform's
            # own word goes with it.
            known.missing = UnavailableError(
                Reason.DATABASE_UNAVAILABLE, f"The database instance {name} cannot be looked up. {error.message}"
            )
        known.looked_at = time.monotonic()

    async def _mint(self, name: str) -> Any:
        platform = await self._loader.get()
        if name.startswith(_ENDPOINT):
            return await platform.endpoint_credential(name, seconds=_TOKEN_SECONDS)
        return await platform.credential(name)

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
    """One database of one instance or endpoint, for the pools; or of its readable secondaries."""

    def __init__(self, instances: Instances, name: str, database: str, *, read_only: bool = False) -> None:
        self._instances = instances
        self._name = name
        self._database = database
        self._read_only = read_only

    @property
    def waking(self) -> Waking:
        """That of the instance."""
        return self._instances.waking(self._name)

    async def connect(self, *, timeout: float, **options: Any) -> asyncpg.Connection:  # noqa: ASYNC109 # asyncpg's own option
        """As the instance is found then."""
        return await self._instances.connect(
            self._name, self._database, timeout=timeout, read_only=self._read_only, **options
        )


def _why_not(name: str, found: Whereabouts | None) -> DatabaseAbsentError:
    if found is None:
        return DatabaseMissingError(_absent(name))
    if found.stopped:
        return DatabaseAbsentError(
            f"The database instance {name} is stopped. Somebody has to start it: updateDatabaseInstance."
        )
    return DatabaseAbsentError(f"The database instance {name} has no address yet; it is {found.state}.")


def _absent(name: str) -> str:
    if name.startswith(_ENDPOINT):
        return f"There is no endpoint {name} (yet), or the server's identity may not see it."
    return f"There is no database instance {name} (yet): provisionLakebase makes it."
