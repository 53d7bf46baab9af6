"""The part that line items are of: its type and its root field."""

from __future__ import annotations

from decimal import Decimal  # noqa: TC003 # Strawberry reads the annotations at run time
from typing import Any

import strawberry

from schema.scalars import BigInt  # noqa: TC001 # as above
from schema.tables.declaration import column, has_table
from schema.tables.fields import root_row, to_many
from schema.tables.rows import Row


@has_table("parts", source="part", key=("part_key",))
@strawberry.type(description="A part that can be ordered, as last synced from the lakehouse.")
class Part(Row):
    """One part."""

    part_key: BigInt = column("The part's key. Keys are unique but not consecutive.", "p_partkey")
    name: str = column("The part's name, for example `goldenrod lavender spring chocolate lace`.", "p_name")
    manufacturer: str = column("The manufacturer, for example `Manufacturer#1`.", "p_mfgr")
    brand: str = column("The brand, for example `Brand#13`.", "p_brand")
    type: str = column("The kind of part, for example `PROMO BURNISHED COPPER`.", "p_type")
    size: int = column("The part's size.", "p_size")
    container: str = column("What the part comes in, for example `JUMBO PKG`.", "p_container")
    retail_price: Decimal = column("The retail price of the part, exact.", "p_retailprice")
    comment: str = column("A free-text comment.", "p_comment", may_hide=True)
    line_items: Any = to_many(
        "line_items",
        "The line items of this part, in the order of their orders' keys.",
        here="part_key",
        there="part_key",
    )


@strawberry.type
class Queries:
    """The root field of parts."""

    part: Any = root_row("parts", "The part with this key, or null if there is none.", key="part_key")
