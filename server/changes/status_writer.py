"""Owns the changing of statuses in PostgreSQL: the schema's StatusWriter."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import structlog
from sqlalchemy.exc import DBAPIError

from schema.errors import ApiError, OutcomeUnknownError, Reason, UnavailableError
from schema.ports.changes import Outcome, Refusal, StatusChange, WriteOutcome
from server.changes.outcomes import (
    State,
    hash_of,
    outcomes_of,
    recorded_as,
    refusal_from,
    status_after,
    with_change,
    yet_to_change,
)
from server.db.driver import Driver
from server.db.errors import DRIVER_ERRORS, classify, sqlstate
from server.read_requirement import UNREACHABLE, current_reads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.pool import PoolProxiedConnection

    from schema.ports.changes import WantedStatus, WriteRequest
    from server.changes.sql_writes import WriteStatements
    from server.db.migrate import Migrations
    from server.db.pool import Pool
    from server.orders.orders_table import OrdersTable
    from server.orders.readiness import Readiness
    from server.orders.sql_merged import Orders

_log = structlog.get_logger(__name__)
# Each attempt that another writer has forestalled finds that writer's row, and locks it: two are enough for one
# order, a long list of new ones may meet another forestaller each time.
_ATTEMPTS: Final = 8
_DEADLOCK: Final = frozenset({"40P01", "40001"})
# No such table, schema or column; not allowed; of another kind.
_MISSING: Final = frozenset({"42P01", "3F000", "42703", "42501", "42809"})
# Connection lost, or ended by an operator: whether the server did what it was told last is not known.
_UNKNOWN_CLASSES: Final = ("08", "57P")
_EXPIRE_EVERY_SECONDS: Final = 600.0
_FIRST_EXPIRE_SECONDS: Final = 60.0
_EXPIRED_AT_ONCE: Final = 5000
_CLOSE_SECONDS: Final = 5.0
_BUSY = "Another transaction holds the order or the key. Nothing was written; try again shortly."
_LOCK_TIMEOUT: Final = "55P03"
# Lock timeout, statement timeout, read-only transaction.
_SAID: Final = {
    _LOCK_TIMEOUT: (Reason.ORDER_BUSY, _BUSY),
    "57014": (Reason.STATEMENT_TIMEOUT, "The database took too long. Nothing was written."),
    "25006": (Reason.CHANGES_UNAVAILABLE, "The database takes no writes: it is a standby, or set to read only."),
}


@dataclass(frozen=True, slots=True)
class _Writing:
    """A connection to write with, and the driver under it, on which the transaction is open."""

    pool: Pool
    raw: PoolProxiedConnection
    driver: Driver

    async def orders(self, table: OrdersTable) -> Orders:
        """The orders as they are in this database."""
        return table.known or await table.resolve(self.pool.adopt(self.raw))


class _ForestalledError(Exception):
    """Another transaction has written one of the orders first; nothing of this one is kept."""


class SqlStatusWriter:
    """The schema's StatusWriter: one transaction a request, and the same statements for one order as for many."""

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
        self._retention = retention
        self._expired_at = time.monotonic() - _EXPIRE_EVERY_SECONDS + _FIRST_EXPIRE_SECONDS
        self._running: set[asyncio.Task[Any]] = set()

    async def write(self, request: WriteRequest, user: str) -> WriteOutcome:
        """In a task of its own: a caller that goes away does not stop what may have been committed already."""
        return await asyncio.shield(self._spawn(self._write(request, user)))

    async def close(self) -> None:
        """Wait for the writes that are under way, as long as each of them may take."""
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
            if meaning is None or meaning is error:
                raise
            raise meaning from error
        self._readiness.used()
        if request.idempotency_key and time.monotonic() - self._expired_at > _EXPIRE_EVERY_SECONDS:
            self._expired_at = time.monotonic()
            self._spawn(self._expire())
        return outcome

    async def _attempts(self, request: WriteRequest, user: str) -> WriteOutcome:
        """Begin again where nothing can have been committed, and where that may fare better."""
        await self._migrations.ensure()
        anew = True
        for _ in range(_ATTEMPTS):
            try:
                return await self._attempt(request, user)
            except _ForestalledError:
                continue
            except (DBAPIError, *DRIVER_ERRORS) as error:
                if sqlstate(error) in _DEADLOCK:
                    continue
                if not anew or not _passing(error):
                    raise
                anew = False
                self._table.forget()
                self._migrations.forget()
                await self._migrations.ensure()
        raise UnavailableError(Reason.ORDER_BUSY, _BUSY)

    async def _attempt(self, request: WriteRequest, user: str) -> WriteOutcome:
        async with self._pool.checkout() as raw:
            driver = Driver(raw, pool=self._pool.name)
            transaction = await driver.begin()
            try:
                outcome, wrote = await self._decide(_Writing(self._pool, raw, driver), request, user)
                if not wrote:
                    await transaction.rollback()
            except BaseException as error:
                await driver.give_up(error)
                with contextlib.suppress(Exception):
                    await transaction.rollback()
                raise
            if wrote:
                await self._commit(transaction, driver, request)
            if self._tokens():
                await self._note_place(driver)
        return outcome

    @staticmethod
    async def _commit(transaction: Any, driver: Driver, request: WriteRequest) -> None:
        try:
            await transaction.commit()
        except BaseException as error:
            # The server's own word that it did not is as good as its word that it did.
            if _definite(error):
                raise
            await driver.cut(error)
            if reads := current_reads.get(None):
                # Whoever looks whether it was made has to look where it was.
                reads.written = UNREACHABLE
            raise OutcomeUnknownError(with_key=request.idempotency_key is not None) from error

    @staticmethod
    async def _note_place(driver: Driver) -> None:
        """Note how far the log is now: who reads on a secondary that has come there finds what was written."""
        if (reads := current_reads.get(None)) is None:
            return
        try:
            place = await driver.written()
        except Exception as error:  # noqa: BLE001 # it is committed, and that is what has to be told
            await driver.cut(error)
            place = UNREACHABLE
        reads.written = max(reads.written, place)

    async def _decide(self, writing: _Writing, request: WriteRequest, user: str) -> tuple[WriteOutcome, bool]:
        """The outcome, and whether anything was written that has to be committed."""
        key = request.idempotency_key
        if key is not None and (recorded := await self._claim(writing, request, user)):
            return recorded, False
        keys = [wanted.order_key for wanted in request.wanted]
        if len(keys) > 1:
            await writing.driver.rows(self._statements.take, {"keys": keys})
        states = await self._states(writing, keys)
        outcomes = outcomes_of(request, states)
        changing = [wanted for wanted, outcome in zip(request.wanted, outcomes, strict=True) if outcome is None]
        planned = [
            yet_to_change(wanted, states[wanted.order_key]) if outcome is None else outcome
            for wanted, outcome in zip(request.wanted, outcomes, strict=True)
        ]
        if len(changing) < len(keys) > 1:
            unchanged = set(keys).difference(wanted.order_key for wanted in changing)
            await writing.driver.rows(self._statements.leave, {"keys": list(unchanged)})
        record = {"principal": user, "key": key, "outcome": recorded_as(planned, states, changing)}
        if not changing:
            if key is not None:
                await writing.driver.rows(self._statements.record, record)
            return WriteOutcome(tuple(planned)), key is not None
        made = await self._apply(writing, changing, states, record)
        return WriteOutcome(tuple(with_change(outcome, made) for outcome in planned)), True

    async def _claim(self, writing: _Writing, request: WriteRequest, user: str) -> WriteOutcome | None:
        """None where the key is now ours; otherwise what is to be answered."""
        owner = {"principal": user, "key": request.idempotency_key}
        request_hash = hash_of(request)
        claim = {**owner, "hash": request_hash, "retention_seconds": self._retention}
        if await writing.driver.rows(self._statements.claim, claim):
            return None
        ((hash_, outcome),) = await writing.driver.rows(self._statements.recorded, owner)
        if bytes(hash_) != request_hash:
            return WriteOutcome(
                (),
                refusal=Refusal(
                    Reason.IDEMPOTENCY_KEY_REUSED,
                    "This idempotencyKey was used for another input before. Nothing was written.",
                    field="idempotencyKey",
                ),
            )
        return await self._replay(writing, json.loads(outcome))

    async def _replay(self, writing: _Writing, recorded: list[dict[str, Any]]) -> WriteOutcome:
        versions = {item["key"]: item["version"] for item in recorded if item["version"] is not None}
        rows: Sequence[Any] = ()
        if versions:
            arrays = {"keys": list(versions), "versions": list(versions.values())}
            rows = await writing.driver.rows(self._statements.replayed, arrays)
        changes = {row[1]: StatusChange(*row) for row in rows}
        return WriteOutcome(
            tuple(
                Outcome(
                    item["key"],
                    item["previous"],
                    changes.get(item["key"]),
                    refusal_from(item["refusal"]) if item["refusal"] else None,
                )
                for item in recorded
            ),
            replayed=True,
        )

    async def _states(self, writing: _Writing, keys: list[int]) -> dict[int, State]:
        orders = await writing.orders(self._table)
        try:
            rows = await writing.driver.rows(self._statements.locked(orders), {"keys": keys})
        except asyncpg.PostgresError as error:
            if _waited_for_table(error):
                raise UnavailableError(
                    Reason.ORDERS_UNAVAILABLE,
                    f"The table {self._table.qualified_name} is locked, as it is while it is replaced. "
                    "Nothing was written; try again later.",
                ) from error
            raise
        if not all(filled for _, _, filled, *_ in rows):
            raise UnavailableError(
                Reason.ORDERS_UNAVAILABLE,
                f"The table {self._table.qualified_name} is empty, as it is while a sync fills it. "
                "Nothing was written; try again later.",
            )
        return {key: State(there, synced, set_here, version) for key, there, _, synced, set_here, version in rows}

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
            raise _ForestalledError
        return {row[1]: StatusChange(*row) for row in rows}

    async def _expire(self) -> None:
        try:
            expired = _EXPIRED_AT_ONCE
            while expired == _EXPIRED_AT_ONCE:
                # A few at a time, so that nobody waits for it.
                limits = {"retention_seconds": self._retention, "size": _EXPIRED_AT_ONCE}
                async with self._pool.checkout() as raw:
                    driver = Driver(raw, pool=self._pool.name)
                    expired = len(await driver.rows(self._statements.expire, limits))
        except Exception as error:  # noqa: BLE001 # nobody waits for it, and the next one may fare better
            _log.warning("recorded outcomes not expired", cause=repr(error))

    async def _meaning(self, error: Exception) -> ApiError | None:
        """What a failure before the commit means: nothing was written."""
        state = sqlstate(error)
        if state in _SAID:
            return UnavailableError(*_SAID[state])
        if state in _MISSING:
            self._table.forget()
            if self._statements.names_ours(str(getattr(error, "orig", error))):
                return await self._forbidden()
        return classify(error)

    async def _forbidden(self) -> ApiError | None:
        try:
            return await self._migrations.use_refused()
        except Exception as lost:  # noqa: BLE001 # whatever it is, the database does not answer any more
            return classify(lost)


def _waited_for_table(error: asyncpg.PostgresError) -> bool:
    """Whether the lock that did not come was a table's: of a row's PostgreSQL says which row it was."""
    return sqlstate(error) == _LOCK_TIMEOUT and not getattr(error, "context", None)


def _passing(error: Exception) -> bool:
    """Whether a second attempt may fare better, with everything looked up anew.

    A pooled connection had died, or was cut while it was made; a statement had been prepared for a table that was
    replaced; or a table of ours went missing.
    """
    if isinstance(error, DBAPIError):
        # Of a statement that looked the table up.
        return error.connection_invalidated or sqlstate(error) in _MISSING
    if isinstance(error, asyncpg.PostgresError) and not isinstance(error, asyncpg.InvalidCachedStatementError):
        return sqlstate(error) in _MISSING or sqlstate(error).startswith(_UNKNOWN_CLASSES)
    return True


def _definite(error: BaseException) -> bool:
    """Whether the server has said that it did not commit."""
    return isinstance(error, asyncpg.PostgresError) and not sqlstate(error).startswith(_UNKNOWN_CLASSES)
