"""The nation: its type and its root field."""

from __future__ import annotations

from typing import Any

import strawberry

from schema.tables.declaration import column, has_table, unseen
from schema.tables.fields import root_list, to_many, to_one
from schema.tables.filters import INDEXED, filter_of
from schema.tables.rows import Row


@has_table("nations", source="nation", key=("nation_key",), filters=("nation_key", "name"))
@strawberry.type(description="A nation, as last synced from the lakehouse.")
class Nation(Row):
    """One nation."""

    nation_key: int = column("The nation's key: from 0 to 24 in TPC-H data.", "n_nationkey")
    name: str = column("The nation's name, for example `FRANCE`.", "n_name")
    region_key: int = unseen("n_regionkey")
    region: Any = to_one(
        "regions",
        "The region that the nation is in. Null while the synced table of regions lacks it.",
        here="region_key",
        there="region_key",
    )
    customers: Any = to_many(
        "customers", "The customers in the nation, page by page.", here="nation_key", there="nation_key"
    )


@filter_of(Nation, "Which nations to look for.", about={"nation_key": INDEXED})
class NationFilter:
    """The conditions on nations. An attribute has the name of the column that it restricts."""


@strawberry.type
class Queries:
    """The root field of nations."""

    nations: Any = root_list("nations", "All nations, by key. At most 1,000.")
