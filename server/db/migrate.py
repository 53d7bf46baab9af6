"""Owns the making of our own tables: once, by whichever process comes first; and what to GRANT where it may not."""

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
from server.db.errors import classify, sqlstate

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

_log = structlog.get_logger(__name__)
_SCRIPTS: Final = Path(__file__).parent / "migrations"
_FORBIDDEN: Final = "42501"
_READ_ONLY: Final = "25006"
# How long a request waits for an upgrade; that goes on.
_PATIENCE_SECONDS: Final = 3.0
_MIGRATION_LOCK = 7_036_874_417_766
_WHERE = sa.text(
    "SELECT current_user, current_database(), to_regnamespace(:quoted) IS NOT NULL, "
    "EXISTS (SELECT FROM pg_catalog.pg_tables WHERE schemaname = :schema AND tablename = 'alembic_version')"
)

_WRITABLE = sa.text(
    "SELECT bool_and(has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')) "
    "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = :schema AND c.relname IN ('order_status', 'order_status_change', 'idempotency')"
)


class Migrations:
    """Our tables in one schema of one database. `missing` says what keeps changes from being made, if anything."""

    def __init__(self, engine: AsyncEngine, schema: str, *, made: Callable[[], None] = lambda: None) -> None:
        self._engine = engine
        self._schema = schema
        self._quoted = quoted(schema)
        self._made = made
        self._done = False
        self._under_way: asyncio.Task[None] | None = None
        self.missing: str | None = "Our own tables have not been looked for yet."

    async def ensure(self) -> None:
        """Bring the tables to where this code needs them, if they are not yet. Afterwards it costs nothing.

        All who ask meanwhile wait for one upgrade, and not for long: it goes on without them.

        Raises:
            UnavailableError: the database does not answer, or CHANGES_UNAVAILABLE with the GRANT that is missing.
        """
        if self._done:
            return
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await asyncio.shield(self.start())
        except TimeoutError:
            raise UnavailableError(
                Reason.CHANGES_UNAVAILABLE,
                "The tables of status changes are being made or brought up to date. Nothing was written; "
                "try again shortly.",
            ) from None

    def start(self) -> asyncio.Task[None]:
        """The upgrade that is under way, begun if there is none."""
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.create_task(self._ensure(), name="migrations")
            # Whoever has waited for it may have gone: what failed is kept in `missing`.
            self._under_way.add_done_callback(lambda done: done.cancelled() or done.exception())
        return self._under_way

    async def close(self) -> None:
        """Give up what is under way; it is one transaction."""
        if self._under_way is not None:
            self._under_way.cancel()
            await asyncio.gather(self._under_way, return_exceptions=True)

    def forget(self) -> None:
        """Look again next time: a statement has said that something is missing."""
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
                    f"The tables of status changes in the schema {self._schema} cannot be brought up to date; "
                    "the server's log says why. Nothing was written.",
                )
            if meaning.message != self.missing:
                # Orders are read all the same; who wants to write is told what is missing.
                _log.warning("no changes can be made", reason=meaning.message)
            self.missing = meaning.message
            raise meaning from error
        self._done, self.missing = True, None
        self._made()

    async def upgrade(self) -> str:
        """Apply what is missing, and give the revision that is then reached.

        Raises:
            UnavailableError: CHANGES_UNAVAILABLE, as above.
            DBAPIError, OSError, TimeoutError: the database does not answer.
        """
        head = ScriptDirectory(str(_SCRIPTS)).get_current_head() or ""
        async with self._engine.connect() as connection, connection.begin():
            found = (await connection.execute(_WHERE, {"quoted": self._quoted, "schema": self._schema})).one()
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
                # Whoever comes second waits here, and then finds everything done.
                await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
                if not schema_there:
                    await connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {self._quoted}"))
                await connection.run_sync(self._apply)
            except DBAPIError as error:
                if sqlstate(error) == _READ_ONLY:
                    raise UnavailableError(
                        Reason.CHANGES_UNAVAILABLE,
                        "The database takes no writes: it is a standby, or set to read only.",
                    ) from error
                if sqlstate(error) != _FORBIDDEN:
                    raise
                raise self._refused(role, missing) from error
        _log.info("migrated", schema=self._schema, revision=head)
        return head

    async def use_refused(self) -> UnavailableError:
        """What to say where tables that another role has made may not be used."""
        async with self._engine.connect() as connection:
            role = (await connection.execute(sa.text("SELECT current_user"))).scalar_one()
        refused = self._refused(role, self._grant(role))
        self.missing = refused.message
        return refused

    def _refused(self, role: str, missing: str) -> UnavailableError:
        return UnavailableError(
            Reason.CHANGES_UNAVAILABLE,
            f"The role {role} may not make or use the tables of status changes in the schema {self._schema}. "
            f"Nothing was written. As their owner, or the owner of the database, run: {missing}; then try again.",
        )

    def _grant(self, role: str) -> str:
        return "; ".join(
            f'GRANT {rights} {self._quoted} TO "{role}"'
            for rights in (
                "USAGE ON SCHEMA",
                "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA",
                "USAGE, UPDATE ON ALL SEQUENCES IN SCHEMA",
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
