"""Connections to the platform's databases: finds an instance by name, logs in with a minted token, wakes it."""

from __future__ import annotations

import asyncio
import math
import time
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from schema.errors import ApiError, PlatformError, Reason, UnavailableError
from server.db.database import DatabaseAbsentError, DatabaseMissingError
from server.db.wake_up import WakeUp
from server.lakebase.login.absence import ENDPOINT_PREFIX, absence_of, not_found
from server.lakebase.login.tokens import TokenProvider
from server.observability.log_setup import silence_failure
from server.settings.dsn import is_local

if TYPE_CHECKING:
    from server.db.database import Provenance
    from server.lakebase.platform.conversions import DatabaseAddress
    from server.lakebase.platform.loader import PlatformLoader
    from server.settings import Settings

_REFUSED: Final = (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)
# An instance that was not found is not looked up again for this long, however many requests need it.
_REMEMBERED_SECONDS: Final = 1.0
# How long a login that found no server waits for the platform to say why. The platform may be down as well.
_LOOKUP_SECONDS: Final = 1.0
# The longest life that the platform gives a token of an endpoint.
_TOKEN_SECONDS: Final = 3_600
NOT_MINTED_YET: Final = "no token has been minted yet"


class _Server:
    """One database server: its address as last looked up, its tokens and its wake-up."""

    def __init__(self, tokens: TokenProvider, wake_up: WakeUp) -> None:
        self.tokens = tokens
        self.wake_up = wake_up
        self.address: DatabaseAddress | None = None
        self.failure: ApiError | None = None
        self.looked_up_at = -math.inf
        self.lookup: asyncio.Task[None] | None = None
        self.uid: str | None = None
        self.uids = 0

    def renew_uid(self) -> None:
        """Ask for the uid again, because another instance may have the name now. An answer under way is of no use."""
        self.uid = None
        self.uids += 1


