"""SQL of status changes: the call that makes them, the changes of a replay, and the deletion of expired keys."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import sqlalchemy as sa

from server.db.app_tables import quoted

if TYPE_CHECKING:
    from server.db.app_tables import ChangeTables

_NAME = re.compile(r"[\w$]+(?:\.[\w$]+)?")
_FUNCTIONS = ("write_statuses", "status_conflict", "status_name")
CHANGE_COLUMNS = (
    "id, o_orderkey, previous_status, status, cleared, synced_status, version, changed_by, changed_at, note"
)
# The time of a change in microseconds since 1970, for its place in the feed. Any time fits, an infinite one too.
MOMENT = (
    "CAST(greatest(least(extract(epoch FROM changed_at) * 1000000, 9223372036854775807), -9223372036854775808) "
    "AS bigint)"
)
# The fields of a StatusChange, in their order.
CHANGE_FIELDS = f"{CHANGE_COLUMNS}, {MOMENT}"

# One statement in autocommit mode: revision 0006 has the function.
_WRITE = """
SELECT verdict, outcomes, changed, ids, synced, changed_at
FROM {schema}.write_statuses(
    :principal, :key, :hash, make_interval(secs => :retention_seconds), :orders, :atomic,
    :keys, :statuses, :expected_statuses, :expected_versions, :notes
)
"""
_REPLAYED = """
SELECT {fields}
FROM unnest(CAST(:keys AS bigint[]), CAST(:versions AS integer[])) AS k (o_orderkey, version)
JOIN {schema}.order_status_change USING (o_orderkey, version)
"""
# The condition is repeated outside: the key may have been claimed anew since the inner query saw it.
_EXPIRE = """
DELETE FROM {schema}.idempotency
WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM {schema}.idempotency
    WHERE created_at < now() - make_interval(secs => :retention_seconds) LIMIT :size
)) AND created_at < now() - make_interval(secs => :retention_seconds)
RETURNING 1
"""


class WriteStatements:
    """The statements for our tables in one schema."""

    def __init__(self, tables: ChangeTables) -> None:
        self._tables = tables
        self.schema = quoted(tables.schema)
        self.write = self._text(_WRITE)
        self.replayed = self._text(_REPLAYED)
        self.expire = self._text(_EXPIRE)

    def names_ours(self, message: str) -> bool:
        """Whether PostgreSQL's error message names one of our tables or functions."""
        tables = (self._tables.status, self._tables.change, self._tables.idempotency)
        ours = {self._tables.schema, *(table.name for table in tables), *(table.fullname for table in tables)}
        ours |= {name for function in _FUNCTIONS for name in (function, f"{self._tables.schema}.{function}")}
        return not ours.isdisjoint(_NAME.findall(message))

    def _text(self, template: str) -> sa.TextClause:
        for name, text in {
            "{schema}": quoted(self._tables.schema),
            "{fields}": CHANGE_FIELDS,
        }.items():
            template = template.replace(name, text)
        return sa.text(template)
