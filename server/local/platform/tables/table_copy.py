"""The PostgreSQL table of a synced table: created, filled from the source, put in place, dropped."""

from __future__ import annotations

import asyncio
import io
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from server.local.platform.compute import sql
from server.local.platform.rest.errors import wrong_state
from server.local.platform.tables.sources import SOURCES, batches

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from server.local.platform.options import Options
    from server.local.platform.state.tables import SyncedTable

_WRITER = "databricks_writer_"
# The rows are copied in this many batches, so that clients see progress.
_BATCHES = 20
# The part of the snapshot delay for which an in-place sync leaves the table missing.
_MISSING_SHARE = 0.25
_OWNER = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass($1)"


@dataclass
class Progress:
    """The progress of a sync: rows in all, rows copied, and the monotonic time of its start."""

    total: int
    synced: int = 0
    started: float = 0

    def as_json(self) -> dict[str, Any]:
        """A SyncedTablePipelineProgress."""
        done = min(self.synced / self.total, 1.0) if self.total else 1.0
        seconds = (time.monotonic() - self.started) * (1 - done) / done if done else 0.0
        return {
            "latest_version_currently_processing": "1",
            "provisioning_phase": "PROVISIONING_PHASE_MAIN",
            "synced_row_count": str(self.synced),
            "total_row_count": str(max(self.total, self.synced)),
            "sync_progress_completion": done,
            "estimated_completion_time_seconds": seconds,
        }


class TableCopy:
    """The table `"schema"."table"` in the connection's database, a copy of the source table.

    The role databricks_writer_<oid of the database> owns it. A table of this name with any other owner is not a synced
    table, and is never touched.
    """

    def __init__(self, connection: Any, table: SyncedTable, options: Options) -> None:
        self._connection = connection
        self._options = options
        self._schema, self._name = table.name.split(".")[1:]
        self._spec = table.spec
        self._source = SOURCES[table.spec["source_table_full_name"]]
        self._staging = f"databricks_sync_{table.uid[:8]}"
        self._target = f"{sql.quoted(self._schema)}.{sql.quoted(self._name)}"

    @property
    def rows(self) -> int:
        """The number of rows in the source, approximately."""
        return self._source.rows(self._options.scale)

    async def prepare(self) -> str:
        """Create role and schema, check that the table may be replaced, and return the role's name.

        Raises:
            PlatformError: the schema is missing, or the table is not a synced table.
        """
        connection = self._connection
        oid = await connection.fetchval("SELECT oid FROM pg_database WHERE datname = current_database()")
        writer = f"{_WRITER}{oid}"
        if not await sql.role_exists(connection, writer):
            await connection.execute(f"CREATE ROLE {writer} NOLOGIN")
        granted = f"GRANT {writer} TO" if self._options.index_rights else f"REVOKE {writer} FROM"
        await connection.execute(f"{granted} {sql.SUPERUSER_ROLE}")
        if not await connection.fetchval("SELECT true FROM pg_namespace WHERE nspname = $1", self._schema):
            if not self._spec.get("create_database_objects_if_missing"):
                raise wrong_state(
                    f"Schema '{self._schema}' does not exist, and create_database_objects_if_missing is off."
                )
            await connection.execute(f"CREATE SCHEMA {sql.quoted(self._schema)} AUTHORIZATION {writer}")
        owner = await connection.fetchval(_OWNER, self._target)
        if owner and not owner.startswith(_WRITER):
            raise wrong_state(f"Table {self._target} exists already and is owned by '{owner}'.")
        return writer

    async def sync(self, progress: Progress, writer: str) -> None:
        """Replace the table by a new copy of the source, which the role `writer` owns.

        The old table's indexes and grants are lost.

        Raises:
            asyncpg.PostgresError, OSError, GeneratorError: PostgreSQL or the generator failed.
        """
        if self._options.sync_mode == "swap":
            await self._swap(writer, progress)
        else:
            await self._fill_in_place(writer, progress)
        progress.total = progress.synced

    async def drop(self) -> None:
        """Drop the table if it is a synced table."""
        owner = await self._connection.fetchval(_OWNER, self._target)
        await self._connection.execute(f"DROP SCHEMA IF EXISTS {self._staging} CASCADE")
        if owner and owner.startswith(_WRITER):
            await self._connection.execute(f"SET lock_timeout = '5s'; DROP TABLE {self._target}")

    async def _swap(self, writer: str, progress: Progress) -> None:
        connection = self._connection
        await connection.execute(f"DROP SCHEMA IF EXISTS {self._staging} CASCADE; CREATE SCHEMA {self._staging}")
        await connection.execute(self._definition(self._staging, writer))
        async with aclosing(self._paced(progress)) as chunks:
            await connection.copy_to_table(self._name, schema_name=self._staging, source=chunks, format="csv")
        staged = f"{self._staging}.{sql.quoted(self._name)}"
        # VACUUM sets the visibility map, without which an index-only scan still visits the table.
        await connection.execute(f"VACUUM (ANALYZE) {staged}")
        # Sent together, the statements are one transaction.
        await connection.execute(
            f"DROP TABLE IF EXISTS {self._target};"
            f"ALTER TABLE {staged} SET SCHEMA {sql.quoted(self._schema)};"
            f"DROP SCHEMA {self._staging}"
        )

    async def _fill_in_place(self, writer: str, progress: Progress) -> None:
        connection = self._connection
        await connection.execute(f"DROP TABLE IF EXISTS {self._target}")
        await asyncio.sleep(self._options.snapshot_delay * _MISSING_SHARE)
        await connection.execute(self._definition(sql.quoted(self._schema), writer))
        async with aclosing(self._paced(progress)) as chunks:
            async for chunk in chunks:
                await connection.copy_to_table(
                    self._name, schema_name=self._schema, source=io.BytesIO(chunk), format="csv"
                )
        await connection.execute(f"ANALYZE {self._target}")

    def _definition(self, schema: str, writer: str) -> str:
        columns = self._source.postgres_columns()
        for override in self._spec.get("type_overrides") or []:
            columns[override["column_name"]] = f"varchar({override['size']})"
        definitions = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        key = ", ".join(self._spec["primary_key_columns"])
        table = f"{schema}.{sql.quoted(self._name)}"
        return f"CREATE TABLE {table} ({definitions}, PRIMARY KEY ({key})); ALTER TABLE {table} OWNER TO {writer}"

    async def _paced(self, progress: Progress) -> AsyncGenerator[bytes, None]:
        options, size = self._options, max(self.rows // _BATCHES, 1)
        async with aclosing(batches(self._source, options.scale, size, options.sources_directory)) as found:
            async for rows, chunk in found:
                yield chunk
                progress.synced += rows
                await asyncio.sleep(self._options.snapshot_delay / _BATCHES)