class Instances:
    """The database servers of the workspace: instances by name, endpoints by path, branches by the path of the branch.

    A server's address is looked up on the platform only when a connection needs it.
    """

    def __init__(self, settings: Settings, loader: PlatformLoader) -> None:
        self._settings = settings
        self._loader = loader
        self._by_name: dict[str, _Server] = {}
        self._user: str | None = settings.pguser
        self._user_lookup: asyncio.Task[str] | None = None

    async def connect(
        self,
        name: str,
        database: str,
        *,
        timeout: float,  # noqa: ASYNC109 # as asyncpg has it
        read_only: bool = False,
        **options: Any,
    ) -> asyncpg.Connection:
        """Open a connection to a database as the server's own identity; each attempt may take `timeout` seconds.

        `read_only` connects to a replica. This waits for the primary's wake-up, but not for a replica's.

        Raises:
            DatabaseAbsentError: there is no such instance or database, or it is stopped.
            ApiError: the platform does not answer, or refuses the server's identity its address or a credential.
            asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError: as asyncpg raises them.
        """
        name = self._server_name(name)
        server = self._server(name)
        # Imports the SDK once in a process, which takes seconds; so it stays outside the timeout.
        await self._loader.get()

        async def attempt() -> asyncpg.Connection:
            # This includes finding the address and minting a token. Both continue if this attempt times out.
            async with asyncio.timeout(timeout):
                return await self._attempt(server, name, database, options, read_only=read_only)

        try:
            return await (attempt() if read_only else server.wake_up.connect(attempt))
        except asyncpg.InvalidCatalogNameError:
            raise DatabaseMissingError(
                f"The database instance {name} has no database {database} yet: provisionLakebase creates it."
            ) from None

    async def read_only_host(self, name: str) -> str | None:
        """The host of an instance's replicas, looked up now; None if it has none.

        Raises:
            ApiError: as `connect`.
        """
        if self._settings.lakebase_read_host and name == self._settings.served_name:
            return self._settings.lakebase_read_host
        server = self._server(name)
        await self._refresh_address(server, name)
        if server.address is None and server.failure is not None:
            raise server.failure.with_traceback(None)
        return server.address.read_only_host if server.address else None

    async def uid(self, name: str) -> str:
        """The platform's uid of an instance, or of the branch of an endpoint. It is asked for again with the address.

        Raises:
            DatabaseMissingError: there is no such instance or branch.
            UnavailableError: the platform refuses, or does not answer; the message has the grant.
        """
        server = self._server(name)
        if server.uid is None:
            logins = (await self._loader.get()).logins
            find = logins.branch_uid if name.startswith(ENDPOINT_PREFIX) else logins.instance_uid
            number = server.uids
            try:
                found = await find(name)
            except ApiError as error:
                raise UnavailableError(
                    Reason.DATABASE_UNAVAILABLE,
                    f"The uid of {name} cannot be looked up, which tells this database from a copy. {error.message}",
                ) from error
            if found is None:
                raise DatabaseMissingError(not_found(name))
            if server.uids != number:
                return await self.uid(name)
            server.uid = found
        return server.uid

    async def provenance(self, name: str) -> Provenance:
        """What the platform tells of an instance or the branch of an endpoint, looked up now.

        Raises:
            ApiError: there is no such instance or branch, or the platform refuses or does not answer.
        """
        logins = (await self._loader.get()).logins
        find = logins.branch_provenance if name.startswith(ENDPOINT_PREFIX) else logins.instance_provenance
        found = await find(name)
        if found is None:
            raise DatabaseMissingError(not_found(name))
        return found

    def wake_up(self, name: str) -> WakeUp:
        """An instance's wake-up."""
        return self._server(name).wake_up

    def token_state(self, name: str) -> str:
        """The state of an instance's token, in words for an operator."""
        tokens = self._server(name).tokens
        if failure := tokens.failure:
            return f"{failure.reason.name}: {failure.message}"
        return "ok" if tokens.minted else NOT_MINTED_YET

    async def look_up(self, name: str) -> None:
        """Look an instance up now. If the platform does not answer, the server keeps what it knows.

        Raises:
            DatabaseAbsentError: there is no such instance, or it is stopped.
        """
        server = self._server(name)
        await self._refresh_address(server, name)
        if isinstance(server.failure, DatabaseAbsentError):
            raise server.failure.with_traceback(None)

    def forget(self, name: str) -> None:
        """Look an instance up again at the next connection, because it was created, changed or deleted."""
        # The endpoints of an instance of the Autoscaling API are below its project.
        below = f"{ENDPOINT_PREFIX}{name}/"
        for server in [server for known, server in self._by_name.items() if known == name or known.startswith(below)]:
            server.address, server.failure = None, None
            server.renew_uid()

    def _server_name(self, name: str) -> str:
        """The name under which a server is kept: the served branch is the served endpoint."""
        served = self._settings.served_name
        return served if served.startswith(f"{name}/endpoints/") else name

    def _server(self, name: str) -> _Server:
        if name not in self._by_name:
            wake_up = WakeUp(sleeps=True, patience=self._settings.wake_timeout)
            self._by_name[name] = _Server(TokenProvider(lambda: self._mint(name)), wake_up)
        return self._by_name[name]

    async def _attempt(
        self, server: _Server, name: str, database: str, options: dict[str, Any], *, read_only: bool
    ) -> asyncpg.Connection:
        try:
            try:
                return await self._open(server, await self._host(server, name, read_only=read_only), database, options)
            except _REFUSED:
                # The platform may have revoked the token, or another instance may have this name now.
                if not read_only and not self._is_fresh(server):
                    await self._refresh_address(server, name)
                return await self._open(server, await self._host(server, name, read_only=read_only), database, options)
        except OSError:
            # The instance may have been stopped or deleted. Or its address has changed: the old one is used until the
            # new one is known.
            if not read_only and not self._is_fresh(server):
                await asyncio.wait({self._start_lookup(server, name)}, timeout=_LOOKUP_SECONDS)
                if isinstance(server.failure, DatabaseAbsentError):
                    raise server.failure.with_traceback(None) from None
            raise
        except ApiError as error:
            if error.reason is Reason.RESOURCE_NOT_FOUND and not self._is_fresh(server):
                # No credential for an instance that was there: it may have been deleted.
                await self._refresh_address(server, name)
            raise

    async def _open(self, server: _Server, host: str, database: str, options: dict[str, Any]) -> asyncpg.Connection:
        used: list[str] = []

        async def password() -> str:
            used.append(await server.tokens.get())
            return used[-1]

        try:
            return await asyncpg.connect(
                host=host,
                port=self._settings.lakebase_port,
                user=await self._user_name(),
                database=database,
                password=password,
                # The embedded PostgreSQL of a laptop has no TLS. Every other machine must have it.
                ssl=False if is_local(host) else self._settings.pgsslmode,
                **options,
            )
        except _REFUSED:
            for token in used:
                server.tokens.reject(token)
            raise

    async def _host(self, server: _Server, name: str, *, read_only: bool) -> str:
        configured = self._settings.lakebase_read_host if read_only else self._settings.lakebase_host
        if configured and name == self._settings.served_name:
            return configured
        if server.address is None and (server.failure is None or not self._is_fresh(server)):
            await self._refresh_address(server, name)
        found = server.address
        if found is not None and (host := found.read_only_host if read_only else found.host):
            return host
        raise server.failure.with_traceback(None) if server.failure else DatabaseMissingError(not_found(name))

    @staticmethod
    def _is_fresh(server: _Server) -> bool:
        return time.monotonic() - server.looked_up_at <= _REMEMBERED_SECONDS

    def _start_lookup(self, server: _Server, name: str) -> asyncio.Task[None]:
        if server.lookup is None or server.lookup.done():
            server.lookup = asyncio.create_task(self._look_up(server, name), name="look up instance", context=Context())
        return server.lookup

    async def _refresh_address(self, server: _Server, name: str) -> None:
        await asyncio.shield(self._start_lookup(server, name))

    async def _look_up(self, server: _Server, name: str) -> None:
        try:
            logins = (await self._loader.get()).logins
            find = logins.find_endpoint if name.startswith(ENDPOINT_PREFIX) else logins.find_instance
            found = await find(name)
            server.failure = absence_of(name, found)
            server.address = None if server.failure else found
        except ApiError as error:
            # An address that is already known stays in use.
            server.failure = error
        server.looked_up_at = time.monotonic()
        server.renew_uid()

    async def _mint(self, name: str) -> Any:
        logins = (await self._loader.get()).logins
        try:
            if name.startswith(ENDPOINT_PREFIX):
                address = self._server(name).address
                endpoint = (address and address.endpoint) or name
                return await logins.endpoint_credential(endpoint, seconds=_TOKEN_SECONDS)
            return await logins.credential(name)
        except PlatformError as error:
            if error.reason is not Reason.RESOURCE_NOT_FOUND:
                raise
            raise PlatformError(error.reason, not_found(name)) from error.__cause__

    async def _user_name(self) -> str:
        if self._user is None:
            if self._user_lookup is None or self._user_lookup.done():
                self._user_lookup = asyncio.create_task(
                    self._look_up_user_name(), name="look up user name", context=Context()
                )
                self._user_lookup.add_done_callback(silence_failure)
            self._user = await asyncio.shield(self._user_lookup)
        return self._user

    async def _look_up_user_name(self) -> str:
        return await (await self._loader.get()).logins.user_name()
