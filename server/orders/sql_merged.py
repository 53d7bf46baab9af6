"""Orders with their merged status: the synced table, and the overlay of statuses set through this API."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TEXT, TIMESTAMP

from schema.orders.types import ORDERS
from schema.ports.values import columns_in
from server.tables.source import Source, as_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.sql.selectable import NamedFromClause

    from schema.ports.columns import Column
    from schema.ports.values import Conditions

# The columns that need the overlay.
_OVERLAY_COLUMNS: Final = frozenset(column for column in ORDERS.columns if column.merged)


class Orders(Source):
    """The orders of one database: the synced table, and the overlay if there is one.

    The overlay is probed row by row, through its primary key, from a LATERAL that PostgreSQL cannot flatten (OFFSET 0).
    Each row that a page reads costs the same, at any depth, in any order, and whatever the statistics say. A plain LEFT
    JOIN may become a merge that reads the overlay from its beginning, or a hash that reads all of it for one page.
    Statements that read all orders use `whole()`, which joins plainly.
    """

    def __init__(self, synced: NamedFromClause, overlay: sa.Table | None, *, joins_whole: bool = False) -> None:
        super().__init__(ORDERS, synced)
        self.overlay = overlay
        self._joins_whole = joins_whole

    def whole(self) -> Orders:
        """The same orders, for a statement that reads all of them."""
        return Orders(self.synced, self.overlay, joins_whole=True).beside(self.others)

    def among(self, synced_rows: sa.Subquery) -> Orders:
        """Only the orders with these synced rows, which have all columns."""
        return Orders(synced_rows, self.overlay).beside(self.others)

    def again(self) -> Orders:
        """The same orders under another name."""
        return Orders(self.synced.alias(), self.overlay).beside(self.others)

    def as_synced(self) -> Orders:
        """The same orders with their synced statuses, without the overlay."""
        return Orders(self.synced, None).beside(self.others)

    def column(self, column: Column) -> sa.ColumnElement[Any]:
        """A column as an expression; those of the status are merged."""
        if column in _OVERLAY_COLUMNS or column is ORDERS["synced_status"]:
            return self._merged[column]
        return super().column(column)

    def rows(self, columns: Iterable[Column], conditions: Conditions = ()) -> sa.FromClause:
        """The FROM clause for these columns and conditions. It joins the overlay only if one of them needs it."""
        wanted = {*columns, *columns_in(conditions)}
        if self._joined_overlay is None or not wanted & _OVERLAY_COLUMNS:
            return self.synced
        on = self._key == self._joined_overlay.c.o_orderkey if self._joins_whole else sa.true()
        return self.synced.outerjoin(self._joined_overlay, on)

    @property
    def _key(self) -> sa.ColumnElement[Any]:
        return self.synced.c[ORDERS["order_key"].name]

    @cached_property
    def _joined_overlay(self) -> sa.FromClause | None:
        if self.overlay is None or self._joins_whole:
            return self.overlay
        probe = sa.select(self.overlay).where(self.overlay.c.o_orderkey == self._key)
        return probe.offset(sa.literal_column("0")).correlate(self.synced).lateral("overlay")

    @cached_property
    def _merged(self) -> dict[Column, sa.ColumnElement[Any]]:
        synced = self.synced.c[ORDERS["status"].name]
        if self._joined_overlay is None:
            return {
                ORDERS["status"]: synced,
                ORDERS["status_version"]: sa.literal_column("0", sa.Integer()),
                ORDERS["status_updated_at"]: sa.cast(sa.null(), TIMESTAMP(timezone=True)),
                ORDERS["status_updated_by"]: sa.cast(sa.null(), TEXT()),
                ORDERS["synced_status"]: synced,
                ORDERS["status_superseded"]: sa.false(),
            }
        set_here = self._joined_overlay.c
        synced_text = as_text(synced)
        superseded = set_here.synced_status.is_distinct_from(synced_text)
        return {
            ORDERS["status"]: sa.func.coalesce(set_here.status, synced_text, type_=TEXT()),
            ORDERS["status_version"]: sa.func.coalesce(set_here.version, sa.literal_column("0"), type_=sa.Integer()),
            ORDERS["status_updated_at"]: set_here.updated_at,
            ORDERS["status_updated_by"]: set_here.updated_by,
            ORDERS["synced_status"]: synced,
            ORDERS["status_superseded"]: sa.and_(set_here.status.is_not(None), superseded),
        }
