"""The schema's RowLookup: rows and pages that an operation looks up at the same time share their statements."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from aiodataloader import DataLoader

from schema.ports.values import Block, Page, PageRequest
from server.http.read_requirement import note_load
from server.tables.sql.conditions import values_of
from server.tables.sql.rows import counts_of_parents, key_values, page_of_parents, parent_values, rows_by_key
from server.tables.sql.shape import Shape
from server.tables.store import without_placeholder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from schema.ports.columns import Column, Columns, Table
    from schema.ports.values import Conditions, Key, Ordering
    from server.db.pool import Pool
    from server.tables.source import Source
    from server.tables.store import ServedTable

_Tables: TypeAlias = "Mapping[str, ServedTable[Any]]"


class _Batch:
    """What is read together: by which task, and how many still wait for it."""

    __slots__ = ("task", "waiting")

    def __init__(self, task: asyncio.Task[Any] | None, waiting: int) -> None:
        self.task = task
        self.waiting = waiting


class _Wanted:
    """What a field waits for."""

    __slots__ = ("batch", "gone", "what")

    def __init__(self, what: Any) -> None:
        self.what = what
        self.batch: _Batch | None = None
        self.gone = False

    def leave(self) -> None:
        """Stop waiting. When nobody waits for a batch any more, its statements are cancelled."""
        self.gone = True
        if self.batch is not None:
            self.batch.waiting -= 1
            if not self.batch.waiting and self.batch.task is not None:
                self.batch.task.cancel()


class SqlRowLookup:
    """The schema's RowLookup: one statement for all rows of a table that are requested in one turn of the event loop.

    Nothing is cached. A mutation may change an order between two lookups, so the second one reads it again.

    Args:
        pool: the pool that reads.
        tables: the served tables by name.
    """

    def __init__(self, pool: Pool, tables: _Tables) -> None:
        # Not methods: the lookup and its loaders would be a cycle.
        self._rows = _loader(partial(_read_rows, pool, tables), lambda wanted: wanted[0])
        self._pages = _loader(partial(_read_pages, pool, tables), lambda wanted: wanted[1:])
        self._counts = _loader(partial(_read_counts, pool, tables), lambda wanted: wanted[1:])

    async def row(self, table: Table, key: Key, columns: Columns) -> Block | None:
        """The row with this key."""
        found: Block | None = await _load(self._rows, (table, key, columns))
        return found

    async def rows(self, table: Table, keys: Iterable[Key], columns: Columns) -> Sequence[Block | None]:
        """The rows with these keys."""
        wanted = [_Wanted((table, key, columns)) for key in keys]
        try:
            found: Sequence[Block | None] = await self._rows.load_many(wanted)
        except asyncio.CancelledError:
            for one in wanted:
                one.leave()
            raise
        return found

    async def page(self, parent: object, request: PageRequest, columns: Columns) -> Page:
        """A page of the rows that belong to a parent."""
        found: Page = await _load(self._pages, (parent, request, columns))
        return found

    async def count(self, parent: object, ordering: Ordering, conditions: Conditions) -> int:
        """The number of rows that belong to a parent."""
        found: int = await _load(self._counts, (parent, ordering, conditions))
        return found


def _loader(
    read: Callable[[list[Any]], Awaitable[Sequence[Any]]], group_of: Callable[[Any], object]
) -> DataLoader[Any, Any]:
    """A loader that reads each group of what is wanted by itself. If one group fails, the others are answered."""

    async def load(wanted: list[_Wanted]) -> list[Any]:
        note_load()
        batch = _Batch(asyncio.current_task(), sum(not one.gone for one in wanted))
        groups: dict[object, list[int]] = {}
        for index, one in enumerate(wanted):
            if not one.gone:
                one.batch = batch
                groups.setdefault(group_of(one.what), []).append(index)
        some = [[wanted[index].what for index in indexes] for indexes in groups.values()]
        found = await asyncio.gather(*(read(group) for group in some), return_exceptions=True)
        answers: list[Any] = [None] * len(wanted)
        for indexes, results in zip(groups.values(), found, strict=True):
            if isinstance(results, BaseException) and not isinstance(results, Exception):
                raise results
            for position, index in enumerate(indexes):
                answers[index] = results if isinstance(results, Exception) else results[position]
        return answers

    return DataLoader(load, cache=False)


async def _load(loader: DataLoader[Any, Any], what: Any) -> Any:
    wanted = _Wanted(what)
    try:
        return await loader.load(wanted)
    except asyncio.CancelledError:
        wanted.leave()
        raise


async def _read_rows(pool: Pool, tables: _Tables, wanted: list[tuple[Table, Key, Columns]]) -> Sequence[Block | None]:
    table = wanted[0][0]
    columns = table.in_order(frozenset().union(*(columns for _, _, columns in wanted)))
    keys = sorted({key for _, key, _ in wanted})
    width = len(table.key)
    rows = await tables[table.name].reader.rows(pool, lambda source: rows_by_key(source, columns), key_values(keys))
    blocks = {tuple(row)[:width]: Block(columns, [tuple(row)[width:]]) for row in rows}
    return [blocks.get(key) for _, key, _ in wanted]


async def _read_pages(pool: Pool, tables: _Tables, wanted: list[tuple[object, PageRequest, Columns]]) -> Sequence[Page]:
    _, request, some = wanted[0]
    table = request.ordering.table
    columns, shape = table.in_order(some), Shape.of_parents(request)
    parents = list(dict.fromkeys(parent for parent, _, _ in wanted))
    rows = (
        await tables[table.name]
        .reader_of(request.conditions)
        .rows(
            pool,
            lambda source: page_of_parents(source, shape, columns),
            parent_values(parents, values_of(request)),
        )
    )
    by_parent: dict[object, list[tuple[Any, ...]]] = {}
    behind: dict[object, bool] = {}
    for row in rows:
        parent, any_behind, present, *values = row
        behind[parent] = any_behind
        if present:
            by_parent.setdefault(parent, []).append(tuple(values))
    return [_page(columns, request, by_parent.get(parent, []), any_behind=behind[parent]) for parent, _, _ in wanted]


def _page(columns: tuple[Column, ...], request: PageRequest, rows: list[tuple[Any, ...]], *, any_behind: bool) -> Page:
    shown = rows[: request.size]
    if request.backward:
        shown.reverse()
    block = Block(columns, without_placeholder(columns, shown))
    return Page(block, more_ahead=len(rows) > request.size, any_behind=any_behind)


async def _read_counts(pool: Pool, tables: _Tables, wanted: list[tuple[object, Ordering, Conditions]]) -> Sequence[int]:
    _, ordering, conditions = wanted[0]
    request = PageRequest(ordering, conditions, size=0)
    shape = Shape.of_parents(request)
    parents = list(dict.fromkeys(parent for parent, _, _ in wanted))

    def statement(source: Source) -> Any:
        return counts_of_parents(source, shape)

    reader = tables[ordering.table.name].reader_of(conditions)
    rows = await reader.rows(pool, statement, parent_values(parents, values_of(request)))
    counts = {row[0]: row[1] for row in rows}
    return [counts[parent] for parent, _, _ in wanted]
