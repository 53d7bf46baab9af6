"""The store of operations: in the database while it can be reached, in this process's memory otherwise.

An operation can outlive its database, when it stops or deletes that very instance. It can also precede its database,
when it creates the instance. Meanwhile it lives in memory, and the API says `durable: false`. When there is a database
again, the operation is written down there, even if it has ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schema.errors import UnavailableError
from server.db.database import DatabaseAbsentError
from server.lakebase.operations.operation import CREATING
from server.lakebase.operations.table import LeaseLostError

if TYPE_CHECKING:
    from collections.abc import Collection

    from server.lakebase.operations.operation import OperationRecord
    from server.lakebase.operations.table import OperationTable

# The most ended operations in memory. Older ones are dropped, so that memory stays bounded.
_ENDED_IN_MEMORY: Final = 200


class OperationStore:
    """The operations of all processes on one database, and those that only this process knows.

    Methods that write a durable operation raise LeaseLostError if another process holds it now, and UnavailableError if
    the database does not answer. For an operation in memory they do nothing.
    """

    def __init__(self, table: OperationTable) -> None:
        self._table = table
        self._memory: dict[str, OperationRecord] = {}

    async def begin(self, operation: OperationRecord, *, insist: bool = False) -> OperationRecord | None:
        """Keep a new operation. If another one is working on any of its resources, return that one instead.

        If there is no database, the operation is kept in memory. If the database merely does not answer, it is kept in
        memory only with `insist`: the operation may be the one that repairs the database.

        Raises:
            UnavailableError: the database does not answer.
        """
        if other := self._conflicting_in_memory(operation):
            return other
        try:
            await self.write_down_ended()
            if other := await self._table.insert(operation):
                return other
        except UnavailableError as error:
            if not (insist or isinstance(error, DatabaseAbsentError)):
                raise
            if other := self._conflicting_in_memory(operation):
                return other
            self._keep_in_memory(operation)
        return None

    async def conflicting(self, operation: OperationRecord) -> OperationRecord | None:
        """An unfinished operation on any of the same resources, as far as this process can tell."""
        if other := self._conflicting_in_memory(operation):
            return other
        try:
            await self.write_down_ended()
            return await self._table.conflicting(operation)
        except UnavailableError:
            return None

    async def persist(self, operation: OperationRecord) -> OperationRecord | None:
        """Move an operation from memory to the database, if it answers. If one there conflicts, return that one."""
        try:
            await self.write_down_ended(but=operation)
            other = await self._table.insert(operation)
        except UnavailableError:
            return None
        except LeaseLostError:
            self._memory.pop(operation.id, None)
            raise
        # If it has ended meanwhile, `write_down_ended` ends its row.
        if other is None and not operation.ended:
            self._memory.pop(operation.id, None)
        return other

    async def detach(self, operation: OperationRecord) -> None:
        """Move an operation to memory from the database, which is about to be stopped or deleted."""
        if operation.durable:
            await self._table.delete_held(operation)
            self.abandon(operation)

    def abandon(self, operation: OperationRecord) -> None:
        """Continue in memory, and leave the row behind: its database does not answer, is about to go, or is gone."""
        operation.fence = 0
        self._keep_in_memory(operation)

    async def write_down(self, operation: OperationRecord) -> None:
        """Move an ended operation from memory to the database.

        Raises:
            UnavailableError: the database does not answer.
        """
        await self._table.write_down(operation)
        self._memory.pop(operation.id, None)

    async def write_down_ended(self, *, but: OperationRecord | None = None) -> None:
        """Move all ended operations from memory to the database, `but` for one, as `write_down`.

        Until then the row that one has left behind looks unfinished, and is in the way of others on its resources.
        """
        for operation in [one for one in self._memory.values() if one.ended and one is not but]:
            await self.write_down(operation)

    @property
    def waits(self) -> bool:
        """Whether an ended operation waits in memory for the database."""
        return any(one.ended for one in self._memory.values())

    async def request_cancel(self, id_: str, user: str) -> OperationRecord | None:
        """Ask the process that holds an operation to cancel it; return the operation, None if there is none.

        An operation in another process's memory cannot be found, so it cannot be cancelled from here.

        Raises:
            UnavailableError: the database does not answer.
        """
        if operation := self._memory.get(id_):
            operation.cancel_requested_by = operation.cancel_requested_by or user
            return operation
        try:
            return await self._table.request_cancel(id_, user)
        except DatabaseAbsentError:
            return None

    async def save(self, operation: OperationRecord) -> None:
        """Store the progress of an operation, and renew its lease."""
        async with operation.saving:
            if operation.durable:
                await self._table.save(operation)

    async def renew(self, operation: OperationRecord) -> None:
        """Renew an operation's lease."""
        if operation.durable:
            await self._table.renew(operation)

    async def release(self, operation: OperationRecord) -> None:
        """End an operation's lease now, so that another process can claim it at once."""
        if operation.durable:
            await self._table.release(operation)

    def note_running(self, ids: Collection[str]) -> None:
        """Neither claim nor end as abandoned these operations, which this process runs. `ids` may change later."""
        self._table.running = ids

    async def claim(self) -> list[OperationRecord]:
        """Claim the operations of the database whose lease has ended, as `OperationTable.claim`."""
        return await self._table.claim()

    async def next_lease_end(self) -> float | None:
        """The seconds until a lease in the database ends, as `OperationTable.next_lease_end`."""
        return await self._table.next_lease_end()

    async def find(self, id_: str) -> OperationRecord | None:
        """The operation with this id. If there is no database, only memory is searched.

        Raises:
            UnavailableError: the database does not answer.
        """
        if operation := self._memory.get(id_):
            return operation
        try:
            return await self._table.find(id_)
        except DatabaseAbsentError:
            return None

    async def created(self) -> set[str]:
        """The resources of all operations that create a catalog or a synced table, as far as this process can tell."""
        remembered = {
            resource
            for operation in self._memory.values()
            if operation.request.kind in CREATING
            for resource in operation.resources
        }
        try:
            return remembered | await self._table.created()
        except UnavailableError:
            return remembered

    async def page(self, *, size: int, after: OperationRecord | None) -> list[OperationRecord]:
        """Operations, newest first. If there is no database, only those in memory.

        Raises:
            UnavailableError: the database does not answer.
        """
        try:
            kept = await self._table.page(size=size, after=after)
        except DatabaseAbsentError:
            kept = []
        remembered = [
            operation
            for operation in self._memory.values()
            if after is None or (operation.requested_at, operation.id) < (after.requested_at, after.id)
        ]
        found = {operation.id: operation for operation in (*kept, *remembered)}
        return sorted(found.values(), key=lambda one: (one.requested_at, one.id), reverse=True)[:size]

    def _conflicting_in_memory(self, operation: OperationRecord) -> OperationRecord | None:
        wanted = set(operation.resources)
        return next((one for one in self._memory.values() if not one.ended and wanted & set(one.resources)), None)

    def _keep_in_memory(self, operation: OperationRecord) -> None:
        self._memory[operation.id] = operation
        ended = [one.id for one in self._memory.values() if one.ended]
        for id_ in ended[:-_ENDED_IN_MEMORY]:
            del self._memory[id_]
