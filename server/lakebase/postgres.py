"""Owns what administration asks of an instance's PostgreSQL: changes counted, grants, the table itself."""

from __future__ import annotations

import contextlib
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from schema.errors import PlatformError, Reason, UnavailableError
from server.db.changes import quoted
from server.db.errors import DRIVER_ERRORS, classify

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from schema.lakebase_ports import SyncedTable
    from server.lakebase.instances import Instances
    from server.settings import Settings

_APPLICATION: Final = "lakebase-orders-graphql admin"
_STATEMENT_SECONDS: Final = 10.0
# Every instance has it, and nobody deletes it.
_FIRST_DATABASE: Final = "databricks_postgres"
_DATABASES: Final = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname"
_INDEX_DEFINITION: Final = re.compile(r"CREATE (UNIQUE )?INDEX ")
# Of the table and of its columns; the owner's own rights come with the table.
_GRANTS: Final = """
    SELECT NULL AS attname, CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END AS who,
           g.privilege_type AS what, g.is_grantable AS grantable
    FROM pg_class c, aclexplode(c.relacl) g WHERE c.oid = to_regclass($1) AND g.grantee <> c.relowner
    UNION ALL
    SELECT quote_ident(a.attname), CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
           g.privilege_type, g.is_grantable
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid, aclexplode(a.attacl) g
    WHERE c.oid = to_regclass($1) AND g.grantee <> c.relowner
"""
# But for those of constraints, which come with the table.
_DEFINITIONS: Final = """
    SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i
    WHERE i.indrelid = to_regclass($1) AND i.indisvalid
      AND NOT EXISTS (SELECT FROM pg_constraint o WHERE o.conindid = i.indexrelid)
    ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Belongings:
    """What others have put on a table, and goes with it: statements that put it back."""

    grants: tuple[str, ...]
    indexes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the PostgreSQL table of a synced table is."""

    instance: str
    database: str
    schema: str
    table: str

    @property
    def name(self) -> str:
        """The table's name as it stands in a statement."""
        return f"{quoted(self.schema)}.{quoted(self.table)}"


def place_of(table: SyncedTable) -> Place:
    """Where a synced table's rows are.

    Raises:
        PlatformError: RESOURCE_NOT_READY, the platform does not say so.
    """
    _, schema, name = table.name.split(".")
    if not table.instance_name or not table.database_name:
        raise PlatformError(
            Reason.RESOURCE_NOT_READY, f"The platform does not say (yet) in which database {table.name} is."
        )
    return Place(table.instance_name, table.database_name, schema, name)


class Postgres:
    """The databases of all instances, as the server's own identity may use them.

    What PostgreSQL refuses is an asyncpg error; that it cannot be reached, an UnavailableError.
    """

    def __init__(self, instances: Instances, settings: Settings) -> None:
        self._instances = instances
        self._settings = settings

    @asynccontextmanager
    async def connected(
        self, instance: str, database: str, *, seconds: float = _STATEMENT_SECONDS
    ) -> AsyncIterator[asyncpg.Connection]:
        """A connection of its own, of which each statement may take that long.

        Raises:
            UnavailableError: the database does not answer.
        """
        try:
            connection = await self._instances.connect(
                instance,
                database,
                timeout=self._settings.connect_timeout,
                command_timeout=seconds + 1,
                server_settings={
                    "application_name": _APPLICATION,
                    "statement_timeout": str(int(seconds * 1000)),
                },
            )
        except (OSError, TimeoutError, *DRIVER_ERRORS) as error:
            raise classify(error) or error from error
        try:
            yield connection
        except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError) as error:
            raise classify(error) or error from error
        finally:
            with contextlib.suppress(OSError, TimeoutError, *DRIVER_ERRORS):
                await connection.close(timeout=1)

    async def count_changes(self, instance: str, database: str | None = None) -> int | None:
        """How many status changes the instance holds, or one database of it; None where that cannot be told."""
        try:
            if database is not None:
                return await self._count(instance, database)
            async with self.connected(instance, _FIRST_DATABASE) as connection:
                names = [str(row[0]) for row in await connection.fetch(_DATABASES)]
            return sum([await self._count(instance, name) for name in names])
        except asyncpg.InvalidCatalogNameError:
            return 0
        except (UnavailableError, asyncpg.PostgresError):
            return None

    async def belongings(self, place: Place) -> Belongings:
        """What is on the table now; nothing where there is none.

        Raises:
            UnavailableError: the database does not answer.
        """
        async with self.connected(place.instance, place.database) as connection:
            grants = [_grant(place.name, row) for row in await connection.fetch(_GRANTS, place.name)]
            indexes = [str(row[0]) for row in await connection.fetch(_DEFINITIONS, place.name)]
        return Belongings(
            tuple(sorted(grants)),
            tuple(_INDEX_DEFINITION.sub(r"CREATE \1INDEX CONCURRENTLY IF NOT EXISTS ", text, 1) for text in indexes),
        )

    async def run_each(self, place: Place, statements: Sequence[str], *, seconds: float) -> list[str]:
        """Run statements one by one; what could not be done, each with what PostgreSQL says.

        Raises:
            UnavailableError: the database does not answer.
        """
        failed = []
        async with self.connected(place.instance, place.database, seconds=seconds) as connection:
            for statement in statements:
                try:
                    await connection.execute(statement)
                except (
                    asyncpg.InsufficientPrivilegeError,
                    asyncpg.UndefinedObjectError,
                    asyncpg.UndefinedColumnError,
                    asyncpg.UniqueViolationError,
                ) as error:
                    failed.append(f"{statement} ({error.sqlstate})")
        return failed

    async def drop_table(self, place: Place) -> bool:
        """Drop the table, if the platform has left it behind; whether it had.

        Raises:
            UnavailableError: the database does not answer.
            PlatformError: RESOURCE_NOT_READY, it may not be dropped.
        """
        try:
            async with self.connected(place.instance, place.database) as connection:
                if await connection.fetchval("SELECT to_regclass($1) IS NULL", place.name):
                    return False
                await connection.execute(f"DROP TABLE {place.name}")
        except asyncpg.InvalidCatalogNameError:
            return False
        except asyncpg.InsufficientPrivilegeError as error:
            raise PlatformError(
                Reason.RESOURCE_NOT_READY,
                f"The PostgreSQL table {place.name} is left, and the server may not drop it. Its owner runs: "
                f"DROP TABLE {place.name}",
            ) from error
        return True

    async def _count(self, instance: str, database: str) -> int:
        table = f"{quoted(self._settings.app_schema)}.order_status_change"
        async with self.connected(instance, database) as connection:
            # By the catalog, which anybody may read: of a schema that may not be used to_regclass raises an error.
            there = await connection.fetchval(
                "SELECT count(*) FROM pg_tables WHERE schemaname = $1 AND tablename = 'order_status_change'",
                self._settings.app_schema,
            )
            return int(await connection.fetchval(f"SELECT count(*) FROM {table}")) if there else 0  # noqa: S608 # the setting is an identifier, and quoted


def _grant(table: str, row: Any) -> str:
    columns = f" ({row['attname']})" if row["attname"] else ""
    option = " WITH GRANT OPTION" if row["grantable"] else ""
    return f"GRANT {row['what']}{columns} ON {table} TO {row['who']}{option}"
