"""The schema's TableStore, over PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from async_lru import alru_cache

from schema.ports.statistics import NO_STATISTICS
from schema.ports.templates import JsonPage
from schema.ports.values import Block, Count, Page, Row, related_in
from schema.ports.ways import way_of
from server.tables.estimates import Estimates
from server.tables.shared_lookups import SharedLookups
from server.tables.source import Source
from server.tables.sql.conditions import values_of
from server.tables.sql.counts import count_statement, probe_statement
from server.tables.sql.json import BETWEEN_ROWS, json_page, json_rows
from server.tables.sql.nested import nested_page, nested_rows, nested_values
from server.tables.sql.pages import page_of
from server.tables.sql.related import Below
from server.tables.sql.rows import key_values
from server.tables.sql.shape import Shape
from server.traffic.admission import giving_way

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from schema.ports.columns import Column, Columns, Table
    from schema.ports.statistics import TableStatistics
    from schema.ports.templates import NestedRequest, Template
    from schema.ports.values import Conditions, Key, PageRequest
    from server.db.driver import Compiled
    from server.db.engine import Engines
    from server.tables.catalog.served import Sources
    from server.tables.reading.reader import Reader

S = TypeVar("S", bound=Source)


class ServedTable(Generic[S]):
    """A table that is served: what reads it, and what is known of it before it is read.

    Args:
        engines: the pools.
        reader: runs statements that read the table.
        aggregate_ttl: how long the count of all rows is reused, in seconds.
        statistics: what is known of the table.
    """

    def __init__(
        self,
        engines: Engines,
        reader: Reader[S],
        *,
        aggregate_ttl: float,
        statistics: Callable[[], TableStatistics] = lambda: NO_STATISTICS,
    ) -> None:
        self.engines = engines
        self.reader = reader
        self.statistics = statistics
        self._beside_others = reader
        self._others: Callable[[Table], TableStatistics] = lambda _: NO_STATISTICS
        # A count of all rows reads the whole table, so requests share its result for a while.
        # Results for filters are not cached: there are too many different filters.
        self._count_all = alru_cache(ttl=aggregate_ttl)(self._count)
        self.lookups = SharedLookups(self.json_rows)

    @cached_property
    def estimates(self) -> Estimates[S]:
        """Estimates the number of matching rows."""
        return Estimates(self.engines, self.reader_of)

    def stand_beside(self, others: Callable[[Table], TableStatistics], reader: Reader[S]) -> None:
        """Read the table beside others, too, for conditions on related rows.

        Args:
            others: what is known of any table.
            reader: runs statements that read the table and others.
        """
        self._others = others
        self._beside_others = reader

    def reader_of(self, conditions: Conditions) -> Reader[S]:
        """What runs statements with these conditions: those on related rows read other tables, too."""
        return self._beside_others if any(related_in(conditions)) else self.reader

    async def probe(self) -> None:
        """Read one row, to check that the table can be read.

        Raises:
            UnavailableError: it cannot be read; the error says why.
        """
        await self.reader.fetch(self.engines.pages, probe_statement)

    async def count(self, conditions: Conditions) -> Count:
        """The number of matching rows, from one statement or from the cache."""
        with giving_way():
            return await (self._count(conditions) if conditions else self._count_all(conditions))

    async def json_rows(
        self, keys: Sequence[Key], templates: tuple[Template, ...]
    ) -> dict[Key, tuple[str | None, ...]]:
        """The JSON of the rows with these keys, by each template; None where a template cannot write a row."""
        rows = await self.reader.rows(self.engines.pages, lambda source: json_rows(source, templates), key_values(keys))
        width = len(keys[0])
        return _by_key(rows, width)

    def shape(self, request: PageRequest, *, skipped: int = 0) -> Shape:
        """The shape of a page, with the way in which its rows are found: the one that its price assumes."""
        known = self.statistics()
        if any(related_in(request.conditions)):
            known = known.beside(self._others)
        found = way_of(request.conditions, request.ordering, request.size, known, skipped=skipped)
        return Shape.of(request, found.way)

    async def _count(self, conditions: Conditions) -> Count:
        as_of = datetime.now(UTC)
        reader = self.reader_of(conditions)
        rows = await reader.fetch(self.engines.aggregates, lambda source: count_statement(source, conditions))
        return Count(rows[0][0], as_of)


class SqlTableStore:
    """The schema's TableStore: pages, single rows in JSON, and counts.

    Args:
        tables: the served tables by name.
        together: runs statements that read several of them.
        separator: what is between the rows of a page: a comma, as in a list of JSON, or a newline.
    """

    def __init__(
        self, tables: Mapping[str, ServedTable[Any]], together: Reader[Sources], *, separator: str = ","
    ) -> None:
        self._tables = tables
        self._together = together
        self._separator = separator
        self._nested_lookups = SharedLookups(self._nested_rows)

    async def page(self, request: PageRequest, columns: Columns) -> Page:
        """A page of rows, in one statement."""
        table = self._tables[request.ordering.table.name]
        wanted, shape = request.ordering.table.in_order(columns), table.shape(request)
        rows: Sequence[Row] = await table.reader_of(request.conditions).rows(
            table.engines.pages, lambda source: page_of(source, shape, wanted), values_of(request)
        )
        any_behind = False
        if request.look_back and request.position is not None:
            any_behind = bool(rows[0][0])
            rows = [tuple(row)[2:] for row in rows if row[1] is not None]
        more_ahead = len(rows) > request.size
        rows = rows[: request.size]
        if request.backward:
            rows = rows[::-1]
        return Page(Block(wanted, without_placeholder(wanted, rows)), more_ahead, any_behind)

    async def json_page(
        self,
        request: PageRequest,
        templates: tuple[Template, ...],
        *,
        ends: bool,
        nested: tuple[NestedRequest, ...] = (),
    ) -> JsonPage | None:
        """A page of rows as JSON, in one statement; None if a value cannot be written."""
        if not all(template.flat for template in templates):
            return await self._nested_page(request, templates, nested, ends=ends)
        table = self._tables[request.ordering.table.name]
        shape = table.shape(request)
        ((read, any_behind, *found),) = await table.reader_of(request.conditions).rows(
            table.engines.pages,
            lambda source: json_page(source, shape, templates, ends=ends),
            values_of(request),
            count=_rows_read,
        )
        texts: list[str] = []
        for index in range(len(templates)):
            written, text = found[2 * index : 2 * index + 2]
            if written != read:
                return None
            texts.append(_page_text(text or "", request, self._separator, more=read > request.size))
        outermost: list[Any] = [None, None]
        if ends and min(read, request.size):
            both = found[2 * len(templates) :]
            first, last = both[: len(both) // 2], both[len(both) // 2 :]
            outermost = [_place(first, request), _place(last, request)]
            if request.backward:
                outermost.reverse()
        return JsonPage(tuple(texts), read > request.size, any_behind, *outermost)

    async def _nested_page(
        self,
        request: PageRequest,
        templates: tuple[Template, ...],
        nested: tuple[NestedRequest, ...],
        *,
        ends: bool,
    ) -> JsonPage | None:
        if request.size == 0:
            # It has no rows to nest anything in.
            page = await self.json_page(request, (), ends=False)
            return page and page._replace(rows=("",) * len(templates))
        table = self._tables[request.ordering.table.name]
        shape, below = table.shape(request), Below.all(nested)
        ((read, any_behind, *found),) = await self._read_together(
            request.ordering.table,
            templates,
            lambda sources: nested_page(sources, shape, templates, below, self._separator, ends=ends),
            {**values_of(request), **nested_values(nested)},
            count=_rows_read,
        )
        size, width = min(read, request.size), 2 * len(templates)
        if any(written != size for written in found[:width:2]):
            return None
        outermost: list[Any] = [None, None]
        if ends and size:
            first, last = found[width : (width + len(found)) // 2], found[(width + len(found)) // 2 :]
            outermost = [_place(first, request), _place(last, request)]
        texts = tuple(text or "" for text in found[1:width:2])
        return JsonPage(texts, read > request.size, any_behind, *outermost)

    async def json_rows(
        self,
        table: Table,
        keys: Sequence[Key],
        templates: tuple[Template, ...],
        *,
        nested: tuple[NestedRequest, ...] = (),
    ) -> Mapping[Key, tuple[str, ...]] | None:
        """Rows as JSON, in one statement.

        Requests for a single row share their statement, unless replicas may answer: the shared one
        always reads the primary.
        """
        flat = all(template.flat for template in templates)
        served = self._tables[table.name]
        if len(keys) == 1 and not served.reader.has_replicas:
            if flat:
                texts = await served.lookups.row(keys[0], templates)
            else:
                texts = await self._nested_lookups.row(keys[0], (table, templates, nested))
            found = {} if texts is None else {keys[0]: texts}
        elif flat:
            found = await served.json_rows(keys, templates)
        else:
            found = await self._nested_rows(keys, (table, templates, nested))
        written = {key: tuple(text for text in texts if text is not None) for key, texts in found.items()}
        return written if all(len(texts) == len(templates) for texts in written.values()) else None

    async def _nested_rows(
        self, keys: Sequence[Key], wanted: tuple[Table, tuple[Template, ...], tuple[NestedRequest, ...]]
    ) -> dict[Key, tuple[str | None, ...]]:
        table, templates, nested = wanted
        below, width = Below.all(nested), len(table.key)
        rows = await self._read_together(
            table,
            templates,
            lambda sources: nested_rows(sources, table, templates, below),
            {**key_values(keys), **nested_values(nested)},
        )
        return _by_key(rows, width)

    async def _read_together(
        self,
        table: Table,
        templates: tuple[Template, ...],
        statement_of: Callable[[Sources], Compiled],
        values: Mapping[str, Any],
        *,
        count: Callable[[Sequence[Any]], int] = len,
    ) -> Sequence[Any]:
        """The rows of a statement that reads several tables, all of which can then be read."""
        rows = await self._together.rows(self._tables[table.name].engines.pages, statement_of, values, count=count)
        for name in {table.name}.union(*(template.others for template in templates)):
            self._tables[name].reader.succeeded()
        return rows

    async def count(self, table: Table, conditions: Conditions) -> Count:
        """The number of matching rows, from one statement or from the cache."""
        return await self._tables[table.name].count(conditions)

    async def estimated_count(self, table: Table, conditions: Conditions) -> int | None:
        """The planner's estimate of the number of matching rows; None if ANALYZE has not run."""
        return await self._tables[table.name].estimates.count(conditions)


