"""Runs statements on the tables that administration has besides the table of operations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from server.db.app_tables import quoted
from server.db.errors import DRIVER_ERRORS, classify, sqlstate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from server.db.migrate import Migrations
    from server.db.pool import Pool
    from server.lakebase.database.home import Home

# The table, its schema, or a column of a newer revision does not exist.
_MISSING: Final = frozenset({"42P01", "3F000", "42703"})


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
        return await self._home.read(self.rows)

    async def rows(self, statement: str, values: Mapping[str, Any]) -> Sequence[Any]:
        """Run one statement, after creating the tables if they are missing.

        Raises:
            DatabaseAbsentError: there is no database.
            UnavailableError: the database does not answer.
        """
        try:
            try:
                return await self._attempt(statement, values)
            except DBAPIError as error:
                if sqlstate(error) not in _MISSING:
                    raise
                # Another database has replaced the migrated one. It is empty, or its tables are of another revision.
                self._migrations.forget()
                return await self._attempt(statement, values)
        except (DBAPIError, OSError, TimeoutError, *DRIVER_ERRORS) as error:
            raise classify(error) from error

    async def _attempt(self, statement: str, values: Mapping[str, Any]) -> Sequence[Any]:
        await self._migrations.ensure()
        async with self._pool.connect() as connection:
            return (await connection.execute(sa.text(statement), dict(values))).all()
