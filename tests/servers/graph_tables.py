"""The tables of a small graph for tests, in a schema of their own: with the types of a sync, or with unusual ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schema.graph import TABLES
from schema.tables.registry import ORDERS_NAME
from tests.servers.graph_rows import graph_rows

if TYPE_CHECKING:
    from collections.abc import Collection

    import asyncpg

# By the table's name in settings: its name in the database, and its columns with the types that a sync gives them, and
# with others that are served as well. Only these hold Infinity.
_COLUMNS: Final[dict[str, tuple[str, tuple[tuple[str, str, str], ...]]]] = {
    ORDERS_NAME: (
        "orders_synced",
        (
            ("o_orderkey", "bigint", "bigint"),
            ("o_custkey", "bigint", "integer"),
            ("o_orderstatus", "text", "char(3)"),
            ("o_totalprice", "numeric(18, 2)", "numeric"),
            ("o_orderdate", "date", "date"),
            ("o_orderpriority", "text", "char(15)"),
            ("o_clerk", "text", "char(15)"),
            ("o_shippriority", "integer", "smallint"),
            ("o_comment", "text", "varchar(79)"),
        ),
    ),
    "customers": (
        "customer_synced",
        (
            ("c_custkey", "bigint", "integer"),
            ("c_name", "text", "char(40)"),
            ("c_address", "text", "varchar(40)"),
            ("c_nationkey", "bigint", "integer"),
            ("c_phone", "text", "char(15)"),
            ("c_acctbal", "numeric(18, 2)", "numeric"),
            ("c_mktsegment", "text", "char(10)"),
            ("c_comment", "text", "varchar(117)"),
        ),
    ),
    "line_items": (
        "lineitem_synced",
        (
            ("l_orderkey", "bigint", "bigint"),
            ("l_partkey", "bigint", "integer"),
            ("l_suppkey", "bigint", "integer"),
            ("l_linenumber", "integer", "smallint"),
            ("l_quantity", "numeric(18, 2)", "numeric"),
            ("l_extendedprice", "numeric(18, 2)", "numeric"),
            ("l_discount", "numeric(18, 2)", "numeric"),
            ("l_tax", "numeric(18, 2)", "numeric"),
            ("l_returnflag", "text", "char(1)"),
            ("l_linestatus", "text", "char(1)"),
            ("l_shipdate", "date", "date"),
            ("l_commitdate", "date", "date"),
            ("l_receiptdate", "date", "date"),
            ("l_shipinstruct", "text", "char(25)"),
            ("l_shipmode", "text", "char(10)"),
            ("l_comment", "text", "varchar(44)"),
        ),
    ),
    "parts": (
        "part_synced",
        (
            ("p_partkey", "bigint", "integer"),
            ("p_name", "text", "varchar(55)"),
            ("p_mfgr", "text", "char(25)"),
            ("p_brand", "text", "char(10)"),
            ("p_type", "text", "varchar(25)"),
            ("p_size", "bigint", "smallint"),
            ("p_container", "text", "char(10)"),
            ("p_retailprice", "numeric(18, 2)", "numeric"),
            ("p_comment", "text", "varchar(23)"),
        ),
    ),
    "suppliers": (
        "supplier_synced",
        (
            ("s_suppkey", "bigint", "integer"),
            ("s_name", "text", "char(25)"),
            ("s_address", "text", "varchar(40)"),
            ("s_nationkey", "bigint", "integer"),
            ("s_phone", "text", "char(15)"),
            ("s_acctbal", "numeric(18, 2)", "numeric"),
            ("s_comment", "text", "varchar(101)"),
        ),
    ),
    "nations": (
        "nation_synced",
        (
            ("n_nationkey", "bigint", "integer"),
            ("n_name", "text", "char(25)"),
            ("n_regionkey", "bigint", "integer"),
            ("n_comment", "text", "varchar(152)"),
        ),
    ),
    "regions": (
        "region_synced",
        (("r_regionkey", "bigint", "integer"), ("r_name", "text", "char(25)"), ("r_comment", "text", "varchar(152)")),
    ),
}


def served(schema: str) -> dict[str, str]:
    """The setting of the tables beside the orders, if they are in this schema."""
    return {name: f"{schema}.{_COLUMNS[name][0]}" for name in TABLES}


def orders_of(schema: str) -> str:
    """The orders table in this schema."""
    return f"{schema}.{_COLUMNS[ORDERS_NAME][0]}"


def records_of(name: str, *, lines_of: Collection[int] = ()) -> list[dict[str, str | None]]:
    """The rows of a table by its name in settings: each column's text, by the column's name in the database."""
    columns = [column for column, _, _ in _COLUMNS[name][1]]
    return [dict(zip(columns, row, strict=True)) for row in graph_rows(lines_of=lines_of)[name]]


async def make_graph(
    database: asyncpg.Connection,
    schema: str,
    *,
    unusual: bool = False,
    lines_of: Collection[int] = (),
    odd: bool = True,
) -> None:
    """Create a schema with all tables, replacing an earlier one.

    Args:
        database: the connection.
        schema: the name of the schema.
        unusual: whether the columns have other types than a sync gives them: char(n), and integers of 32 bits.
        lines_of: the keys of orders, in any table, that have ordinary lines.
        odd: whether there are rows with values that the types do not expect.
    """
    await database.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}")
    for name, rows in graph_rows(lines_of=lines_of, odd=odd).items():
        table, columns = _COLUMNS[name]
        types = [other if unusual else usual for _, usual, other in columns]
        declared = ", ".join(f"{column} {type_}" for (column, _, _), type_ in zip(columns, types, strict=True))
        key = ", ".join(_key_of(name))
        # Autovacuum would change the statistics, and with them the estimates, during a test.
        await database.execute(
            f"CREATE TABLE {schema}.{table} ({declared}, PRIMARY KEY ({key})) WITH (autovacuum_enabled = false)"
        )
        values = ", ".join(f"${index}::text::{type_}" for index, type_ in enumerate(types, 1))
        fitting = [tuple(map(_fitting, row, types)) for row in rows]
        await database.executemany(f"INSERT INTO {schema}.{table} VALUES ({values})", fitting)
        await database.execute(f"ANALYZE {schema}.{table}")


def _key_of(name: str) -> list[str]:
    columns = [column for column, _, _ in _COLUMNS[name][1]]
    return ["l_orderkey", "l_linenumber"] if name == "line_items" else columns[:1]


def _fitting(text: str | None, type_: str) -> str | None:
    """A value that a column of the type can hold: one with a precision holds no infinity."""
    return None if text is not None and "Infinity" in text and type_ == "numeric(18, 2)" else text