def _by_key(rows: Sequence[Any], width: int) -> dict[Key, tuple[str | None, ...]]:
    """What follows the key in each row, by the key."""
    return {row[:width]: row[width:] for row in map(tuple, rows)}


def _place(values: Sequence[Any], request: PageRequest) -> tuple[tuple[Any, ...], Key]:
    """The sort values and the key of a row at an end of a page."""
    sorts = len(request.ordering.keys)
    return tuple(values[:sorts]), tuple(values[sorts:])


def _rows_read(rows: Sequence[Any]) -> int:
    """The number of rows that were read for a page in one row."""
    return int(rows[0][0])


def _page_text(text: str, request: PageRequest, separator: str, *, more: bool) -> str:
    """Turn rows in the direction of travel into the elements of a list in the page's order, without the extra row.

    The elements are written as the ordinary path writes them, without white space: an answer has one entity tag.
    """
    if more:
        # On a page of size 0 the extra row is the first one, with no separator before it.
        text = text[: max(0, text.rfind(BETWEEN_ROWS))]
    if request.backward:
        return separator.join(reversed(text.split(BETWEEN_ROWS)))
    return text.replace(BETWEEN_ROWS, separator)


def without_placeholder(columns: tuple[Column, ...], rows: Sequence[Any]) -> Sequence[Row]:
    """The rows without the constant that is selected if there are no columns."""
    return rows if columns else [() for _ in rows]
