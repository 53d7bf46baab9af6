"""Failures of a plan, which fail at once on the ordinary path, so that a request waits for each only once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from schema.errors import Reason, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from schema.context import Context
    from schema.errors import ApiError
    from schema.ports.columns import Columns, Table
    from schema.ports.tables import RowLookup, TableStore
    from schema.ports.templates import Template
    from schema.ports.values import Block, Conditions, Count, Key, Page, PageRequest

_Call = tuple[Any, ...]

# Why a statement of several tables may fail although the rows of the root field can be read.
_OF_TABLES: Final = frozenset({Reason.TABLE_UNAVAILABLE, Reason.ORDERS_UNAVAILABLE})


def is_of_nested(error: ApiError, templates: Sequence[Template]) -> bool:
    """Whether a failure may be one of a table that is only nested: the ordinary path answers without it."""
    several = not all(template.flat for template in templates)
    return several and isinstance(error, UnavailableError) and error.reason in _OF_TABLES


class Failures:
    """The calls to the store that failed for one operation, with their errors."""

    def __init__(self) -> None:
        self._errors: dict[_Call, ApiError] = {}

    def note(self, call: _Call, error: ApiError) -> None:
        """Note a call for which the store was unavailable. Other errors are raised again by the resolvers."""
        if isinstance(error, UnavailableError):
            self._errors[call] = error

    def replayed(self, context: Context) -> Context:
        """A context in which the same calls fail at once with the same errors."""
        if not self._errors:
            return context
        tables = _FailingStore(context.tables, self._errors)
        lookups = {call: error for call, error in self._errors.items() if call[0] == "rows"}
        if not lookups:
            return replace(context, tables=tables)
        return replace(context, tables=tables, new_lookup=lambda: _FailingLookup(context.new_lookup(), lookups))


class _FailingStore:
    def __init__(self, store: TableStore, errors: dict[_Call, ApiError]) -> None:
        self._store = store
        self._errors = errors

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def page(self, request: PageRequest, columns: Columns) -> Page:
        self._fail(("page", request))
        return await self._store.page(request, columns)

    async def count(self, table: Table, conditions: Conditions) -> Count:
        self._fail(("count", table, conditions))
        return await self._store.count(table, conditions)

    async def estimated_count(self, table: Table, conditions: Conditions) -> int | None:
        self._fail(("estimate", table, conditions))
        return await self._store.estimated_count(table, conditions)

    def _fail(self, call: _Call) -> None:
        if error := self._errors.get(call):
            raise error


class _FailingLookup:
    def __init__(self, lookup: RowLookup, errors: dict[_Call, ApiError]) -> None:
        self._lookup = lookup
        self._errors = errors

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lookup, name)

    async def row(self, table: Table, key: Key, columns: Columns) -> Block | None:
        self._fail(table)
        return await self._lookup.row(table, key, columns)

    async def rows(self, table: Table, keys: Iterable[Key], columns: Columns) -> Sequence[Block | None]:
        self._fail(table)
        return await self._lookup.rows(table, keys, columns)

    def _fail(self, table: Table) -> None:
        if error := self._errors.get(("rows", table)):
            raise error
