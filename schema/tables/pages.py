"""Pages of a table: the Relay connection, and how it is read for its selection."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import strawberry

from schema.context import Info  # noqa: TC001 # Strawberry reads the annotations at run time
from schema.ports.values import NO_ROWS, PageRequest
from schema.relay.cursors import encode_cursor
from schema.relay.pagination import Connection, Edge, PageInfo
from schema.relay.selection import Selection, reads_page
from schema.tables.freshness import BESIDE, Freshness
from schema.tables.rows import columns_of, rows_in

if TYPE_CHECKING:
    from schema.ports.columns import Columns
    from schema.ports.values import Ordering, Page
    from schema.tables.registry import Declared
    from schema.tables.rows import Row

NodeT = TypeVar("NodeT")


@strawberry.enum(description="How entries are counted.")
class CountPrecision(Enum):
    """The precision argument of totalCount."""

    EXACT = strawberry.enum_value(
        "exact",
        description="Counted exactly. It takes longer if more entries match. Without a filter it may be seconds old.",
    )
    ESTIMATED = strawberry.enum_value(
        "estimated",
        description=(
            "Estimated from the database's statistics. It is cheap at any size. Without a filter it is off by a few "
            "percent; with several conditions it may be off by any factor. Of the rows of one parent it is exact."
        ),
    )


@strawberry.type
class TableConnection(Connection[NodeT], Generic[NodeT]):
    """Relay's connection of the rows of a table, or of those that belong to a parent."""

    request: strawberry.Private[PageRequest]
    parent: strawberry.Private[object] = None

    @strawberry.field(
        description=(
            "How many entries all pages have together: those that match the filter, if there is one. Counted only if "
            "this field is selected."
        )
    )
    async def total_count(
        self,
        info: Info,
        precision: Annotated[
            CountPrecision | None,
            strawberry.argument(
                description="Exact, or estimated at low cost. An estimate is null if the database has none."
            ),
        ] = CountPrecision.EXACT,
    ) -> int | None:
        """The count; None if an estimate is requested and the database has none.

        Rows of parents are always counted: for all parents in one statement.
        """
        request = self.request
        table = request.ordering.table
        if request.ordering.within is not None:
            return await info.context.lookup.count(self.parent, request.ordering, request.conditions)
        if precision is CountPrecision.ESTIMATED:
            return await info.context.tables.estimated_count(table, request.conditions)
        return (await info.context.tables.count(table, request.conditions)).count

    @strawberry.field(description=BESIDE)
    def freshness(self, info: Info) -> Freshness | None:
        """That of the whole table, whichever page this is."""
        return Freshness.of(info.context, self.request.ordering.table)

    @classmethod
    def of(
        cls, request: PageRequest, page: Page, *, with_cursors: bool, parent: object = None
    ) -> TableConnection[NodeT]:
        """The connection of a page.

        Cursors are empty unless `with_cursors`: computing them would be wasted if none is selected.
        """
        ordering = request.ordering
        rows: list[Any] = rows_in(ordering.table, page.block)
        cursors = [_cursor(ordering, row, parent) if with_cursors else "" for row in rows]
        return cls(
            edges=[Edge(cursor=cursor, node=row) for cursor, row in zip(cursors, rows, strict=True)],
            nodes=rows,
            page_info=PageInfo(
                has_next_page=page.any_behind if request.backward else page.more_ahead,
                has_previous_page=page.more_ahead if request.backward else page.any_behind,
                start_cursor=cursors[0] if cursors else None,
                end_cursor=cursors[-1] if cursors else None,
            ),
            request=request,
            parent=parent,
        )


def _cursor(ordering: Ordering, row: Row, parent: object) -> str:
    key = tuple(getattr(row, column.name) for column in ordering.table.key)
    return encode_cursor(ordering, tuple(getattr(row, one.column.name) for one in ordering.keys), key, parent)


def cursor_columns(ordering: Ordering) -> Columns:
    """The columns that the cursors of an ordering need."""
    return frozenset(ordering.columns)


async def read_connection(
    info: Info, declared: Declared, request: PageRequest, *, parent: object = None
) -> TableConnection[Any]:
    """The connection of a page that the field being resolved asks for, read for just the selected columns.

    Nothing is read if nothing that is selected needs the page.
    """
    connection: type[TableConnection[Any]] = declared.connection
    reading = _reading(info, declared, request)
    if reading is None:
        return connection.of(request, NO_ROWS, with_cursors=False, parent=parent)
    columns, with_cursors, look_back = reading
    wanted = replace(request, look_back=look_back)
    if request.ordering.within is None:
        page = await info.context.tables.page(wanted, columns)
    else:
        page = await info.context.lookup.page(parent, wanted, columns)
    return connection.of(request, page, with_cursors=with_cursors, parent=parent)


def _reading(info: Info, declared: Declared, request: PageRequest) -> tuple[Columns, bool, bool] | None:
    """The columns that a page needs, whether it needs cursors, and whether it looks back; None if it is not read.

    It is remembered for the operation: the same field may be resolved for each of a thousand parents.
    """
    # The nodes live as long as the operation. They decide the arguments, too.
    field = tuple(map(id, info._raw_info.field_nodes))  # noqa: SLF001 # Strawberry has no public access to them
    known = info.context.readings
    if field not in known:
        known[field] = _selected(info, declared, request)
    return known[field]


def _selected(info: Info, declared: Declared, request: PageRequest) -> tuple[Columns, bool, bool] | None:
    selected = Selection.below(info, declared.connection_name).fields()
    if not reads_page(selected, request.size):
        return None
    edges, page_info = (part.fields() if (part := selected.get(name)) else {} for name in ("edges", "pageInfo"))
    columns = columns_of(declared.table, (selected.get("nodes"), edges.get("node")))
    if with_cursors := "cursor" in edges or bool({"startCursor", "endCursor"} & page_info.keys()):
        columns |= cursor_columns(request.ordering)
    behind = "hasNextPage" if request.backward else "hasPreviousPage"
    return columns, with_cursors, behind in page_info
