"""Owns the single orders that plans ask for: those asked for at once, by whichever requests, are one statement."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeAlias

from aiodataloader import DataLoader

from schema.deadline import current_deadline, follow
from server.record import current_record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from schema.deadline import request_deadline
    from schema.templates import Template

_Templates: TypeAlias = "tuple[Template, ...]"
# An order as each template has it, None in place of what has no JSON of its own; None where there is no such order.
_Texts: TypeAlias = "tuple[str | None, ...] | None"
_Asked: TypeAlias = "tuple[int, request_deadline | None]"
_REMEMBERED: Final = 256


class SharedLookups:
    """Looks single orders up together with whoever else asks in the same turn of the event loop.

    A statement costs the process more than everything else about such a request. Who is alone pays nothing for it.
    What is found is as new as for a request of its own: the statement begins after it was asked for.

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
        started = time.perf_counter()
        texts = await self._loader_of(templates).load((key, current_deadline()))
        if record := current_record.get():
            # The statement itself is nobody's.
            record.statements += 1
            record.rows += texts is not None
            record.database_seconds += time.perf_counter() - started
        return texts

    def _new_loader(self, templates: _Templates) -> DataLoader[_Asked, _Texts]:
        async def load(asked: list[_Asked]) -> list[_Texts]:
            current_record.set(None)
            # While the database wakes, everybody who waits for it is given more time.
            follow([deadline for _, deadline in asked if deadline])
            self._under_way += 1
            try:
                found = await self._look_up(sorted({key for key, _ in asked}), templates)
            finally:
                self._under_way -= 1
            return [found.get(key) for key, _ in asked]

        return DataLoader(load, cache=False)
