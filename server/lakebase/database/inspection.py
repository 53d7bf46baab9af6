"""An instance's PostgreSQL as administration uses it: counts status changes, reads grants, drops leftover tables."""

from __future__ import annotations

import contextlib
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from schema.errors import ApiError, ForbiddenError, InternalError, PlatformError, Reason, UnavailableError
from server.db.app_tables import quoted
from server.db.database import DatabaseAbsentError, DatabaseMissingError
from server.db.engine import CONNECT_SECONDS
from server.db.errors import DRIVER_ERRORS, classify
from server.lakebase.database.grants_and_indexes import GrantsAndIndexes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from schema.ports.admin.tables import SyncedTable
    from server.lakebase.login.instances import Instances
    from server.settings import Settings

_APPLICATION: Final = "lakebase-orders-graphql admin"
_STATEMENT_SECONDS: Final = 10.0
# The database that the platform creates with every instance. It cannot be deleted.
FIRST_DATABASE: Final = "databricks_postgres"
# The branch that the platform creates with every project.
FIRST_BRANCH: Final = "production"
_DATABASES: Final = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname"
# Before every status change.
BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
# A plan goes on without what PostgreSQL would tell. Nor may the platform give a credential, although it shows the
# instance: it may not know of it everywhere yet.
_NO_ANSWER: Final = (UnavailableError, ForbiddenError, PlatformError)
# The role names of the platform's pipelines begin with this.
_PIPELINE_ROLE_PREFIX: Final = "databricks_writer"
_OWNER: Final = "SELECT tableowner FROM pg_tables WHERE schemaname = $1 AND tablename = $2"
# The views on a table, and the tables with a foreign key to it.
_DEPENDENTS: Final = """
    SELECT DISTINCT 'view ' || r.ev_class::regclass::text
    FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
    WHERE d.classid = 'pg_rewrite'::regclass AND d.refobjid = to_regclass($1) AND r.ev_class <> d.refobjid
    UNION
    SELECT 'table ' || conrelid::regclass::text FROM pg_constraint
    WHERE confrelid = to_regclass($1) AND conrelid <> confrelid
    ORDER BY 1
"""
# PostgreSQL refuses a statement: a right is missing, or a role, a column or the table is gone.
_REFUSED: Final = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.UndefinedObjectError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedTableError,
    asyncpg.UniqueViolationError,
    asyncpg.DuplicateObjectError,
)
_INDEX_DEFINITION: Final = re.compile(r"CREATE (UNIQUE )?INDEX ")
# The grants on the table and on its columns, except the owner's: those come with the table.
_GRANTS: Final = """
    SELECT NULL AS attname,
           CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END AS grantee,
           g.privilege_type AS privilege, g.is_grantable AS grantable
    FROM pg_class c, aclexplode(c.relacl) g WHERE c.oid = to_regclass($1) AND g.grantee <> c.relowner
    UNION ALL
    SELECT quote_ident(a.attname), CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END,
           g.privilege_type, g.is_grantable
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid, aclexplode(a.attacl) g
    WHERE c.oid = to_regclass($1) AND g.grantee <> c.relowner
"""
# The valid indexes, except those of constraints: those come with the table.
_DEFINITIONS: Final = """
    SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i
    WHERE i.indrelid = to_regclass($1) AND i.indisvalid
      AND NOT EXISTS (SELECT FROM pg_constraint o WHERE o.conindid = i.indexrelid)
    ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class TableLocation:
    """The PostgreSQL table of a synced table: its instance or branch, its database, schema and name."""

    instance: str
    database: str
    schema: str
    table: str

    @property
    def name(self) -> str:
        """The table's name, quoted for a statement."""
        return f"{quoted(self.schema)}.{quoted(self.table)}"


def is_pipeline(role: str) -> bool:
    """Whether a PostgreSQL role belongs to a pipeline of the platform. Pipelines own the tables of synced tables."""
    return role.startswith(_PIPELINE_ROLE_PREFIX)


def location_of(table: SyncedTable) -> TableLocation:
    """The PostgreSQL table that holds a synced table's rows.

    Raises:
        PlatformError: RESOURCE_NOT_READY, the platform has not assigned a database yet.
    """
    _, schema, name = table.name.split(".")
    if not table.server or not table.database_name:
        raise PlatformError(
            Reason.RESOURCE_NOT_READY,
            f"It is not known in which database {table.name} is: the platform has not assigned one yet, or another "
            "client has created the table, in a catalog that registers no database.",
        )
    return TableLocation(table.server, table.database_name, schema, name)


