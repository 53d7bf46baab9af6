"""The table of operations: one row each, held by one process at a time under a lease and a fence.

A row belongs to the process that holds its lease. The database's clock alone decides: a lease is renewed every
HEARTBEAT_SECONDS and ends after LEASE_SECONDS. Claiming a row raises its fence, and every write names the fence that
its writer knows, so a holder that was silent for too long writes nothing.

A copy of the database has the rows too. A process carries out only operations whose home is its own database. It ends
the others as failed, unless a process holds them: that process knows the same database by another name.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, TypeVar

import sqlalchemy as sa

from schema.errors import Reason, UnavailableError
from schema.ports.admin.operations import OperationFailure
from server.db.database import DatabaseAbsentError
from server.lakebase.database.audit import write_line
from server.lakebase.database.own_tables import OwnTables
from server.lakebase.operations.operation import CREATING, operations_from_rows, row_values
from server.lakebase.operations.sql_operations import OperationStatements
from server.lakebase.operations.stored_json import failure_to_json, request_to_json, to_jsonb

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from sqlalchemy.ext.asyncio import AsyncConnection

    from server.db.migrate import Migrations
    from server.db.pool import Pool
    from server.lakebase.database.home import Home
    from server.lakebase.operations.operation import OperationRecord

T = TypeVar("T")
HEARTBEAT_SECONDS: Final = 2.0
# Two heartbeats may fail before the lease ends.
LEASE_SECONDS: Final = 6.0
# An operation that no process has held for this long is not resumed: its operator no longer expects it to continue.
STALE_SECONDS: Final = 3600.0
# The key of the advisory lock under which operations are inserted: a number that no other lock of ours has.
_LOCK: Final = 7_036_874_417_767
_INTERRUPTED: Final = (
    "The operation was interrupted, and no process resumed it for an hour. Check what exists now; send the same "
    "mutation again to continue."
)
_BEGUN_ELSEWHERE: Final = (
    "The operation was begun in another database, of which this one is a copy, or by an older release, which did not "
    "record its database. Nothing of it was done from here. Look at what exists, and send the same mutation again if "
    "it should be."
)


class LeaseLostError(Exception):
    """Another process holds the operation now; this one must not act for it any more."""


class OperationTable(OwnTables):
    """The operations of all processes on one database.

    Every method raises UnavailableError if the database does not answer. If there is no database, or the server may not
    create its tables there, that is a DatabaseAbsentError.
    """

    def __init__(self, pool: Pool, schema: str, migrations: Migrations, home: Home) -> None:
        super().__init__(pool, schema, migrations, home)
        # The ids of the operations that this process runs. It neither claims them nor ends them as abandoned.
        self.running: Collection[str] = ()
        self._sql = OperationStatements(self.schema)

    async def run(self, statements: Callable[[AsyncConnection], Awaitable[T]], *, transaction: bool = False) -> T:
        """Run statements as `OwnTables` does, with the errors of this class."""
        try:
            return await super().run(statements, transaction=transaction)
        except UnavailableError as error:
            if error.reason is Reason.CHANGES_UNAVAILABLE:
                # The server may not create its tables in this database, so it can never keep an operation there.
                raise DatabaseAbsentError(error.message) from error
            if error.reason is Reason.DATABASE_UNAVAILABLE:
                raise
            raise UnavailableError(Reason.DATABASE_UNAVAILABLE, error.message) from error

    async def insert(self, operation: OperationRecord) -> OperationRecord | None:
        """Insert an operation. If another one is working on any of its resources, return that one instead.

        Inserting an operation again is no conflict with itself: the reply to the first attempt may have been lost.

        Raises:
            LeaseLostError: another process has claimed this operation meanwhile.
        """
        home = await self.home()
        await self._end_abandoned(home)

        async def insert(connection: AsyncConnection) -> OperationRecord | None:
            # Inserts run one after the other, so that each sees the rows of those before.
            await connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            values = _all_values(operation, home)
            rows = await connection.execute(sa.text(self._sql.conflicting), {"resources": values["resources"]})
            if row := rows.one_or_none():
                if found := operations_from_rows([row]):
                    return found[0]
                raise UnavailableError(
                    Reason.DATABASE_UNAVAILABLE,
                    "Another version of the server is working on the same resources. Wait until it has finished.",
                )
            if not (await connection.execute(sa.text(self._sql.insert), values)).all():
                # The process that claimed it has ended it, too.
                raise LeaseLostError(operation.id)
            return None

        other: OperationRecord | None = await self.run(insert, transaction=True)
        if other is not None and other.id != operation.id:
            return other
        if other is not None and other.fence > 1:
            raise LeaseLostError(operation.id)
        operation.fence = 1
        return None

    async def write_down(self, operation: OperationRecord) -> None:
        """Insert an operation that ended in memory, or end the row that it left behind when it moved there.

        The fence rises: a process that has claimed that row loses it.
        """
        rows = await self.rows(self._sql.write_down, _all_values(operation, await self.home()))
        operation.fence = rows[0].fence if rows else 1

    async def prune(self, *, days: float) -> None:
        """Delete the operations that ended longer ago than this."""
        await self.rows(self._sql.prune, {"seconds": days * 86_400})

    async def conflicting(self, operation: OperationRecord) -> OperationRecord | None:
        """The oldest unfinished operation on any of the same resources."""
        await self._end_abandoned(await self.home())
        rows = await self.rows(self._sql.conflicting, {"resources": list(operation.resources)})
        return next(iter(operations_from_rows(rows)), None)

    async def save(self, operation: OperationRecord) -> None:
        """Update an operation's row, and renew its lease. A row that has ended stays as it is.

        Saving the same end again is no conflict: the reply to the first attempt may have been lost.

        Raises:
            LeaseLostError: another process holds it now, or has ended it.
        """
        saved = await self.rows(self._sql.save, {**row_values(operation), "lease": LEASE_SECONDS})
        if not saved:
            raise LeaseLostError(operation.id)
        # This process may have been asked meanwhile.
        operation.cancel_requested_by = saved[0].cancel_requested_by or operation.cancel_requested_by

    async def request_cancel(self, id_: str, user: str) -> OperationRecord | None:
        """Note in an operation's row that this user asks for its cancellation; return the operation, None without one.

        The process that holds the row reads this when it renews its lease. An operation that has ended stays as it is.
        """
        rows = await self.rows(self._sql.request_cancel, {"id": id_, "user": user})
        return next(iter(operations_from_rows(rows)), None) or await self.find(id_)

    async def renew(self, operation: OperationRecord) -> None:
        """Renew an operation's lease.

        Raises:
            LeaseLostError: another process holds it now.
        """
        await self._set_lease(operation, LEASE_SECONDS)

    async def release(self, operation: OperationRecord) -> None:
        """End an operation's lease now, so that another process can claim it at once.

        Raises:
            LeaseLostError: another process holds it now.
        """
        await self._set_lease(operation, 0)

    async def delete_held(self, operation: OperationRecord) -> None:
        """Delete an operation's row, which this process holds. A row that is gone already was deleted by us.

        Raises:
            LeaseLostError: another process holds it now.
        """
        deleted = await self.rows(self._sql.delete_held, {"id": operation.id, "fence": operation.fence})
        if deleted:
            operation.cancel_requested_by = deleted[0][0] or operation.cancel_requested_by
        # The reply to an earlier attempt may have been lost.
        elif await self.rows(self._sql.find, {"id": operation.id}):
            raise LeaseLostError(operation.id)

    async def claim(self) -> list[OperationRecord]:
        """Claim every unfinished operation of this database whose lease has ended, except those that this process runs.

        An operation that no process has held for STALE_SECONDS is marked as failed instead. A deletion, for example,
        must not be carried out days later because some process happens to start. So is an operation of another home.
        """
        home = await self.home()
        await self._end_abandoned(home)
        values = {"lease": LEASE_SECONDS, "running": list(self.running), "home": home}
        return operations_from_rows(await self.rows(self._sql.claim, values))

    async def next_lease_end(self) -> float | None:
        """The seconds until the next lease ends, unless it is renewed; None if no operation is unfinished."""
        rows = await self.rows(self._sql.next_lease_end, {})
        seconds: float | None = rows[0][0]
        return seconds

    async def created(self) -> set[str]:
        """The resources of all operations that create something, in lower case: "catalog orders"."""
        rows = await self.rows(self._sql.created, {"kinds": [kind.value for kind in CREATING]})
        return {row[0] for row in rows}

    async def find(self, id_: str) -> OperationRecord | None:
        """The operation with this id."""
        rows = await self.rows(self._sql.find, {"id": id_})
        return next(iter(operations_from_rows(rows)), None)

    async def page(self, *, size: int, after: OperationRecord | None) -> list[OperationRecord]:
        """Operations, newest first."""
        values = {"id": after and after.id, "at": after and after.requested_at, "size": size}
        return operations_from_rows(await self.rows(self._sql.page, values))

    async def _end_abandoned(self, home: str) -> None:
        """End operations that no process holds: of other homes at once, of this home after STALE_SECONDS.

        The fence rises: a holder that was silent for too long writes nothing, even when it wakes up. What this process
        runs is left out: it may be the one that wakes up, and has not renewed its leases yet.
        """
        interrupted = OperationFailure(Reason.STEP_TIMED_OUT, _INTERRUPTED, retryable=True)
        begun_elsewhere = OperationFailure(Reason.BEGUN_ELSEWHERE, _BEGUN_ELSEWHERE, retryable=False)
        ended = await self.rows(
            self._sql.end_abandoned,
            {
                "home": home,
                "interrupted": json.dumps(failure_to_json(interrupted)),
                "begun_elsewhere": json.dumps(failure_to_json(begun_elsewhere)),
                "running": list(self.running),
                "stale": STALE_SECONDS,
            },
        )
        for operation in operations_from_rows(ended):
            write_line(operation.outcome())

    async def _set_lease(self, operation: OperationRecord, seconds: float) -> None:
        held = await self.rows(
            self._sql.set_lease,
            {
                "id": operation.id,
                "fence": operation.fence,
                "lease": seconds,
                "cancel_requested_by": operation.cancel_requested_by,
            },
        )
        if not held:
            raise LeaseLostError(operation.id)
        operation.cancel_requested_by = held[0][0] or operation.cancel_requested_by


def _all_values(operation: OperationRecord, home: str) -> dict[str, Any]:
    return {
        **row_values(operation),
        "kind": operation.request.kind.value,
        "fingerprint": operation.fingerprint,
        "resources": list(operation.resources),
        "request": to_jsonb(request_to_json(operation.request)),
        "requested_by": operation.requested_by,
        "requested_at": operation.requested_at,
        "home": home,
        "lease": LEASE_SECONDS,
    }
