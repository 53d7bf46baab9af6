"""Migrations of the server's own tables: the first process applies them, or says which GRANT is missing."""

from __future__ import annotations

import asyncio
from contextvars import Context
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

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
_UNUSABLE: Final = "Status changes cannot be made or read until an operator has acted. Nothing was written."
# `readable` is null if there is no table with the revision.
_STATE = sa.text(
    """
    SELECT current_user, current_database(), to_regnamespace(:quoted) IS NOT NULL, (
        SELECT has_schema_privilege(relnamespace, 'USAGE') AND has_table_privilege(oid, 'SELECT') AS readable
        FROM pg_catalog.pg_class WHERE relnamespace = to_regnamespace(:quoted) AND relname = 'alembic_version'
    )
    """
)
# Whether the role has each right that a change needs: on tables, the sequence of ids, and functions that it calls.
_WRITABLE = sa.text(
    """
    SELECT bool_and(
        CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, privilege)
        ELSE has_table_privilege(c.oid, privilege) END
    ) AND NOT EXISTS (
        SELECT FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = to_regnamespace(:quoted)
            AND p.proname IN ('write_statuses', 'status_conflict', 'status_name')
            AND NOT has_function_privilege(p.oid, 'EXECUTE')
    )
    FROM (VALUES
        ('order_status', 'SELECT INSERT UPDATE DELETE'), ('order_status_change', 'SELECT INSERT'),
        ('order_status_change_id', 'USAGE'), ('idempotency', 'SELECT INSERT UPDATE DELETE')
    ) AS needed (relname, privileges)
    JOIN pg_catalog.pg_class c USING (relname)
    CROSS JOIN unnest(string_to_array(privileges, ' ')) AS privilege
    WHERE c.relnamespace = to_regnamespace(:quoted)
    """
)


class _Found(NamedTuple):
    """The schema as found. `revision` is empty without tables; `missing` is what an owner runs if the role may not."""

    role: str
    schema_there: bool
    revision: str
    missing: str


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
        self._later: str | None = None
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
            # In an empty context: a request may start the task, but the task does not belong to it.
            self._under_way = asyncio.create_task(self._ensure(), name="migrations", context=Context())
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
                    public=_UNUSABLE,
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

        A later release may have upgraded the tables further. Its revisions only add, so this code uses them.

        Raises:
            UnavailableError: CHANGES_UNAVAILABLE with the missing GRANT.
            DBAPIError, OSError, TimeoutError: the database does not answer.
        """
        scripts = ScriptDirectory(str(_SCRIPTS))
        head = scripts.get_current_head() or ""
        earlier = {"", *(script.revision for script in scripts.walk_revisions())} - {head}
        async with self._engine.connect() as connection, connection.begin():
            found = await self._look(connection)
            if found.revision in earlier:
                # A second process waits here, perhaps one of another release, and then looks again.
                await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
                found = await self._look(connection)
            if found.revision not in earlier:
                if not (await connection.execute(_WRITABLE, {"quoted": self._quoted})).scalar_one():
                    raise self._refused(found.role, self._grant(found.role))
                self._note_later(found.revision, head)
                return found.revision
            try:
                if not found.schema_there:
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
                raise self._refused(found.role, found.missing) from error
        _log.info("migrated", schema=self._schema, revision=head)
        return head

    async def use_refused(self, *, of_changes: bool = True) -> UnavailableError:
        """The error for tables that belong to another role and may not be used; `of_changes` if changes need them."""
        async with self._engine.connect() as connection:
            role = (await connection.execute(sa.text("SELECT current_user"))).scalar_one()
        refused = self._refused(role, self._grant(role))
        if of_changes:
            self._done, self.missing = False, refused.message
        return refused

    def _refused(self, role: str, missing: str) -> UnavailableError:
        return UnavailableError(
            Reason.CHANGES_UNAVAILABLE,
            f"The role {role} may not create or use the tables of status changes in the schema {self._schema}. "
            f"Nothing was written. As their owner, or the owner of the database, run: {missing}; then try again.",
            public=_UNUSABLE,
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

    async def _look(self, connection: AsyncConnection) -> _Found:
        role, database, schema_there, readable = (await connection.execute(_STATE, {"quoted": self._quoted})).one()
        if readable is None:
            right = f"USAGE, CREATE ON SCHEMA {self._quoted}" if schema_there else f'CREATE ON DATABASE "{database}"'
            return _Found(role, schema_there, "", missing=f'GRANT {right} TO "{role}"')
        if not readable:
            raise self._refused(role, self._grant(role))
        table = sa.text(f"SELECT version_num FROM {self._quoted}.alembic_version")  # noqa: S608 # the setting is an identifier, and quoted
        revision = (await connection.execute(table)).scalar_one_or_none() or ""
        return _Found(role, schema_there, revision, missing="python -m server migrate")

    def _note_later(self, revision: str, head: str) -> None:
        """Log once that a later release has upgraded the tables."""
        if revision not in {head, self._later}:
            self._later = revision
            _log.warning("a later release has upgraded the tables", schema=self._schema, revision=revision, ours=head)

    def _apply(self, connection: sa.Connection) -> None:
        config = Config(attributes={"connection": connection, "schema": self._schema})
        config.set_main_option("script_location", str(_SCRIPTS))
        command.upgrade(config, "head")
