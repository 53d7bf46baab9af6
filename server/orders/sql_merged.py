"""Orders with their merged status: the synced table, and the overlay of statuses set through this API."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TEXT, TIMESTAMP, array

from schema.orders.types import ORDERS
from schema.ports.unchanged import match_only_changed
from schema.ports.values import columns_in
from schema.ports.ways import Way
from server.tables.source import Source, as_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy.sql.selectable import NamedFromClause

    from schema.ports.columns import Column
    from schema.ports.values import Conditions
    from server.tables.source import Others

# The columns that need the overlay.
_OVERLAY_COLUMNS: Final = frozenset(column for column in ORDERS.columns if column.merged)


class Orders(Source):
    """The orders of one database: the synced table, and the overlay if there is one.

    The overlay is probed row by row, through its primary key, from a LATERAL that PostgreSQL cannot flatten (OFFSET 0).
    Each row that a page reads costs the same, at any depth, in any order, and whatever the statistics say. A plain LEFT
    JOIN may become a merge that reads the overlay from its beginning, or a hash that reads all of it for one page.
    Statements that read all orders use `whole()`, which joins plainly. Where only orders whose status was changed here
    can match, a page begins at the overlay, and probes the synced table in the same way.
    """

    def __init__(
        self,
        synced: NamedFromClause,
        overlay: sa.Table | None,
        *,
        joins_whole: bool = False,
        only_changed: bool = False,
    ) -> None:
        super().__init__(ORDERS, synced)
        self.overlay = overlay
        self._joins_whole = joins_whole
        self._only_changed = only_changed

    def beside(self, others: Others) -> Orders:
        """The same orders, for statements that compare rows of other tables too."""
        # Not a copy: what this one has composed knows no others.
        same = Orders(self.synced, self.overlay, joins_whole=self._joins_whole, only_changed=self._only_changed)
        same.others = others
        return same

    def whole(self) -> Orders:
        """The same orders, for a statement that reads all of them."""
        return Orders(self.synced, self.overlay, joins_whole=True).beside(self.others)

    def read(self, way: Way) -> Orders:
        """The same orders, for a page that is read in this way."""
        return self._changed if way is Way.CHANGED else self

    @cached_property
    def _changed(self) -> Orders:
        if self.overlay is None:
            return self
        probe = sa.select(self.synced).where(self._key == self.overlay.c.o_orderkey)
        probed = probe.offset(sa.literal_column("0")).correlate(self.overlay).lateral(self.synced.name)
        return Orders(probed, self.overlay, only_changed=True).beside(self.others)

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
        if self._only_changed and self.overlay is not None and column is ORDERS["order_key"]:
            # The same value, in the order of the overlay's primary key.
            return self.overlay.c.o_orderkey
        if column in _OVERLAY_COLUMNS or column is ORDERS["synced_status"]:
            return self._merged[column]
        return super().column(column)

    def starting_at(self, column: Column) -> Source | None:
        """The orders with a value in a column: those in the overlay, if changes through this API decide the value."""
        if not column.merged or self._only_changed:
            return self
        return None if self.overlay is None else _FromOverlay(self, self.overlay)

    def rows(self, columns: Iterable[Column], conditions: Conditions = ()) -> sa.FromClause:
        """The FROM clause for these columns and conditions. It joins the overlay only if one of them needs it."""
        overlay = self._joined_overlay
        if self._only_changed and overlay is not None:
            return overlay.join(self.synced, sa.true())
        wanted = {*columns, *columns_in(conditions)}
        if overlay is None or not wanted & _OVERLAY_COLUMNS:
            return self.synced
        if not self._joins_whole:
            return self.synced.outerjoin(overlay, sa.true())
        on = self._key == overlay.c.o_orderkey
        return self.synced.join(overlay, on, isouter=not match_only_changed(conditions))

    @property
    def _key(self) -> sa.ColumnElement[Any]:
        return self.synced.c[ORDERS["order_key"].name]

    @cached_property
    def _joined_overlay(self) -> sa.FromClause | None:
        if self.overlay is None or self._joins_whole or self._only_changed:
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


class _FromOverlay(Source):
    """The orders that are in the overlay, read from there: one after the other in the order of an index of it.

    Args:
        orders: the orders.
        overlay: their overlay.
    """

    def __init__(self, orders: Orders, overlay: sa.Table) -> None:
        super().__init__(ORDERS, orders.synced)
        self.others = orders.others
        self._orders = orders
        self._changed = overlay.alias("changed")

    def column(self, column: Column) -> sa.ColumnElement[Any]:
        """A column as an expression: the key and the time of the change are those of the overlay's index."""
        if column is ORDERS["order_key"]:
            return self._changed.c.o_orderkey
        return self._changed.c.updated_at if column is ORDERS["status_updated_at"] else self._orders.column(column)

    def rows(self, columns: Iterable[Column], conditions: Conditions = ()) -> sa.FromClause:
        """The FROM clause. Each order is looked up by its key: PostgreSQL can neither hash nor merge by a list."""
        found = self._orders.column(ORDERS["order_key"]) == sa.any_(array([self._changed.c.o_orderkey]))
        return self._changed.join(self._orders.rows(columns, conditions), found)
