"""What PostgreSQL's own statistics say of a table: a query of the catalog, and the reading of its answer."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from schema.ports.columns import Kind
from schema.ports.statistics import Spread, TableStatistics, place_of
from schema.tables.registry import referred_to

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from schema.ports.columns import Column, Table

# If the common values leave fewer orders than this, there are no others.
_ALL: Final = 0.995
# The tables under a view and partitions count too. Like PostgreSQL's planner, this scales the rows of the last ANALYZE
# by the present pages. A page of a table that was never analysed has about 60 rows.
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
            SELECT json_build_object(
                'name', a.attname, 'own', k.rule = a.attcollation, 'by_code', k.rule = 'pg_catalog."C"'::regcollation
            )
            FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1], (i.indcollation::oid[])[0:i.indnkeyatts - 1])
                WITH ORDINALITY k(number, rule, position)
            JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number ORDER BY k.position
        ) AS columns
        FROM part JOIN pg_catalog.pg_index i ON i.indrelid = part.oid
        JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_am m ON m.oid = c.relam
        WHERE m.amname = 'btree' AND i.indisvalid AND i.indisready AND i.indpred IS NULL AND i.indexprs IS NULL
          AND (0 = ALL (i.indoption::int2[]) OR 3 = ALL (i.indoption::int2[]))
    ), text AS (
        -- An expression of varchar(n) and char(n) has a cast to text.
        SELECT regexp_replace(pg_catalog.pg_get_indexdef(i.indexrelid, 1, true), '::text[)]$', ')') AS expression
        FROM part JOIN pg_catalog.pg_index i ON i.indrelid = part.oid
        JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_am m ON m.oid = c.relam
        JOIN pg_catalog.pg_opclass o ON o.oid = (i.indclass::oid[])[0]
        WHERE m.amname = 'gin' AND i.indisvalid AND i.indisready AND i.indpred IS NULL AND i.indnkeyatts = 1
          AND o.opcname = 'gin_trgm_ops'
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
        'texts', (SELECT json_agg(expression) FROM text),
        'spreads', (SELECT json_agg(spread) FROM spread)
    )::text
    """
).bindparams(sa.bindparam("columns", type_=ARRAY(TEXT())))


async def measure(connection: AsyncConnection, table: Table, schema: str, name: str) -> TableStatistics:
    """The statistics of a table.

    Args:
        connection: to its database.
        table: the table.
        schema: its schema in the database.
        name: its name there.
    """
    columns = _weighed(table)
    asked = {"schema": schema, "name": name, "columns": [*columns]}
    found = json.loads((await connection.execute(_QUERY, asked)).scalar_one())
    rows, plain = round(found["rows"] or 0), found["plain"]
    indexes = {_usable(table, columns, index) for index in found["indexes"] or ()}
    if not plain:
        indexes = {index for index in indexes if index and await _serves(connection, f'"{schema}"."{name}"', index)}
    # The columns of a view may have other names than those of its table.
    texts = set(found["texts"] or ()) if plain else set()
    spreads = {columns[one["attname"]]: one for one in found["spreads"] or ()}
    return TableStatistics(
        rows,
        frozenset(indexes),
        {column: _spread_of(column, one, rows) for column, one in spreads.items()},
        plain=plain,
        texts=frozenset(column for name, column in columns.items() if f"lower({name})" in texts),
    )


async def with_changes(
    connection: AsyncConnection, known: TableStatistics, table: Table, schema: str
) -> TableStatistics:
    """The statistics of a table together with those of its overlay, which is in this schema."""
    columns = {column.name.removeprefix("status_"): column for column in table.columns if column.unchanged}
    asked = {"schema": schema, "name": "order_status", "columns": [*columns]}
    found = json.loads((await connection.execute(_QUERY, asked)).scalar_one())
    changed = round(found["rows"] or 0)
    spreads = {columns[one["attname"]]: one for one in found["spreads"] or ()}
    return replace(
        known,
        changed=changed,
        spreads={**known.spreads, **{column: _spread_of(column, one, changed) for column, one in spreads.items()}},
    )


def _weighed(table: Table) -> dict[str, Column]:
    """The columns that decide how rows are found, by their names in the database."""
    return {
        column.stored: column
        for column in table.in_order((*table.key, *table.sorts, *table.filters, *referred_to(table)))
        if column.stored is not None
    }


def _usable(table: Table, columns: Mapping[str, Column], index: Sequence[Mapping[str, Any]]) -> tuple[Column, ...]:
    """The first columns of an index, as far as statements can use it: sorted texts go by their code points.

    No index has a merged value.
    """
    usable: list[Column] = []
    for part in index:
        column = columns.get(part["name"])
        if column is None or column.merged or not part["by_code" if _is_sorted_text(table, column) else "own"]:
            break
        usable.append(column)
    return tuple(usable)


def _is_sorted_text(table: Table, column: Column) -> bool:
    return column.kind is Kind.TEXT and column in table.sorts


async def _serves(connection: AsyncConnection, table: str, columns: Sequence[Column]) -> bool:
    """Whether a view or partitions have the order of an index. A column of a view may be more than one of its table."""
    by = ", ".join(
        f'{column.stored} COLLATE "C"' if column.kind is Kind.TEXT else str(column.stored) for column in columns
    )
    statement = f"EXPLAIN (FORMAT JSON) SELECT 1 FROM {table} ORDER BY {by} LIMIT 1"  # noqa: S608 # the catalog's own names
    answer = (await connection.exec_driver_sql(statement)).scalar_one()
    return '"Sort"' not in (answer if isinstance(answer, str) else json.dumps(answer))


def _spread_of(column: Column, found: Mapping[str, Any], rows: int) -> Spread:
    """The spread of a column from its row of `pg_stats`."""
    # A negative number of different values is a share of the rows.
    distinct = found["n_distinct"] if found["n_distinct"] >= 0 else -found["n_distinct"] * rows
    # PostgreSQL pads the values of char(n).
    values = [value.rstrip(" ") for value in found["common"] or ()]
    common = dict(zip(values, found["most_common_freqs"] or (), strict=True))
    places = ((place_of(column, value), share) for value, share in common.items())
    bounds = found["bounds"] or ()
    placed = (place_of(column, value) for value in bounds)
    others = 1.0 - sum(common.values())
    return Spread(
        each=0.0 if others < 1.0 - _ALL else others / max(1.0, distinct - len(common)),
        common=common,
        places=[(place, share) for place, share in places if place is not None],
        bounds=sorted(place for place in placed if place is not None),
        texts=bounds if column.kind is Kind.TEXT else (),
    )
