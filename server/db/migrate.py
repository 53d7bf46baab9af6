"""Migrations of the server's own tables: the first process applies them, or says which GRANT is missing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
import structlog
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError

from schema.errors import Reason, UnavailableError
from server.db.app_tables import quoted
from server.db.database import DatabaseAbsentError, LoginRefusedError
from server.db.errors import classify, sqlstate
from server.observability.log_setup import silence_failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

_log = structlog.get_logger(__name__)
_SCRIPTS: Final = Path(__file__).parent / "migrations"
_FORBIDDEN: Final = "42501"
_READ_ONLY: Final = "25006"
# How long a request waits for an upgrade, which then continues without it.
_PATIENCE_SECONDS: Final = 3.0
_MIGRATION_LOCK = 7_036_874_417_766
_STATE = sa.text(
    "SELECT current_user, current_database(), to_regnamespace(:quoted) IS NOT NULL, "
    "EXISTS (SELECT FROM pg_catalog.pg_tables WHERE schemaname = :schema AND tablename = 'alembic_version')"
)

_WRITABLE = sa.text(
    "SELECT bool_and(has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')) "
    "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = :schema AND c.relname IN ('order_status', 'order_status_change', 'idempotency')"
)


class Migrations:
    """The server's tables in one schema. `missing` is the reason why changes cannot be made, or None.

    Args:
        engine: the engine for migrations.
        schema: the schema.
        made: called after each successful check or upgrade.
    """

    def __init__(self, engine: AsyncEngine, schema: str, *, made: Callable[[], None] = lambda: None) -> None:
        self._engine = engine
        self._schema = schema
        self._quoted = quoted(schema)
        self._made = made
        self._done = False
        self._under_way: asyncio.Task[None] | None = None
        self.missing: str | None = "The tables of status changes have not been checked yet."

    async def ensure(self) -> None:
        """Upgrade the tables to this code's revision, if needed. Costs nothing once that is done.

        Concurrent requests wait for one upgrade, but not for long: it continues without them.

        Raises:
            UnavailableError: the database does not answer, or CHANGES_UNAVAILABLE with the missing GRANT.
        """
        if self._done:
            return
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await asyncio.shield(self.start())
        except TimeoutError:
            raise UnavailableError(
                Reason.CHANGES_UNAVAILABLE,
                "The tables of status changes are being created or upgraded. Nothing was written: try again shortly.",
            ) from None

    def start(self) -> asyncio.Task[None]:
        """The upgrade in progress; starts one if there is none."""
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.create_task(self._ensure(), name="migrations")
            # Requests may have stopped waiting for it. A failure is kept in `missing`.
            self._under_way.add_done_callback(silence_failure)
        return self._under_way

    async def close(self) -> None:
        """Cancel an upgrade in progress. It is one transaction."""
        if self._under_way is not None:
            self._under_way.cancel()
            await asyncio.gather(self._under_way, return_exceptions=True)

    def forget(self) -> None:
        """Check again next time, because a statement found something missing."""
        self._done = False

    async def _ensure(self) -> None:
        try:
            await self.upgrade()
        except Exception as error:
            meaning = error if isinstance(error, UnavailableError) else classify(error)
            if not isinstance(meaning, UnavailableError):
                _log.exception("migration failed")
                meaning = UnavailableError(
                    Reason.CHANGES_UNAVAILABLE,
                    f"The tables of status changes in the schema {self._schema} cannot be upgraded. Nothing was "
                    "written; the server's log says why.",
                )
            if meaning.message != self.missing and not isinstance(meaning, (DatabaseAbsentError, LoginRefusedError)):
                # Orders can still be read. Changes are refused with this message. If there is no database to log in to,
                # orders cannot be read either, and the readiness logs it.
                _log.warning("changes cannot be made", reason=meaning.message)
            self.missing = meaning.message
            if meaning is error:
                raise
            raise meaning from error
        self._done, self.missing = True, None
        self._made()

    async def upgrade(self) -> str:
        """Apply the missing migrations and return the current revision.

        Raises:
            UnavailableError: CHANGES_UNAVAILABLE with the missing GRANT.
            DBAPIError, OSError, TimeoutError: the database does not answer.
        """
        head = ScriptDirectory(str(_SCRIPTS)).get_current_head() or ""
        async with self._engine.connect() as connection, connection.begin():
            found = (await connection.execute(_STATE, {"quoted": self._quoted, "schema": self._schema})).one()
            role, database, schema_there, version_there = found
            missing = f'GRANT CREATE ON DATABASE "{database}" TO "{role}"'
            try:
                if version_there:
                    missing = self._grant(role)
                    if await self._revision(connection) == head:
                        if not await self._writable(connection):
                            raise self._refused(role, missing)
                        return head
                    missing = "python -m server migrate"
                elif schema_there:
                    missing = f'GRANT USAGE, CREATE ON SCHEMA {self._quoted} TO "{role}"'
                # A second process waits here, and then finds everything done.
                await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
                if not schema_there:
                    await connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {self._quoted}"))
                await connection.run_sync(self._apply)
            except DBAPIError as error:
                if sqlstate(error) == _READ_ONLY:
                    raise UnavailableError(
                        Reason.CHANGES_UNAVAILABLE,
                        "The database accepts no writes: it is a standby, or is set to read-only.",
                    ) from error
                if sqlstate(error) != _FORBIDDEN:
                    raise
                raise self._refused(role, missing) from error
        _log.info("migrated", schema=self._schema, revision=head)
        return head

    async def use_refused(self) -> UnavailableError:
        """The error for tables that belong to another role and may not be used."""
        async with self._engine.connect() as connection:
            role = (await connection.execute(sa.text("SELECT current_user"))).scalar_one()
        refused = self._refused(role, self._grant(role))
        self.missing = refused.message
        return refused

    def _refused(self, role: str, missing: str) -> UnavailableError:
        return UnavailableError(
            Reason.CHANGES_UNAVAILABLE,
            f"The role {role} may not create or use the tables of status changes in the schema {self._schema}. "
            f"Nothing was written. As their owner, or the owner of the database, run: {missing}; then try again.",
        )

    def _grant(self, role: str) -> str:
        return "; ".join(
            f'GRANT {rights} {self._quoted} TO "{role}"'
            for rights in (
                "USAGE ON SCHEMA",
                "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA",
                "USAGE, UPDATE ON ALL SEQUENCES IN SCHEMA",
                "EXECUTE ON ALL FUNCTIONS IN SCHEMA",
            )
        )

    async def _writable(self, connection: AsyncConnection) -> bool:
        writable: bool = (await connection.execute(_WRITABLE, {"schema": self._schema})).scalar_one()
        return writable

    async def _revision(self, connection: AsyncConnection) -> str | None:
        table = sa.text(f"SELECT version_num FROM {self._quoted}.alembic_version")  # noqa: S608 # the setting is an identifier, and quoted
        return (await connection.execute(table)).scalar_one_or_none()

    def _apply(self, connection: sa.Connection) -> None:
        config = Config(attributes={"connection": connection, "schema": self._schema})
        config.set_main_option("script_location", str(_SCRIPTS))
        command.upgrade(config, "head")
