"""The ports of the served tables: the store, which reads pages of any table, and the lookup of single rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from schema.ports.columns import Columns, Table
    from schema.ports.templates import JsonPage, NestedRequest, Template
    from schema.ports.values import Block, Conditions, Count, Key, Ordering, Page, PageRequest


class TableStore(Protocol):
    """Reads tables. The ordering of a page names its table.

    Every method raises `schema.errors.UnavailableError` if the store does not answer, or does not have the table.
    A block holds exactly the requested columns.
    """

    async def page(self, request: PageRequest, columns: Columns) -> Page:
        """A page next to a position. It costs the same at any depth."""

    async def json_page(
        self,
        request: PageRequest,
        templates: tuple[Template, ...],
        *,
        ends: bool,
        nested: tuple[NestedRequest, ...] = (),
    ) -> JsonPage | None:
        """The same page as JSON, in one statement, with the positions of its first and last row if `ends`.

        `nested` are the requests of the pages nested in the templates. None if a stored value does not fit the schema,
        or a position is in the page of another parent: the ordinary path then reports it.
        """

    async def json_rows(
        self,
        table: Table,
        keys: Sequence[Key],
        templates: tuple[Template, ...],
        *,
        nested: tuple[NestedRequest, ...] = (),
    ) -> Mapping[Key, tuple[str, ...]] | None:
        """The JSON of each row with one of these keys, by each template. Keys without a row are left out.

        `nested` and None are as for `json_page`.
        """

    async def count(self, table: Table, conditions: Conditions) -> Count:
        """The exact number of matching rows. Without conditions it may be a few seconds old."""

    async def estimated_count(self, table: Table, conditions: Conditions) -> int | None:
        """The approximate number of matching rows, from the database's statistics; None if it has none."""


class RowLookup(Protocol):
    """Looks up rows for one operation. Lookups of a table that are made at the same time share one statement.

    Every method raises `schema.errors.UnavailableError` if the store does not answer, or does not have the table.
    """

    async def row(self, table: Table, key: Key, columns: Columns) -> Block | None:
        """A block of the one row with this key, or None if there is no such row."""

    async def rows(self, table: Table, keys: Iterable[Key], columns: Columns) -> Sequence[Block | None]:
        """For each key, in order: a block of one row, or None if there is no such row."""

    async def page(self, parent: object, request: PageRequest, columns: Columns) -> Page:
        """A page of the rows that belong to a parent: whose column `request.ordering.within` has this value.

        The same page of several parents is read in one statement.
        """

    async def count(self, parent: object, ordering: Ordering, conditions: Conditions) -> int:
        """The exact number of matching rows that belong to a parent, by `ordering.within`."""
