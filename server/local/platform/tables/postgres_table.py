"""Owns the PostgreSQL table of a synced table: made, filled, put in place, dropped."""

from __future__ import annotations

import asyncio
import io
import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from server.local.platform.instances import sql
from server.local.platform.rest.errors import wrong_state
from server.local.platform.tables.sources import SOURCES, batches

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from server.local.platform.options import Options
    from server.local.platform.state import SyncedTable

_WRITER = "databricks_writer_"
# How often progress is seen to move.
_STEPS = 20
# Of the snapshot's delay, how much the table is missing for before it is filled in place.
_MISSING = 0.25
_OWNER = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass($1)"


@dataclass
class Progress:
    """How far a sync has come."""

    total: int
    synced: int = 0
    started: float = 0

    def shown(self) -> dict[str, Any]:
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


class Replica:
    """The table `"schema"."table"` of the connection's database, filled from the source.

    It belongs to the role databricks_writer_<the database's oid>. A table that is owned by nobody of that kind is
    somebody else's, and is left alone.
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
        """How many rows are to come, about."""
        return self._source.rows(self._options.scale)

    async def sync(self, progress: Progress) -> None:
        """Replace the table by a new one with the rows of the source; its indexes and its grants go with the old one.

        Raises:
            PlatformError: with what is in the way.
            asyncpg.PostgresError, OSError, LoadError: PostgreSQL or the generator failed.
        """
        writer = await self._prepare()
        if self._options.sync_mode == "swap":
            await self._swap(writer, progress)
        else:
            await self._fill_in_place(writer, progress)
        progress.total = progress.synced

    async def drop(self) -> None:
        """Drop the table, where it is a synced one."""
        owner = await self._connection.fetchval(_OWNER, self._target)
        await self._connection.execute(f"DROP SCHEMA IF EXISTS {self._staging} CASCADE")
        if owner and owner.startswith(_WRITER):
            await self._connection.execute(f"SET lock_timeout = '5s'; DROP TABLE {self._target}")

    async def _prepare(self) -> str:
        """See that role and schema are there and the table is free; the role's name."""
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

    async def _swap(self, writer: str, progress: Progress) -> None:
        connection = self._connection
        await connection.execute(f"DROP SCHEMA IF EXISTS {self._staging} CASCADE; CREATE SCHEMA {self._staging}")
        await connection.execute(self._definition(self._staging, writer))
        async with aclosing(self._paced(progress)) as chunks:
            await connection.copy_to_table(self._name, schema_name=self._staging, source=chunks, format="csv")
        staged = f"{self._staging}.{sql.quoted(self._name)}"
        # Sets the visibility map too, without which no index-only scan is one.
        await connection.execute(f"VACUUM (ANALYZE) {staged}")
        # Several statements at once are one transaction.
        await connection.execute(
            f"DROP TABLE IF EXISTS {self._target};"
            f"ALTER TABLE {staged} SET SCHEMA {sql.quoted(self._schema)};"
            f"DROP SCHEMA {self._staging}"
        )

    async def _fill_in_place(self, writer: str, progress: Progress) -> None:
        connection = self._connection
        await connection.execute(f"DROP TABLE IF EXISTS {self._target}")
        await asyncio.sleep(self._options.snapshot_delay * _MISSING)
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
        described = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        key = ", ".join(self._spec["primary_key_columns"])
        table = f"{schema}.{sql.quoted(self._name)}"
        return f"CREATE TABLE {table} ({described}, PRIMARY KEY ({key})); ALTER TABLE {table} OWNER TO {writer}"

    async def _paced(self, progress: Progress) -> AsyncGenerator[bytes, None]:
        options, step = self._options, max(self.rows // _STEPS, 1)
        async with aclosing(batches(self._source, options.scale, step, options.kept_sources)) as found:
            async for rows, chunk in found:
                yield chunk
                progress.synced += rows
                await asyncio.sleep(self._options.snapshot_delay / _STEPS)
