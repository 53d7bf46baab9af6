"""The part that line items are of: its type and its root field."""

from __future__ import annotations

from decimal import Decimal  # noqa: TC003 # Strawberry reads the annotations at run time
from typing import Any

import strawberry

from schema.scalars import BigInt  # noqa: TC001 # as above
from schema.tables.declaration import column, has_table
from schema.tables.fields import root_row, to_many
from schema.tables.filters import INDEXED, filter_of
from schema.tables.rows import Row


@has_table(
    "parts",
    source="part",
    key=("part_key",),
    filters=("part_key", "name", "manufacturer", "brand", "type", "size", "container", "retail_price"),
)
@strawberry.type(description="A part that can be ordered, as last synced from the lakehouse.")
class Part(Row):
    """One part."""

    part_key: BigInt = column("The part's key. Keys are unique.", "p_partkey")
    name: str = column(
        "The part's name: five colors in TPC-H data, for example `goldenrod lavender spring chocolate lace`.", "p_name"
    )
    manufacturer: str = column("The manufacturer, for example `Manufacturer#1`.", "p_mfgr")
    brand: str = column("The brand, for example `Brand#13`: the third brand of `Manufacturer#1`.", "p_brand")
    type: str = column("The kind of part, for example `PROMO BURNISHED COPPER`.", "p_type")
    size: int = column("The part's size: from 1 to 50 in TPC-H data, which names no unit.", "p_size")
    container: str = column("What the part is packed in, for example `JUMBO PKG`.", "p_container")
    retail_price: Decimal = column("The retail price of one such part, exact. TPC-H has no currency.", "p_retailprice")
    comment: str = column("A free-text comment.", "p_comment", may_hide=True)
    line_items: Any = to_many(
        "line_items",
        "The line items of this part, page by page, by the keys of their orders.",
        here="part_key",
        there="part_key",
    )


@filter_of(Part, "Which parts to look for.", about={"part_key": INDEXED})
class PartFilter:
    """The conditions on parts. An attribute has the name of the column that it restricts."""


@strawberry.type
class Queries:
    """The root field of parts."""

    part: Any = root_row("parts", "The part with this key, or null if there is none.", key="part_key")