class Postgres:
    """The databases of all instances, as the server's own identity may use them."""

    def __init__(self, instances: Instances, settings: Settings) -> None:
        self._instances = instances
        self._settings = settings

    @asynccontextmanager
    async def connected(
        self, instance: str, database: str, *, seconds: float = _STATEMENT_SECONDS
    ) -> AsyncIterator[asyncpg.Connection]:
        """A new connection, closed afterwards; each of its statements may take `seconds`.

        Raises:
            DatabaseAbsentError: there is no such database.
            UnavailableError: the database does not answer, refuses a statement, or took too long.
            ForbiddenError: PERMISSION_MISSING, the server's role lacks a right.
            PlatformError: the platform gives no credential.
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
            raise classify(error) from error
        try:
            yield connection
        except (OSError, TimeoutError, *DRIVER_ERRORS) as error:
            raise _to_api_error(error, seconds) from error
        finally:
            with contextlib.suppress(OSError, TimeoutError, *DRIVER_ERRORS):
                await connection.close(timeout=1)

    async def count_changes(
        self, instance: str | None, database: str | None = None, *, since: datetime = BEGINNING
    ) -> int | None:
        """The number of status changes in an instance or branch, or in one database of it; None if not countable.

        `since` counts only those that were made later. An instance that is None cannot be connected to.
        """
        if instance is None:
            return None
        try:
            if database is not None:
                return await self._count(instance, database, since)
            async with self.connected(instance, FIRST_DATABASE) as connection:
                names = [str(row[0]) for row in await connection.fetch(_DATABASES)]
            return sum([await self._count(instance, name, since) for name in names])
        except DatabaseMissingError:
            return 0
        except ApiError:
            return None

    async def has_database(self, instance: str, database: str) -> bool | None:
        """Whether an instance has a database; None if the instance does not answer."""
        try:
            async with self.connected(instance, FIRST_DATABASE) as connection:
                return database in {row[0] for row in await connection.fetch(_DATABASES)}
        except _NO_ANSWER:
            return None

    async def owner(self, table: TableLocation) -> str | None:
        """The role that owns a table; None if there is no such table, or the database does not answer."""
        try:
            async with self.connected(table.instance, table.database) as connection:
                owner: str | None = await connection.fetchval(_OWNER, table.schema, table.table)
        except _NO_ANSWER:
            return None
        return owner

    async def dependents(self, table: TableLocation) -> list[str]:
        """The views and tables that keep PostgreSQL from dropping a table; none if the database does not answer."""
        try:
            async with self.connected(table.instance, table.database) as connection:
                return [row[0] for row in await connection.fetch(_DEPENDENTS, table.name)]
        except _NO_ANSWER:
            return []

    async def grants_and_indexes(self, table: TableLocation) -> GrantsAndIndexes:
        """The grants and indexes on a table now; none if there is no table.

        Raises:
            UnavailableError: the database does not answer.
        """
        async with self.connected(table.instance, table.database) as connection:
            grants = [_grant(table.name, row) for row in await connection.fetch(_GRANTS, table.name)]
            indexes = [str(row[0]) for row in await connection.fetch(_DEFINITIONS, table.name)]
        return GrantsAndIndexes(
            tuple(sorted(grants)),
            tuple(_INDEX_DEFINITION.sub(r"CREATE \1INDEX CONCURRENTLY IF NOT EXISTS ", text, 1) for text in indexes),
        )

    async def run_each(self, table: TableLocation, statements: Sequence[str], *, seconds: float) -> None:
        """Run statements one by one, and continue after one that PostgreSQL refuses. Each may take `seconds`.

        Raises:
            UnavailableError: the database does not answer, or a statement took too long.
        """
        async with self.connected(table.instance, table.database, seconds=seconds) as connection:
            for statement in statements:
                # The caller compares the result with what was wanted.
                with contextlib.suppress(*_REFUSED):
                    await connection.execute(statement)

    async def drop_table(self, table: TableLocation) -> bool:
        """Drop a table that the platform left behind. A table that no pipeline owns belongs to a user, and stays.

        Returns:
            Whether the table was dropped.

        Raises:
            UnavailableError: the database does not answer.
            PlatformError: RESOURCE_NOT_READY, the server may not drop the table.
        """
        try:
            async with self.connected(table.instance, table.database) as connection:
                owner = await connection.fetchval(_OWNER, table.schema, table.table)
                if owner is None or not is_pipeline(owner):
                    return False
                try:
                    await connection.execute(f"DROP TABLE {table.name}")
                except asyncpg.InsufficientPrivilegeError as error:
                    raise PlatformError(
                        Reason.RESOURCE_NOT_READY,
                        f"The platform left the PostgreSQL table {table.name} behind, and the server may not drop it. "
                        f"Its owner ({owner}) has to run: DROP TABLE {table.name}",
                    ) from error
        except DatabaseAbsentError:
            return False
        return True

    async def _count(self, instance: str, database: str, since: datetime) -> int:
        changes = f"{quoted(self._settings.app_schema)}.order_status_change"
        async with self.connected(instance, database) as connection:
            # Every role may read the catalog. to_regclass would fail on a schema that this role may not use.
            exists = await connection.fetchval(
                "SELECT count(*) FROM pg_tables WHERE schemaname = $1 AND tablename = 'order_status_change'",
                self._settings.app_schema,
            )
            statement = f"SELECT count(*) FROM {changes} WHERE changed_at > $1"  # noqa: S608 # the setting is an identifier, and quoted
            return int(await connection.fetchval(statement, since)) if exists else 0


def _to_api_error(error: BaseException, seconds: float) -> ApiError:
    if isinstance(error, asyncpg.QueryCanceledError):
        return UnavailableError(
            Reason.STEP_TIMED_OUT,
            f"A statement took longer than {seconds:g} s in PostgreSQL. Send the same mutation again to continue.",
        )
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return ForbiddenError(
            Reason.PERMISSION_MISSING,
            "PostgreSQL does not let the server's role do this. The table's owner has to grant USAGE on the schema, "
            "and rights on the table.",
        )
    if isinstance(error, asyncpg.PostgresError) and isinstance(classify(error), InternalError):
        return UnavailableError(
            Reason.DATABASE_UNAVAILABLE, f"PostgreSQL refused a statement (SQLSTATE {error.sqlstate})."
        )
    return UnavailableError(Reason.DATABASE_UNAVAILABLE, "The database cannot be reached. Try again shortly.")


def _grant(table: str, row: Any) -> str:
    columns = f" ({row['attname']})" if row["attname"] else ""
    option = " WITH GRANT OPTION" if row["grantable"] else ""
    return f"GRANT {row['privilege']}{columns} ON {table} TO {row['grantee']}{option}"
