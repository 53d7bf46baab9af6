"""The customer: its type, its pages, and its root fields."""

from __future__ import annotations

from decimal import Decimal  # noqa: TC003 # Strawberry reads the annotations at run time
from enum import Enum
from typing import Any

import strawberry

from schema.scalars import BigInt  # noqa: TC001 # as above
from schema.tables.arguments import DIRECTION, NULLS, SortDirection, SortNulls
from schema.tables.declaration import column, has_table, unseen
from schema.tables.fields import root_page, root_row, to_many, to_one
from schema.tables.filters import INDEXED, filter_of
from schema.tables.pages import TableConnection
from schema.tables.rows import Row


@strawberry.enum(description="The market segment of a customer.")
class MarketSegment(Enum):
    """TPC-H's market segments. A value is the stored one."""

    AUTOMOBILE = strawberry.enum_value("AUTOMOBILE", description="Stored as `AUTOMOBILE`.")
    BUILDING = strawberry.enum_value("BUILDING", description="Stored as `BUILDING`.")
    FURNITURE = strawberry.enum_value("FURNITURE", description="Stored as `FURNITURE`.")
    HOUSEHOLD = strawberry.enum_value("HOUSEHOLD", description="Stored as `HOUSEHOLD`.")
    MACHINERY = strawberry.enum_value("MACHINERY", description="Stored as `MACHINERY`.")


@has_table(
    "customers",
    source="customer",
    key=("customer_key",),
    sorts=("name", "account_balance"),
    filters=(
        "customer_key",
        "name",
        "market_segment",
        "nation_key",
        "account_balance",
        "address",
        "phone",
        "comment",
    ),
)
@strawberry.type(description="A customer, as last synced from the lakehouse.")
class Customer(Row):
    """One customer."""

    customer_key: BigInt = column("The customer's key. Keys are unique.", "c_custkey")
    name: str = column("The customer's name, for example `Customer#000000001`.", "c_name")
    address: str = column("The customer's address; random characters in TPC-H data.", "c_address", may_hide=True)
    nation_key: int = unseen("c_nationkey")
    phone: str = column(
        "The customer's phone number, which starts with a country code: `25-989-741-2988`.", "c_phone", may_hide=True
    )
    account_balance: Decimal = column(
        "The balance of the customer's account, exact; it may be negative. TPC-H has no currency.", "c_acctbal"
    )
    market_segment: MarketSegment = column("The market segment that the customer is in.", "c_mktsegment")
    comment: str = column("A free-text comment.", "c_comment", may_hide=True)
    nation: Any = to_one(
        "nations",
        "The customer's nation. Null while the synced table of nations lacks it.",
        here="nation_key",
        there="nation_key",
    )
    orders: Any = to_many(
        "orders",
        "The customer's orders, page by page. A third of TPC-H's customers have none.",
        here="customer_key",
        there="customer_key",
    )


@strawberry.type(description="A page of customers, and the number of all matching customers.")
class CustomerConnection(TableConnection[Customer]):
    """Relay's connection of customers."""


@strawberry.enum(
    description="The fields that customers can be sorted by. Customers with equal values are sorted by customer key."
)
class CustomerSortField(Enum):
    """A value is the name of the column to sort by."""

    CUSTOMER_KEY = strawberry.enum_value("customer_key", description="By the customer's key. This is the default.")
    NAME = strawberry.enum_value("name", description="By the customer's name, in the order of Unicode's code points.")
    ACCOUNT_BALANCE = strawberry.enum_value("account_balance", description="By the balance of the customer's account.")


@strawberry.input(
    description="A field to sort customers by. A cursor is valid only for the whole `orderBy` it was issued for."
)
class CustomerOrderBy:
    """One of the orderBy argument."""

    field: CustomerSortField | None = strawberry.field(
        default=CustomerSortField.CUSTOMER_KEY,
        description="The field to sort by. Every choice is fast with the indexes that `ensureIndexes` builds.",
    )
    direction: SortDirection | None = strawberry.field(default=SortDirection.ASC, description=DIRECTION)
    nulls: SortNulls | None = strawberry.field(default=strawberry.UNSET, description=NULLS)


@filter_of(
    Customer,
    "Which customers to return.",
    about={"customer_key": INDEXED, "name": INDEXED, "nation_key": INDEXED, "account_balance": INDEXED},
    named={"customer_key": "CustomerKeyFilter", "name": "CustomerNameFilter", "nation_key": "NationKeyFilter"},
)
class CustomerFilter:
    """The filter argument. An attribute has the name of the column that it restricts, or combines other filters."""


@strawberry.type
class Queries:
    """The root fields of customers."""

    customer: Any = root_row("customers", "The customer with this key, or null if there is none.", key="customer_key")
    customers: Any = root_page(
        "customers",
        "Customers, page by page (Relay). Page forward with `first` and `after`, backward with `last` and `before`.",
    )
