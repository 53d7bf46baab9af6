"""SQL that counts rows, exactly or by the planner's estimate, and that looks whether there are any to be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

from server.tables.sql.conditions import where
from server.tables.sql.pages import limit

if TYPE_CHECKING:
    from schema.ports.values import Conditions
    from server.tables.source import Source


def probe_statement(source: Source) -> sa.Select[Any]:
    """One row with all its columns: this also checks their types and the privileges."""
    return sa.select(source.synced).limit(limit(1))


def count_statement(source: Source, conditions: Conditions) -> sa.Select[Any]:
    """The number of rows."""
    source = source.whole()
    return sa.select(sa.func.count()).select_from(source.rows((), conditions)).where(*where(source, conditions))


def statistics_known_statement(source: Source) -> sa.Select[Any]:
    """Whether ANALYZE has run on the table: without it the planner only guesses."""
    return sa.select(sa.text("c.relkind IN ('r', 'm') AND c.reltuples >= 0 FROM pg_catalog.pg_class c")).where(
        sa.text("c.oid = to_regclass(:name)").bindparams(name=regclass(source))
    )


class _ExplainJson(sa.Executable, sa.ClauseElement):
    """EXPLAIN of a statement, with its parameters."""

    inherit_cache = False

    def __init__(self, statement: sa.Select[Any]) -> None:
        self.statement = statement


@compiles(_ExplainJson)
def _compile_explain(element: _ExplainJson, compiler: Any, **keywords: Any) -> str:
    return f"EXPLAIN (FORMAT JSON) {compiler.process(element.statement, **keywords)}"


def estimate_statement(source: Source, conditions: Conditions) -> sa.Executable:
    """A query plan in JSON, with the planner's estimate of the number of rows."""
    rows: sa.Select[Any] = (
        sa.select(sa.literal_column("1")).select_from(source.rows((), conditions)).where(*where(source, conditions))
    )
    return _ExplainJson(rows)


def regclass(source: Source) -> str:
    """The name of the table, for to_regclass."""
    return ".".join(f'"{part}"' for part in (source.synced.schema, source.synced.name) if part)
