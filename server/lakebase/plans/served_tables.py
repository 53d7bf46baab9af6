"""Plans what a request asks for of all the synced tables that it is about: the orders, and others side by side."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from server.lakebase.operations.operation import required
from server.lakebase.plans.drafts.draft import Draft

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from server.lakebase.plans.synced_table import SyncedTablePlans

T = TypeVar("T")


class ServedTablePlans:
    """Adds the steps about the synced table of the orders, or the one that is named, and about the `others`."""

    def __init__(self, tables: SyncedTablePlans) -> None:
        self._tables = tables

    async def create(self, draft: Draft) -> None:
        """Plan to create the tables: the orders first, which are served while the others are synced."""
        await self._tables.create(draft, required(draft.request.table))
        await _side_by_side(draft, self._tables.create, draft.request.others)

    async def refresh(self, draft: Draft) -> None:
        """Plan to sync the tables."""
        await self._alike(draft, self._tables.refresh)

    async def build_indexes(self, draft: Draft) -> None:
        """Plan to build the missing indexes of the tables."""
        await self._alike(draft, self._tables.build_indexes)

    async def delete(self, draft: Draft) -> None:
        """Plan to delete the tables: the orders last, which are served until then."""
        await _side_by_side(draft, self._tables.delete, [one.name for one in draft.request.others])
        await self._tables.delete(draft, required(draft.request.table_name))

    async def _alike(self, draft: Draft, plan: Callable[[Draft, str], Awaitable[None]]) -> None:
        """Plan the same for all tables, side by side if there are several: then for those that exist, if any does."""
        name: str = required(draft.request.table_name)
        if not draft.request.others:
            await plan(draft, name)
            return
        parts = await _planned(draft, plan, [name, *(one.name for one in draft.request.others)])
        if not all(part.absent for part in parts):
            for part in parts:
                if part.absent:
                    part.refusals.clear()
        draft.add_side_by_side(parts)


async def _side_by_side(draft: Draft, plan: Callable[[Draft, T], Awaitable[None]], wanted: Iterable[T]) -> None:
    draft.add_side_by_side(await _planned(draft, plan, wanted))


async def _planned(draft: Draft, plan: Callable[[Draft, T], Awaitable[None]], wanted: Iterable[T]) -> list[Draft]:
    """A draft for each one. The platform is asked about all of them at once, because a client waits for the plan."""
    parts = [(Draft(draft.request), one) for one in wanted]
    await asyncio.gather(*(plan(part, one) for part, one in parts))
    return [part for part, _ in parts]
