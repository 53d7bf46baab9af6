"""The region: its type and its root field."""

from __future__ import annotations

from typing import Any

import strawberry

from schema.tables.declaration import column, has_table
from schema.tables.fields import root_list, to_list
from schema.tables.filters import INDEXED, filter_of
from schema.tables.rows import Row


@has_table("regions", source="region", key=("region_key",), filters=("region_key", "name"))
@strawberry.type(description="A region of the world, as last synced from the lakehouse.")
class Region(Row):
    """One region."""

    region_key: int = column("The region's key: from 0 to 4 in TPC-H data.", "r_regionkey")
    name: str = column("The region's name, for example `EUROPE`.", "r_name")
    nations: Any = to_list("nations", "The nations in the region, by key.", here="region_key", there="region_key")


@filter_of(Region, "Which regions to look for.", about={"region_key": INDEXED})
class RegionFilter:
    """The conditions on regions. An attribute has the name of the column that it restricts."""


@strawberry.type
class Queries:
    """The root field of regions."""

    regions: Any = root_list("regions", "All regions, by key. At most 1,000.")
