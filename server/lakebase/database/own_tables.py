"""Runs statements on the tables of administration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from schema.errors import ApiError, Reason, UnavailableError
from server.db.app_tables import quoted
from server.db.driver import spoils
from server.db.errors import DRIVER_ERRORS, classify, driver_error, sqlstate
from server.lakebase.database.home import lacks_tables

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from server.db.migrate import Migrations
    from server.db.pool import Pool
    from server.lakebase.database.home import Home

T = TypeVar("T")
# The table, its schema, or a column of a newer revision does not exist.
_MISSING: Final = frozenset({"42P01", "3F000", "42703"})
_FORBIDDEN: Final = "42501"


class OwnTables:
    """The tables of the app schema; `schema` is its name, quoted."""

    def __init__(self, pool: Pool, schema: str, migrations: Migrations, home: Home) -> None:
        self._pool = pool
        self._migrations = migrations
        self._home = home
        self.schema = quoted(schema)

    async def home(self) -> str:
        """The home of the rows that are written now.

        Raises:
            DatabaseAbsentError: there is no database.
            UnavailableError: the database or the platform does not answer.
        """
        home = await self._home.read(self.rows)
        if lacks_tables(home):
            # Another database has replaced the migrated one.
            self._migrations.forget()
            home = await self._home.read(self.rows)
        return home

    async def rows(self, statement: str, values: Mapping[str, Any]) -> Sequence[Any]:
        """Run one statement as `run` does, and return its rows."""

        async def execute(connection: AsyncConnection) -> Sequence[Any]:
            return (await connection.execute(sa.text(statement), dict(values))).all()

        return await self.run(execute)

    async def found(self, statement: str, values: Mapping[str, Any]) -> Sequence[Any]:
        """The rows of a statement that only reads; none if a table is missing or may not be read. Creates no tables.

        Raises:
            DatabaseAbsentError: there is no database.
            UnavailableError: the database does not answer.
        """
        try:
            async with self._pool.connect(transaction=False) as connection:
                return (await connection.execute(sa.text(statement), dict(values))).all()
        except (DBAPIError, OSError, TimeoutError, *DRIVER_ERRORS) as error:
            if sqlstate(error) in {*_MISSING, _FORBIDDEN}:
                return ()
            raise classify(error) from error

    async def run(self, statements: Callable[[AsyncConnection], Awaitable[T]], *, transaction: bool = False) -> T:
        """Run statements, after creating the tables if they are missing. Repeat one failed attempt.

        Raises:
            DatabaseAbsentError: there is no database.
            UnavailableError: the database does not answer.
        """
        try:
            try:
                return await self._attempt(statements, transaction=transaction)
            except (DBAPIError, *DRIVER_ERRORS) as error:
                if sqlstate(error) in _MISSING:
                    # Another database has replaced the migrated one. It is empty, or of another revision.
                    self._migrations.forget()
                elif not spoils(driver_error(error)):
                    raise
                return await self._attempt(statements, transaction=transaction)
        except (DBAPIError, OSError, TimeoutError, *DRIVER_ERRORS) as error:
            raise await self._meaning(error) from error

    async def _meaning(self, error: BaseException) -> ApiError:
        if sqlstate(error) != _FORBIDDEN:
            return classify(error)
        try:
            refused = await self._migrations.use_refused(of_changes=False)
        except (DBAPIError, OSError, TimeoutError, *DRIVER_ERRORS) as lost:
            return classify(lost)
        return UnavailableError(Reason.DATABASE_UNAVAILABLE, refused.message)

    async def _attempt(self, statements: Callable[[AsyncConnection], Awaitable[T]], *, transaction: bool) -> T:
        await self._migrations.ensure()
        async with self._pool.connect(transaction=transaction) as connection:
            return await statements(connection)
