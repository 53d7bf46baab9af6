"""Lookups of single rows for plans: requests that look rows up at the same time share one statement."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

from aiodataloader import DataLoader

from schema.deadline import current_deadline, follow
from server.http.read_requirement import ReadRequirement, current_reads
from server.observability.request_record import RequestRecord, current_record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from schema.ports.values import Key

# What is wanted of a row. Requests that want the same may share a statement.
W = TypeVar("W", bound=Hashable)
# The text of a row by each template, None where the template cannot write it; None if there is no such row.
_Texts: TypeAlias = "tuple[str | None, ...] | None"
_REMEMBERED: Final = 256


class _Waiter:
    """A request that waits for a row."""

    __slots__ = ("batch", "deadline", "gone", "key")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.deadline = current_deadline()
        self.batch: _Batch | None = None
        self.gone = False

    def leave(self) -> None:
        """Stop waiting. When the last waiter leaves, the statement is cancelled."""
        self.gone = True
        if self.batch is not None and all(waiter.gone for waiter in self.batch.waiters):
            self.batch.task.cancel()


class _Batch(NamedTuple):
    """The requests that share a statement, the task that runs it, and the record of what it takes."""

    waiters: list[_Waiter]
    task: asyncio.Task[Any]
    record: RequestRecord


class SharedLookups(Generic[W]):
    """Looks up single rows, in one statement for all requests of the same turn of the event loop.

    The statement costs the process more than everything else about such a request. If no lookup is running, a request
    runs its own at once. A shared result is as fresh as a separate one, because the shared statement starts after all
    of its requests have arrived.

    Args:
        look_up: runs the statement for some keys and what is wanted of each row, and returns the rows that exist.
    """

    def __init__(self, look_up: Callable[[Sequence[Key], W], Awaitable[Mapping[Key, _Texts]]]) -> None:
        self._look_up = look_up
        self._loader_of = lru_cache(maxsize=_REMEMBERED)(self._new_loader)
        self._under_way = 0

    async def row(self, key: Key, wanted: W) -> _Texts:
        """The row with this key."""
        if not self._under_way:
            self._under_way += 1
            try:
                return (await self._look_up([key], wanted)).get(key)
            finally:
                self._under_way -= 1
        waiter = _Waiter(key)
        try:
            texts = await self._loader_of(wanted).load(waiter)
        except asyncio.CancelledError:
            waiter.leave()
            raise
        if (record := current_record.get()) and waiter.batch:
            # Each request counts the shared statement, as it would count its own.
            record.statements += 1
            record.rows += texts is not None
            record.database_seconds += waiter.batch.record.database_seconds
        return texts

    def _new_loader(self, wanted: W) -> DataLoader[_Waiter, _Texts]:
        async def load(waiters: list[_Waiter]) -> list[_Texts]:
            present = [waiter for waiter in waiters if not waiter.gone]
            task = asyncio.current_task()
            if task is None or not present:
                return [None for _ in waiters]
            # The statement serves several operations: it counts for none of them, nor against their callers' share of
            # the pool.
            batch = _Batch(present, task, RequestRecord("shared"))
            for waiter in present:
                waiter.batch = batch
            current_record.set(batch.record)
            # The primary is new enough for all.
            current_reads.set(ReadRequirement(primary_only=True))
            # A wake-up of the database extends the deadline of every request that waits for the statement.
            follow([waiter.deadline for waiter in present if waiter.deadline])
            self._under_way += 1
            try:
                found = await self._look_up(sorted({waiter.key for waiter in present}), wanted)
            finally:
                self._under_way -= 1
            return [found.get(waiter.key) for waiter in waiters]

        return DataLoader(load, cache=False)
