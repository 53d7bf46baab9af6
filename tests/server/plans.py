"""The plans that PostgreSQL runs for prepared statements."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from server.db.driver import Compiled
from server.db.engine import RANDOM_PAGE_COST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import asyncpg
    import sqlalchemy as sa


async def explain(
    database: asyncpg.Connection,
    statement: sa.ClauseElement | Compiled,
    mode: str,
    values: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The plan that PostgreSQL runs for the prepared statement in this plan_cache_mode."""
    compiled = statement if isinstance(statement, Compiled) else Compiled(statement)
    literals = ", ".join([await _literal(database, value) for value in compiled.values(values or {})])
    await database.execute(f"SET plan_cache_mode = {mode}; SET random_page_cost = {RANDOM_PAGE_COST}")
    await database.execute(f"PREPARE page AS {compiled.text}")
    try:
        plan = await database.fetchval(
            f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE page{f'({literals})' if literals else ''}"
        )
    finally:
        await database.execute("DEALLOCATE page; RESET plan_cache_mode; RESET random_page_cost")
    root: dict[str, Any] = json.loads(plan)[0]["Plan"]
    return root


async def _literal(database: asyncpg.Connection, value: object) -> str:
    """The value as SQL text."""
    if isinstance(value, list | tuple):
        items = [await _literal(database, item) if isinstance(item, str) else str(item) for item in value]
        return f"ARRAY[{', '.join(items)}]"
    return str(await database.fetchval("SELECT quote_literal($1::text)", str(value)))


def scans(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The nodes of a plan that read a table."""
    if "Scan" in plan["Node Type"] and plan["Node Type"] != "Subquery Scan":
        yield plan
    for child in plan.get("Plans", []):
        yield from scans(child)


def rows_read(node: dict[str, Any]) -> float:
    """The number of rows that a node has read, in all its executions: those that it has filtered out too."""
    rows = node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return float(rows * node["Actual Loops"])
