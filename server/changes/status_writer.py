"""The schema's StatusWriter, over PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from sqlalchemy.exc import DBAPIError

from schema.errors import ApiError, OutcomeUnknownError, Reason, UnavailableError
from schema.ports.changes import StatusChange, WriteOutcome
from server.changes.idempotency import IdempotencyKeys, outcomes_to_json
from server.changes.outcomes import (
    State,
    outcome_before_change,
    outcomes_of,
    status_after,
    with_change,
)
from server.db.driver import Driver
from server.db.errors import DRIVER_ERRORS, classify, sqlstate
from server.http.read_requirement import UNREACHABLE, current_reads

if TYPE_CHECKING:
    from collections.abc import Callable

    from schema.ports.changes import WantedStatus, WriteRequest
    from server.changes.sql_writes import WriteStatements
    from server.db.driver import PooledConnection
    from server.db.migrate import Migrations
    from server.db.pool import Pool
    from server.orders.orders_table import OrdersTable
    from server.orders.readiness import Readiness
    from server.orders.sql_merged import Orders

# If another writer inserts an order's row first, the next attempt finds that row and locks it. So two attempts are
# enough for one order, but a long list of new orders may meet another writer each time.
_ATTEMPTS: Final = 8
_DEADLOCK: Final = frozenset({"40P01", "40001"})
# Undefined table, schema or column; insufficient privilege; wrong object type.
_MISSING: Final = frozenset({"42P01", "3F000", "42703", "42501", "42809"})
# Connection lost, or ended by an operator: whether PostgreSQL has run the last statement is unknown.
_UNKNOWN_CLASSES: Final = ("08", "57P")
_CLOSE_SECONDS: Final = 5.0
_BUSY = "Another transaction holds the order or the key. Nothing was written; try again shortly."
_LOCK_TIMEOUT: Final = "55P03"
# Lock timeout, statement timeout, read-only transaction.
_ERRORS: Final = {
    _LOCK_TIMEOUT: (Reason.ORDER_BUSY, _BUSY),
    "57014": (Reason.STATEMENT_TIMEOUT, "The database took too long. Nothing was written."),
    "25006": (Reason.CHANGES_UNAVAILABLE, "The database accepts no writes: it is a standby, or is set to read-only."),
}


@dataclass(frozen=True, slots=True)
class _Writing:
    """A connection for writing, and its driver, with an open transaction."""

    raw: PooledConnection
    driver: Driver

    async def orders(self, table: OrdersTable) -> Orders:
        """The orders, looked up if necessary."""
        return table.known or await table.resolve(self.raw.session)


class _LostRaceError(Exception):
    """Another transaction has written one of the orders first, so this one is rolled back."""


class SqlStatusWriter:
    """Changes statuses: one transaction for each request, and the same statements for one order as for many."""

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
    ) -> None:
        self._tokens = tokens
        self._pool = pool
        self._table = table
        self._statements = statements
        self._migrations = migrations
        self._readiness = readiness
        self._keys = IdempotencyKeys(pool, statements, retention=retention)
        self._running: set[asyncio.Task[Any]] = set()

    async def write(self, request: WriteRequest, user: str) -> WriteOutcome:
        """Write in a separate task: a client that goes away does not cancel a change that may already be committed."""
        return await asyncio.shield(self._spawn(self._write(request, user)))

    async def close(self) -> None:
        """Wait for the writes in progress, as long as one of them may take."""
        if self._running:
            await asyncio.wait(self._running, timeout=_CLOSE_SECONDS)

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
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
        if request.idempotency_key and self._keys.begin_expiry():
            self._spawn(self._keys.expire())
        return outcome

    async def _attempts(self, request: WriteRequest, user: str) -> WriteOutcome:
        """Make attempts, as long as nothing can have been committed and another one may succeed."""
        await self._migrations.ensure()
        may_retry = True
        for _ in range(_ATTEMPTS):
            try:
                return await self._attempt(request, user)
            except _LostRaceError:
                continue
            except (DBAPIError, *DRIVER_ERRORS) as error:
                if sqlstate(error) in _DEADLOCK:
                    continue
                if not may_retry or not _may_succeed_again(error):
                    raise
                may_retry = False
                self._table.forget()
                self._migrations.forget()
                await self._migrations.ensure()
        raise UnavailableError(Reason.ORDER_BUSY, _BUSY)

    async def _attempt(self, request: WriteRequest, user: str) -> WriteOutcome:
        async with self._pool.checkout() as raw:
            driver = Driver(raw, pool=self._pool.name)
            transaction = raw.driver_connection.transaction(isolation="read_committed")
            await driver.call(transaction.start())
            try:
                outcome, wrote = await self._decide(_Writing(raw, driver), request, user)
                if not wrote:
                    await driver.call(transaction.rollback())
            except BaseException:
                if not raw.spoilt:
                    with contextlib.suppress(Exception):
                        await driver.call(transaction.rollback())
                raise
            if wrote:
                await self._commit(transaction, driver, request)
            if self._tokens():
                await self._note_position(driver)
        return outcome

    @staticmethod
    async def _commit(transaction: Any, driver: Driver, request: WriteRequest) -> None:
        try:
            await driver.call(transaction.commit())
        except BaseException as error:
            # PostgreSQL itself says that it did not commit, so the outcome is known.
            if _is_definite(error):
                raise
            if reads := current_reads.get(None):
                # A client that checks for the change must read the primary.
                reads.written = UNREACHABLE
            raise OutcomeUnknownError(with_key=request.idempotency_key is not None) from error

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

    async def _decide(self, writing: _Writing, request: WriteRequest, user: str) -> tuple[WriteOutcome, bool]:
        """The outcome, and whether the transaction has written anything to commit."""
        key = request.idempotency_key
        if key is not None and (recorded := await self._keys.claim(writing.driver, request, user)):
            return recorded, False
        keys = [wanted.order_key for wanted in request.wanted]
        if len(keys) > 1:
            await writing.driver.rows(self._statements.lock_overlay, {"keys": keys})
        states = await self._states(writing, keys)
        outcomes = outcomes_of(request, states)
        changing = [wanted for wanted, outcome in zip(request.wanted, outcomes, strict=True) if outcome is None]
        planned = [
            outcome_before_change(wanted, states[wanted.order_key]) if outcome is None else outcome
            for wanted, outcome in zip(request.wanted, outcomes, strict=True)
        ]
        if len(changing) < len(keys) > 1:
            unchanged = set(keys).difference(wanted.order_key for wanted in changing)
            await writing.driver.rows(self._statements.delete_unchanged, {"keys": list(unchanged)})
        record = {"principal": user, "key": key, "outcome": outcomes_to_json(planned, states, changing)}
        if not changing:
            if key is not None:
                await writing.driver.rows(self._statements.record, record)
            return WriteOutcome(tuple(planned)), key is not None
        changes = await self._apply(writing, changing, states, record)
        return WriteOutcome(tuple(with_change(outcome, changes) for outcome in planned)), True

    async def _states(self, writing: _Writing, keys: list[int]) -> dict[int, State]:
        orders = await writing.orders(self._table)
        try:
            rows = await writing.driver.rows(self._statements.locked(orders), {"keys": keys})
        except asyncpg.PostgresError as error:
            if _waited_for_table(error):
                raise UnavailableError(
                    Reason.ORDERS_UNAVAILABLE,
                    f"The table {self._table.qualified_name} is locked, probably because a sync is replacing it. "
                    "Nothing was written; try again later.",
                ) from error
            raise
        if not all(filled for _, _, filled, *_ in rows):
            raise UnavailableError(
                Reason.ORDERS_UNAVAILABLE,
                f"The table {self._table.qualified_name} is empty, probably because a sync is filling it. "
                "Nothing was written; try again later.",
            )
        return {key: State(exists, synced, set_here, version) for key, exists, _, synced, set_here, version in rows}

    async def _apply(
        self,
        writing: _Writing,
        changing: list[WantedStatus],
        states: dict[int, State],
        record: dict[str, Any],
    ) -> dict[int, StatusChange]:
        before = [states[wanted.order_key] for wanted in changing]
        rows = await writing.driver.rows(
            self._statements.apply,
            {
                **record,
                "keys": [wanted.order_key for wanted in changing],
                "statuses": [status_after(wanted, state) for wanted, state in zip(changing, before, strict=True)],
                "previous": [state.status for state in before],
                "synced": [state.synced for state in before],
                "cleared": [wanted.status is None for wanted in changing],
                "versions": [state.version + 1 for state in before],
                "notes": [wanted.note for wanted in changing],
            },
        )
        if len(rows) != len(changing):
            raise _LostRaceError
        return {row[1]: StatusChange(*row) for row in rows}

    async def _meaning(self, error: Exception) -> ApiError:
        """The error for the client after a failure before the commit: nothing was written."""
        state = sqlstate(error)
        if state in _ERRORS:
            return UnavailableError(*_ERRORS[state])
        if state in _MISSING:
            self._table.forget()
            if self._statements.names_ours(str(getattr(error, "orig", error))):
                return await self._forbidden()
        return classify(error)

    async def _forbidden(self) -> ApiError:
        try:
            return await self._migrations.use_refused()
        except Exception as lost:  # noqa: BLE001 # any failure here means that the database does not answer
            return classify(lost)


def _waited_for_table(error: asyncpg.PostgresError) -> bool:
    """Whether the lock that timed out was a table's. For a row's lock PostgreSQL says which row, as the context."""
    return sqlstate(error) == _LOCK_TIMEOUT and not getattr(error, "context", None)


def _may_succeed_again(error: Exception) -> bool:
    """Whether a second attempt may succeed, after the tables have been looked up again.

    It may if a pooled connection had died or was lost while it was opened, if a statement was prepared for a table that
    has been replaced, or if one of our tables is missing.
    """
    if isinstance(error, DBAPIError):
        # SQLAlchemy runs the statements that look the table up.
        return error.connection_invalidated or sqlstate(error) in _MISSING
    if isinstance(error, asyncpg.PostgresError) and not isinstance(error, asyncpg.InvalidCachedStatementError):
        return sqlstate(error) in _MISSING or sqlstate(error).startswith(_UNKNOWN_CLASSES)
    return True


def _is_definite(error: BaseException) -> bool:
    """Whether PostgreSQL has reported that it did not commit."""
    return isinstance(error, asyncpg.PostgresError) and not sqlstate(error).startswith(_UNKNOWN_CLASSES)
