"""The line item of an order: its type and its pages."""

from __future__ import annotations

from datetime import date  # noqa: TC003 # Strawberry reads the annotations at run time
from decimal import Decimal  # noqa: TC003 # as above
from enum import Enum
from typing import Any

import strawberry

from schema.scalars import BigInt  # noqa: TC001 # as above
from schema.tables.declaration import column, has_table, unseen
from schema.tables.fields import to_one
from schema.tables.filters import filter_of
from schema.tables.pages import TableConnection
from schema.tables.rows import Row


@strawberry.enum(description="Whether a line item was received, and whether it was returned.")
class ReturnFlag(Enum):
    """TPC-H's return flags. A value is the stored one."""

    RETURNED = strawberry.enum_value("R", description="Received, and returned. Stored as `R`.")
    ACCEPTED = strawberry.enum_value("A", description="Received, and kept. Stored as `A`.")
    NONE = strawberry.enum_value(
        "N", description="Neither: it had not been received when the data was made. Stored as `N`."
    )


@strawberry.enum(description="Whether a line item has been shipped.")
class LineStatus(Enum):
    """TPC-H's statuses of a line. A value is the stored one."""

    OPEN = strawberry.enum_value("O", description="Not shipped yet. Stored as `O`.")
    FULFILLED = strawberry.enum_value("F", description="Shipped. Stored as `F`.")


@strawberry.enum(description="How a line item is shipped.")
class ShipMode(Enum):
    """TPC-H's ship modes. A value is the stored one."""

    AIR = strawberry.enum_value("AIR", description="By air. Stored as `AIR`.")
    AIR_REG = strawberry.enum_value("REG AIR", description="By regular air. Stored as `REG AIR`.")
    FOB = strawberry.enum_value("FOB", description="Free on board: the buyer pays for the transport. Stored as `FOB`.")
    MAIL = strawberry.enum_value("MAIL", description="By mail. Stored as `MAIL`.")
    RAIL = strawberry.enum_value("RAIL", description="By rail. Stored as `RAIL`.")
    SHIP = strawberry.enum_value("SHIP", description="By ship. Stored as `SHIP`.")
    TRUCK = strawberry.enum_value("TRUCK", description="By truck. Stored as `TRUCK`.")


@has_table(
    "line_items",
    source="lineitem",
    key=("order_key", "line_number"),
    filters=(
        "line_number",
        "quantity",
        "extended_price",
        "discount",
        "tax",
        "return_flag",
        "status",
        "ship_date",
        "commit_date",
        "receipt_date",
        "ship_instructions",
        "ship_mode",
        "comment",
    ),
)
@strawberry.type(description="A line of an order, as last synced from the lakehouse: some of one part, at a price.")
class LineItem(Row):
    """One line of an order."""

    order_key: BigInt = unseen("l_orderkey")
    order: Any = to_one(
        "orders",
        "The order that the line belongs to. Null while the synced table of orders lacks it.",
        here="order_key",
        there="order_key",
    )
    line_number: int = column(
        "The number of the line in its order, from 1. TPC-H's orders have at most seven lines.", "l_linenumber"
    )
    part_key: BigInt = unseen("l_partkey")
    part: Any = to_one(
        "parts",
        "The part that was ordered. Null while the synced table of parts lacks it.",
        here="part_key",
        there="part_key",
    )
    supplier_key: BigInt = unseen("l_suppkey")
    supplier: Any = to_one(
        "suppliers",
        "The supplier of the part. Null while the synced table of suppliers lacks it.",
        here="supplier_key",
        there="supplier_key",
    )
    quantity: Decimal = column(
        "How many of the part were ordered: whole numbers from 1 to 50 in TPC-H data.", "l_quantity"
    )
    extended_price: Decimal = column(
        "The price of the line before discount and tax, exact: `quantity` times the part's retail price.",
        "l_extendedprice",
    )
    discount: Decimal = column("The discount as a fraction of `extendedPrice`: `0.04` is four percent.", "l_discount")
    tax: Decimal = column(
        "The tax as a fraction: `0.02` is two percent. The line costs `extendedPrice * (1 - discount) * (1 + tax)`.",
        "l_tax",
    )
    return_flag: ReturnFlag = column("Whether the line was received, and whether it was returned.", "l_returnflag")
    status: LineStatus = column("Whether the line has been shipped.", "l_linestatus")
    ship_date: date = column("The date on which the line was shipped, or will be.", "l_shipdate")
    commit_date: date = column("The date by which receipt was promised. A line received later is late.", "l_commitdate")
    receipt_date: date = column("The date on which the line was received, or will be.", "l_receiptdate")
    ship_instructions: str = column(
        "What to do on delivery, for example `DELIVER IN PERSON`.", "l_shipinstruct", may_hide=True
    )
    ship_mode: ShipMode = column("How the line is shipped.", "l_shipmode")
    comment: str = column("A free-text comment.", "l_comment", may_hide=True)


@filter_of(LineItem, "Which line items to look for.", about={})
class LineItemFilter:
    """The conditions on lines of an order. An attribute has the name of the column that it restricts."""


@strawberry.type(description="A page of line items, and the number of all of them.")
class LineItemConnection(TableConnection[LineItem]):
    """Relay's connection of line items."""
