"""The schema's StatusWriter, over PostgreSQL."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from sqlalchemy.exc import DBAPIError

from schema.errors import ApiError, OutcomeUnknownError, Reason, UnavailableError
from schema.ports.changes import Refusal, StatusChange, WriteOutcome
from server.changes.history import epoch_of_original
from server.changes.idempotency import KeyExpiry, hash_of
from server.changes.outcomes import changes_made, decoded, outcomes_of
from server.db.app_tables import quoted
from server.db.driver import CONNECTION_LOST, Driver
from server.db.errors import DRIVER_ERRORS, classify, driver_error, sqlstate
from server.http.read_requirement import UNREACHABLE, current_reads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from schema.ports.changes import WriteRequest
    from server.changes.sql_writes import WriteStatements
    from server.db.migrate import Migrations
    from server.db.pool import Pool
    from server.orders.orders_table import OrdersTable
    from server.tables.reading.readiness import Readiness

# Deadlock, serialization failure: PostgreSQL has rolled back one transaction so that the other can go on.
_DEADLOCK: Final = frozenset({"40P01", "40001"})
_NO_FUNCTION: Final = "42883"
# Undefined table, schema, column or function; insufficient privilege; wrong object type; datatype mismatch.
_MISSING: Final = frozenset({"42P01", "3F000", "42703", _NO_FUNCTION, "42501", "42809", "42804"})
_CLOSE_SECONDS: Final = 5.0
# A deadlock may happen again, but hardly twice.
_ATTEMPTS: Final = 3
_BUSY: Final = (
    Reason.ORDER_BUSY,
    "Another transaction holds the order or the key. Nothing was written; try again shortly.",
)
# Of write_statuses: the synced table is empty, or locked. Then lock timeout, deadlock, statement timeout, read-only
# transaction.
_ERRORS: Final = {
    "LO001": (
        Reason.ORDERS_UNAVAILABLE,
        "The {table} is empty, probably because a sync is filling it. Nothing was written; try again later.",
    ),
    "LO002": (
        Reason.ORDERS_UNAVAILABLE,
        "The {table} is locked, probably because a sync is replacing it. Nothing was written; try again later.",
    ),
    "55P03": _BUSY,
    **dict.fromkeys(_DEADLOCK, _BUSY),
    "57014": (Reason.STATEMENT_TIMEOUT, "The database took too long. Nothing was written."),
    "25006": (Reason.CHANGES_UNAVAILABLE, "The database accepts no writes: it is a standby, or is set to read-only."),
}
_KEY_REUSED: Final = Refusal(
    Reason.IDEMPOTENCY_KEY_REUSED,
    "This idempotencyKey has been used with another input. Nothing was written.",
    field="idempotencyKey",
)


class SqlStatusWriter:
    """Changes statuses: one statement for each request, for one order as for many.

    PostgreSQL's function `write_statuses` claims the key, decides, makes the changes and records their outcome. The
    statement is its own transaction, so no lock waits for this process.
    """

    def __init__(
        self,
        pool: Pool,
        table: OrdersTable,
        statements: WriteStatements,
        migrations: Migrations,
        readiness: Readiness,
        *,
        retention: float,
        tokens: Callable[[], bool] = lambda: False,
        epoch: Callable[[], Awaitable[int]] = epoch_of_original,
    ) -> None:
        self._tokens = tokens
        self._epoch = epoch
        self._pool = pool
        self._table = table
        self._orders = ".".join(map(quoted, table.qualified_name.split(".")))
        self._statements = statements
        self._migrations = migrations
        self._readiness = readiness
        self._retention = retention
        self._expiry = KeyExpiry(pool, statements, retention=retention)
        self._running: set[asyncio.Task[Any]] = set()

    async def write(self, request: WriteRequest, user: str) -> WriteOutcome:
        """Write in a separate task: a client that goes away does not cancel a change that may already be committed."""
        return await asyncio.shield(self._spawn(self._write(request, user)))

    async def close(self) -> None:
        """Wait for the writes in progress, as long as one of them may take."""
        if self._running:
            await asyncio.wait(self._running, timeout=_CLOSE_SECONDS)

    def _spawn(self, work: Any, *, context: Context | None = None) -> asyncio.Task[Any]:
        task = asyncio.create_task(work, context=context)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _write(self, request: WriteRequest, user: str) -> WriteOutcome:
        try:
            outcome = await self._attempts(request, user)
        except Exception as error:
            meaning = error if isinstance(error, ApiError) else await self._meaning(error)
            if isinstance(meaning, UnavailableError) and meaning.reason is Reason.DATABASE_UNAVAILABLE:
                self._readiness.failed(meaning, cause=error)
            if meaning is error:
                raise
            raise meaning from error
        self._readiness.used()
        if request.idempotency_key and self._expiry.begin():
            self._spawn(self._expiry.run(), context=Context())
        return outcome

    async def _attempts(self, request: WriteRequest, user: str) -> WriteOutcome:
        """Make attempts, as long as nothing was written and another one may succeed."""
        await self._migrations.ensure()
        # Before the change: a committed change must not fail because its epoch cannot be read.
        epoch = await self._epoch()
        for attempts_left in reversed(range(_ATTEMPTS)):
            try:
                return await self._attempt(request, user, epoch)
            except (DBAPIError, *DRIVER_ERRORS) as error:
                if not attempts_left or not self._may_succeed_again(driver_error(error)):
                    raise
                if sqlstate(error) in _MISSING:
                    self._migrations.forget()
                    await self._migrations.ensure()
        raise AssertionError("the last attempt returns or raises")

    def _may_succeed_again(self, error: BaseException) -> bool:
        """Whether nothing was sent, or a deadlock was resolved, or one of our tables or functions was missing."""
        if not isinstance(error, asyncpg.PostgresError):
            return not isinstance(error, ValueError)
        state = sqlstate(error)
        ours = state in _MISSING and self._statements.names_ours(str(error))
        return ours or state in _DEADLOCK or state.startswith(CONNECTION_LOST)

    async def _attempt(self, request: WriteRequest, user: str, epoch: int) -> WriteOutcome:
        if self._table.known is None:
            # A table that cannot be served takes no changes either.
            await self._look_up_table()
        # It may run again on another connection: after a statement that took too long, nothing was written.
        return await self._pool.run(lambda raw: self._run(Driver(raw, pool=self._pool.name), request, user, epoch))

    async def _run(self, driver: Driver, request: WriteRequest, user: str, epoch: int) -> WriteOutcome:
        try:
            (row,) = await driver.rows(self._statements.write, self._values(request, user))
        except (*DRIVER_ERRORS, OSError, TimeoutError) as error:
            if _is_definite(error):
                raise
            if reads := current_reads.get(None):
                # A client that checks for the change must read the primary.
                reads.written = UNREACHABLE
            raise OutcomeUnknownError(with_key=request.idempotency_key is not None) from error
        outcome = await self._outcome(driver, request, user, row, epoch)
        if self._tokens():
            await self._note_position(driver)
        return outcome

    async def _look_up_table(self) -> None:
        async with self._pool.connect() as connection:
            await self._table.resolve(connection)

    def _values(self, request: WriteRequest, user: str) -> dict[str, Any]:
        return {
            "principal": user,
            "key": request.idempotency_key,
            "hash": hash_of(request),
            "retention_seconds": self._retention,
            "orders": self._orders,
            "atomic": request.atomic,
            "keys": [wanted.order_key for wanted in request.wanted],
            "statuses": [wanted.status for wanted in request.wanted],
            "expected_statuses": [wanted.expected_status for wanted in request.wanted],
            "expected_versions": [wanted.expected_version for wanted in request.wanted],
            "notes": [wanted.note for wanted in request.wanted],
        }

    async def _outcome(
        self, driver: Driver, request: WriteRequest, user: str, row: Sequence[Any], epoch: int
    ) -> WriteOutcome:
        verdict, outcomes, changed, ids, synced, changed_at = row
        if verdict == "KEY_REUSED":
            return WriteOutcome((), refusal=_KEY_REUSED)
        values = decoded(outcomes)
        if verdict == "RECORDED":
            made = {value["key"]: value["version"] for value in values if value["version"] is not None}
            arrays = {"keys": list(made), "versions": list(made.values())}
            rows = await driver.rows(self._statements.replayed, arrays) if made else ()
            return WriteOutcome(
                outcomes_of(values, {row[1]: StatusChange(*(*row, epoch)) for row in rows}), replayed=True
            )
        changes = {}
        if changed:
            its_ids, its_synced = dict(zip(changed, ids, strict=True)), dict(zip(changed, synced, strict=True))
            changes = changes_made(
                request, user, values, ids=its_ids, synced=its_synced, changed_at=changed_at, epoch=epoch
            )
        return WriteOutcome(outcomes_of(values, changes))

    @staticmethod
    async def _note_position(driver: Driver) -> None:
        """Note the log's position: a replica that has replayed up to here shows the change."""
        if (reads := current_reads.get(None)) is None:
            return
        try:
            position = await driver.log_position()
        except Exception:  # noqa: BLE001 # the change is committed, so the request must not fail
            position = UNREACHABLE
        reads.written = max(reads.written, position)

    async def _meaning(self, error: Exception) -> ApiError:
        """The error for the client after a failure: nothing was written."""
        state = sqlstate(error)
        if state in _ERRORS:
            reason, message = _ERRORS[state]
            named = f"table {self._table.qualified_name}"
            return UnavailableError(reason, message.format(table=named), public=message.format(table="orders table"))
        if state not in _MISSING:
            return classify(error)
        try:
            if self._statements.names_ours(str(error)):
                return self._missing_function() if state == _NO_FUNCTION else await self._migrations.use_refused()
            # The synced table is missing or has changed. Looking it up tells what is wrong with it.
            self._table.forget()
            await self._look_up_table()
        except UnavailableError as unavailable:
            return unavailable
        except (DBAPIError, *DRIVER_ERRORS, OSError, TimeoutError) as lost:
            return classify(lost)
        return classify(error)

    def _missing_function(self) -> UnavailableError:
        return UnavailableError(
            Reason.CHANGES_UNAVAILABLE,
            f"The schema {self._statements.schema} has lost the function write_statuses. Nothing was written. As its "
            "owner, set the version in its table alembic_version to '0005' and run: python -m server migrate",
            public="Status changes cannot be made until an operator has repaired their tables. Nothing was written.",
        )


def _is_definite(error: BaseException) -> bool:
    """Whether the statement certainly wrote nothing: PostgreSQL reports an error, or the driver did not send it."""
    if isinstance(error, asyncpg.PostgresError):
        return not sqlstate(error).startswith(CONNECTION_LOST)
    return isinstance(error, asyncpg.InterfaceError)
