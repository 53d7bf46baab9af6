"""What PostgreSQL's own statistics say of the orders table: a query of the catalog, and the reading of its answer."""

from __future__ import annotations

import json
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from schema.orders.types import ORDERS
from schema.ports.statistics import TableStatistics, Spread, place_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

# The columns whose spreads matter; and those whose indexes do, for no index has the merged status.
_COLUMNS: Final = {
    column.stored: column
    for column in ORDERS.columns
    if column.stored is not None and column not in {ORDERS["comment"], ORDERS["ship_priority"]}
}
_INDEXED: Final = {name: column for name, column in _COLUMNS.items() if column is not ORDERS["status"]}
# If the common values leave fewer orders than this, there are no others.
_ALL: Final = 0.995
# The tables under a view and partitions count too. Like PostgreSQL's planner, this scales the rows of the last ANALYZE
# by the present pages. A page of a table that was never analysed has about 60 orders.
_QUERY = sa.text(
    """
    WITH RECURSIVE part(oid) AS (
        SELECT c.oid
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = :schema AND c.relname = :name
      UNION
        SELECT below.oid
        FROM part CROSS JOIN LATERAL (
            SELECT i.inhrelid FROM pg_catalog.pg_inherits i WHERE i.inhparent = part.oid
          UNION ALL
            SELECT d.refobjid
            FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_depend d ON d.objid = r.oid
            WHERE r.ev_class = part.oid AND d.classid = 'pg_catalog.pg_rewrite'::regclass
              AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> part.oid
        ) below(oid)
    ), relation AS (
        SELECT c.*, pg_catalog.pg_relation_size(c.oid) / current_setting('block_size')::int AS pages
        FROM part JOIN pg_catalog.pg_class c USING (oid) WHERE c.relkind IN ('r', 'm')
    ), index AS (
        SELECT ARRAY(
            SELECT a.attname::text
            FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) WITH ORDINALITY k(number, position)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number ORDER BY k.position
        ) AS columns
        FROM part JOIN pg_catalog.pg_index i ON i.indrelid = part.oid
        JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_am m ON m.oid = c.relam
        WHERE m.amname = 'btree' AND i.indisvalid AND i.indisready AND i.indpred IS NULL AND i.indexprs IS NULL
          AND (0 = ALL (i.indoption::int2[]) OR 3 = ALL (i.indoption::int2[]))
    ), spread AS (
        SELECT DISTINCT ON (s.attname) s.attname, s.n_distinct, s.most_common_freqs,
               s.most_common_vals::text::text[] AS common, s.histogram_bounds::text::text[] AS bounds
        FROM relation r JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
        JOIN pg_catalog.pg_stats s ON s.schemaname = n.nspname AND s.tablename = r.relname AND NOT s.inherited
        WHERE s.attname = ANY (:columns) ORDER BY s.attname, r.reltuples DESC
    )
    SELECT json_build_object(
        'rows', (
            SELECT sum(CASE WHEN reltuples >= 0 AND relpages > 0 THEN reltuples / relpages ELSE 60 END * pages)
            FROM relation
        ),
        'plain', (SELECT count(*) = 1 FROM part JOIN relation USING (oid)) AND (SELECT count(*) = 1 FROM part),
        'indexes', (SELECT json_agg(columns) FROM index),
        'spreads', (SELECT json_agg(spread) FROM spread)
    )::text
    """
).bindparams(sa.bindparam("columns", type_=ARRAY(TEXT())))


async def measure(connection: AsyncConnection, schema: str, name: str) -> TableStatistics:
    """The statistics of the orders table."""
    asked = {"schema": schema, "name": name, "columns": [*_COLUMNS]}
    found = json.loads((await connection.execute(_QUERY, asked)).scalar_one())
    rows, plain = round(found["rows"] or 0), found["plain"]
    indexes = {tuple(takewhile(_INDEXED.__contains__, index)) for index in found["indexes"] or ()}
    if not plain:
        indexes = {index for index in indexes if index and await _serves(connection, f'"{schema}"."{name}"', index)}
    return TableStatistics(
        rows,
        frozenset(tuple(_INDEXED[column] for column in index) for index in indexes),
        {_COLUMNS[one["attname"]]: _spread_of(one, rows) for one in found["spreads"] or ()},
        plain=plain,
    )


async def _serves(connection: AsyncConnection, table: str, columns: Sequence[str]) -> bool:
    """Whether a view or partitions have the order of an index. A column of a view may be more than one of its table."""
    statement = f"EXPLAIN (FORMAT JSON) SELECT 1 FROM {table} ORDER BY {', '.join(columns)} LIMIT 1"  # noqa: S608 # the catalog's own names
    answer = (await connection.exec_driver_sql(statement)).scalar_one()
    return '"Sort"' not in (answer if isinstance(answer, str) else json.dumps(answer))


def _spread_of(found: Mapping[str, Any], rows: int) -> Spread:
    """The spread of a column from its row of `pg_stats`."""
    column = _COLUMNS[found["attname"]]
    # A negative number of different values is a share of the rows.
    distinct = found["n_distinct"] if found["n_distinct"] >= 0 else -found["n_distinct"] * rows
    # PostgreSQL pads the values of char(n).
    values = [value.rstrip(" ") for value in found["common"] or ()]
    common = dict(zip(values, found["most_common_freqs"] or (), strict=True))
    places = ((place_of(column, value), share) for value, share in common.items())
    bounds = (place_of(column, value) for value in found["bounds"] or ())
    others = 1.0 - sum(common.values())
    return Spread(
        each=0.0 if others < 1.0 - _ALL else others / max(1.0, distinct - len(common)),
        common=common,
        places=[(place, share) for place, share in places if place is not None],
        bounds=sorted(place for place in bounds if place is not None),
    )
