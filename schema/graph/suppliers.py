"""The supplier of line items: its type."""

from __future__ import annotations

from decimal import Decimal  # noqa: TC003 # Strawberry reads the annotations at run time
from typing import Any

import strawberry

from schema.scalars import BigInt  # noqa: TC001 # as above
from schema.tables.declaration import column, has_table, unseen
from schema.tables.fields import to_one
from schema.tables.filters import INDEXED, filter_of
from schema.tables.rows import Row


@has_table(
    "suppliers",
    source="supplier",
    key=("supplier_key",),
    filters=("supplier_key", "name", "nation_key", "account_balance"),
)
@strawberry.type(description="A supplier of parts, as last synced from the lakehouse.")
class Supplier(Row):
    """One supplier."""

    supplier_key: BigInt = column("The supplier's key. Keys are unique.", "s_suppkey")
    name: str = column("The supplier's name, for example `Supplier#000000001`.", "s_name")
    address: str = column("The supplier's address.", "s_address", may_hide=True)
    nation_key: int = unseen("s_nationkey")
    phone: str = column("The supplier's phone number, for example `27-918-335-1736`.", "s_phone", may_hide=True)
    account_balance: Decimal = column(
        "The balance of the supplier's account, exact. It may be negative. TPC-H has no currency.", "s_acctbal"
    )
    comment: str = column("A free-text comment.", "s_comment", may_hide=True)
    nation: Any = to_one(
        "nations",
        "The supplier's nation. Null while the synced table of nations lacks it.",
        here="nation_key",
        there="nation_key",
    )


@filter_of(Supplier, "Which suppliers to look for.", about={"supplier_key": INDEXED})
class SupplierFilter:
    """The conditions on suppliers. An attribute has the name of the column that it restricts."""
