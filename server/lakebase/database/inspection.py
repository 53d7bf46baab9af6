"""Owns what administration asks of an instance's PostgreSQL: changes counted, grants, the table itself."""

from __future__ import annotations

import contextlib
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from schema.errors import ApiError, ForbiddenError, PlatformError, Reason, UnavailableError
from server.db.app_tables import quoted
from server.db.database import DatabaseAbsentError, DatabaseMissingError
from server.db.engine import CONNECT_SECONDS
from server.db.errors import DRIVER_ERRORS, classify

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from schema.ports.administration import SyncedTable
    from server.lakebase.login.instances import Instances
    from server.settings import Settings

_APPLICATION: Final = "lakebase-orders-graphql admin"
_STATEMENT_SECONDS: Final = 10.0
# Every instance has it, and nobody deletes it.
_FIRST_DATABASE: Final = "databricks_postgres"
_DATABASES: Final = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname"
# What the platform's pipelines log in as.
_PIPELINE_ROLES: Final = "databricks_writer"
_OWNER: Final = "SELECT tableowner FROM pg_tables WHERE schemaname = $1 AND tablename = $2"
_REFUSED: Final = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.UndefinedObjectError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedTableError,
    asyncpg.UniqueViolationError,
    asyncpg.DuplicateObjectError,
)
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

    grants: tuple[str, ...] = ()
    indexes: tuple[str, ...] = ()

    def without(self, found: Belongings) -> Belongings:
        """What of it is not among what is found."""
        return Belongings(
            tuple(one for one in self.grants if one not in found.grants),
            tuple(one for one in self.indexes if one not in found.indexes),
        )

    def beside(self, found: Belongings) -> Belongings:
        """All of both."""
        return Belongings(
            tuple(dict.fromkeys((*self.grants, *found.grants))), tuple(dict.fromkeys((*self.indexes, *found.indexes)))
        )


@dataclass(frozen=True, slots=True)
class TableLocation:
    """Where the PostgreSQL table of a synced table is."""

    instance: str
    database: str
    schema: str
    table: str

    @property
    def name(self) -> str:
        """The table's name as it stands in a statement."""
        return f"{quoted(self.schema)}.{quoted(self.table)}"


def place_of(table: SyncedTable) -> TableLocation:
    """Where a synced table's rows are.

    Raises:
        PlatformError: RESOURCE_NOT_READY, the platform does not say so.
    """
    _, schema, name = table.name.split(".")
    if not table.instance_name or not table.database_name:
        raise PlatformError(
            Reason.RESOURCE_NOT_READY, f"The platform does not say (yet) in which database {table.name} is."
        )
    return TableLocation(table.instance_name, table.database_name, schema, name)


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
            DatabaseAbsentError: there is no such database.
            UnavailableError: the database does not answer, refuses a statement, or took longer than that.
            ForbiddenError: PERMISSION_MISSING, the server's role may not.
        """
        try:
            connection = await self._instances.connect(
                instance,
                database,
                timeout=CONNECT_SECONDS,
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
        except (OSError, TimeoutError, *DRIVER_ERRORS) as error:
            raise _meaning(error, seconds) from error
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
        except DatabaseMissingError:
            return 0
        except (UnavailableError, ForbiddenError):
            return None

    async def belongings(self, place: TableLocation) -> Belongings:
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

    async def run_each(self, place: TableLocation, statements: Sequence[str], *, seconds: float) -> None:
        """Run statements one by one, whether or not others before them could be run.

        Raises:
            UnavailableError: the database does not answer, or one took longer than that.
        """
        async with self.connected(place.instance, place.database, seconds=seconds) as connection:
            for statement in statements:
                # A role that is gone, a column that is gone, no right to: who looks afterwards finds it missing.
                with contextlib.suppress(*_REFUSED):
                    await connection.execute(statement)

    async def drop_table(self, place: TableLocation) -> bool:
        """Drop the table, if the platform has left it behind: one of its own, and no other of that name.

        Returns:
            Whether it was dropped.

        Raises:
            UnavailableError: the database does not answer.
            PlatformError: RESOURCE_NOT_READY, it is left, and may not be dropped.
        """
        try:
            async with self.connected(place.instance, place.database) as connection:
                owner = await connection.fetchval(_OWNER, place.schema, place.table)
                if owner is None or not str(owner).startswith(_PIPELINE_ROLES):
                    return False
                try:
                    await connection.execute(f"DROP TABLE {place.name}")
                except asyncpg.InsufficientPrivilegeError as error:
                    raise PlatformError(
                        Reason.RESOURCE_NOT_READY,
                        f"The PostgreSQL table {place.name} is left, and the server may not drop it. Its owner "
                        f"({owner}) runs: DROP TABLE {place.name}",
                    ) from error
        except DatabaseAbsentError:
            return False
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


def _meaning(error: BaseException, seconds: float) -> ApiError:
    if isinstance(error, asyncpg.QueryCanceledError):
        return UnavailableError(
            Reason.STEP_TIMED_OUT,
            f"PostgreSQL did not do it within {seconds:g} s. Send the same mutation again to carry on.",
        )
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return ForbiddenError(
            Reason.PERMISSION_MISSING,
            "PostgreSQL does not let the server's role do this. It takes: GRANT USAGE ON SCHEMA, and rights on the "
            "table, by its owner.",
        )
    if isinstance(error, asyncpg.PostgresError) and classify(error) is None:
        return UnavailableError(
            Reason.DATABASE_UNAVAILABLE, f"PostgreSQL has refused a statement (SQLSTATE {error.sqlstate})."
        )
    return UnavailableError(Reason.DATABASE_UNAVAILABLE, "The database cannot be reached. Try again shortly.")


def _grant(table: str, row: Any) -> str:
    columns = f" ({row['attname']})" if row["attname"] else ""
    option = " WITH GRANT OPTION" if row["grantable"] else ""
    return f"GRANT {row['what']}{columns} ON {table} TO {row['who']}{option}"
