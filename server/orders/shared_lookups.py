"""Owns the single orders that plans ask for: those asked for at once, by whichever requests, are one statement."""

from __future__ import annotations

import asyncio
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from aiodataloader import DataLoader

from schema.deadline import current_deadline, follow
from server.observability.request_record import current_record
from server.read_requirement import ReadRequirement, current_reads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from schema.ports.templates import Template

_Templates: TypeAlias = "tuple[Template, ...]"
# An order as each template has it, None in place of what has no JSON of its own; None where there is no such order.
_Texts: TypeAlias = "tuple[str | None, ...] | None"
_REMEMBERED: Final = 256


class _Asked:
    """One who asks for an order."""

    __slots__ = ("batch", "deadline", "gone", "key")

    def __init__(self, key: int) -> None:
        self.key = key
        self.deadline = current_deadline()
        self.batch: _Batch | None = None
        self.gone = False

    def leave(self) -> None:
        """Wait no more."""
        self.gone = True
        if self.batch is not None and all(asked.gone for asked in self.batch.asked):
            self.batch.task.cancel()


class _Batch(NamedTuple):
    """Those who share a statement, and the task that runs it."""

    asked: list[_Asked]
    task: asyncio.Task[Any]


class SharedLookups:
    """Looks single orders up together with whoever else asks in the same turn of the event loop.

    A statement costs the process more than everything else about such a request. Who is alone pays nothing for it.
    What is found is as new as for a request of its own: the statement begins after it was asked for. It ends with the
    last of those who wait for it.

    Args:
        look_up: runs the statement for some keys: the orders that there are.
    """

    def __init__(self, look_up: Callable[[Sequence[int], _Templates], Awaitable[Mapping[int, _Texts]]]) -> None:
        self._look_up = look_up
        self._loader_of = lru_cache(maxsize=_REMEMBERED)(self._new_loader)
        self._under_way = 0

    async def order(self, key: int, templates: _Templates) -> _Texts:
        """The order with this key."""
        if not self._under_way:
            self._under_way += 1
            try:
                return (await self._look_up([key], templates)).get(key)
            finally:
                self._under_way -= 1
        started, asked = time.perf_counter(), _Asked(key)
        try:
            texts = await self._loader_of(templates).load(asked)
        except asyncio.CancelledError:
            asked.leave()
            raise
        if record := current_record.get():
            # The statement itself is nobody's.
            record.statements += 1
            record.rows += texts is not None
            record.database_seconds += time.perf_counter() - started
        return texts

    def _new_loader(self, templates: _Templates) -> DataLoader[_Asked, _Texts]:
        async def load(asked: list[_Asked]) -> list[_Texts]:
            asked_still = [one for one in asked if not one.gone]
            task = asyncio.current_task()
            if task is None or not asked_still:
                return [None for _ in asked]
            batch = _Batch(asked_still, task)
            for one in asked_still:
                one.batch = batch
            # The statement is for several operations: it stands on the record of none, and the primary is new enough
            # for all.
            current_record.set(None)
            current_reads.set(ReadRequirement(primary_only=True))
            # While the database wakes, everybody who waits for it is given more time.
            follow([one.deadline for one in asked_still if one.deadline])
            self._under_way += 1
            try:
                found = await self._look_up(sorted({one.key for one in asked_still}), templates)
            finally:
                self._under_way -= 1
            return [found.get(one.key) for one in asked]

        return DataLoader(load, cache=False)
