"""Sources in Unity Catalog: whether their changes can be followed, and whether they can be copied at all."""

from __future__ import annotations

from typing import Any

import pytest
from databricks.sdk.service.catalog import ColumnInfo, DataSourceFormat, TableInfo, TableType

from server.lakebase.platform.unity import read_source

ON = {"delta.enableChangeDataFeed": "true"}


@pytest.mark.parametrize(
    ("table", "change_feed"),
    [
        ({"table_type": TableType.MANAGED, "properties": ON}, True),
        ({"table_type": TableType.EXTERNAL, "properties": {"delta.enableChangeDataFeed": "TRUE"}}, True),
        ({"table_type": TableType.MANAGED, "properties": {"delta.minReaderVersion": "1"}}, False),
        ({"table_type": TableType.MANAGED, "properties": {"delta.enableChangeDataFeed": "false"}}, False),
        # An Iceberg table has no such property, and a view has no changes of its own.
        ({"table_type": TableType.MANAGED, "data_source_format": DataSourceFormat.ICEBERG, "properties": {}}, False),
        ({"table_type": TableType.VIEW, "properties": ON}, False),
        ({"table_type": TableType.VIEW}, False),
        ({"table_type": TableType.FOREIGN}, False),
        # What the platform does not tell is no reason to refuse.
        ({"table_type": TableType.MANAGED}, None),
        ({}, None),
    ],
)
def test_a_change_data_feed_is_what_the_properties_say(table: dict[str, Any], change_feed: bool | None) -> None:  # noqa: FBT001 # a value of the table
    """The policies TRIGGERED and CONTINUOUS need one."""
    assert read_source(TableInfo(**table)).change_feed is change_feed


def test_a_table_of_postgresql_is_no_source() -> None:
    """A synced table, for example. The columns are known all the same."""
    columns = [ColumnInfo(name="o_orderkey"), ColumnInfo()]
    found = read_source(TableInfo(columns=columns, data_source_format=DataSourceFormat.POSTGRESQL_FORMAT))
    assert found.in_postgres
    assert found.columns == {"o_orderkey"}
    assert not read_source(TableInfo(data_source_format=DataSourceFormat.DELTA)).in_postgres
