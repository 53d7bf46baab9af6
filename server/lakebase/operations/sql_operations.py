"""SQL of the table of operations. A statement that ends an operation adds the entry of its end to the audit."""

from __future__ import annotations

from typing import Final

from server.lakebase.database.audit_entry import ACTIONS, INPUT, RESOURCES

_COLUMNS: Final = (
    "id, request, resources, steps, facts, requested_by, requested_at, state, finished_at, failure, fence, "
    "cancel_requested_by"
)
_UNFINISHED: Final = "state IN ('PENDING', 'RUNNING')"
# Changes operations, and adds the entry of `OperationRecord.outcome` to the audit for each that has ended by then. The
# entry has the operation's id, so a repeated end adds nothing.
_ENDING: Final = """
WITH changed AS ({change} RETURNING *), audited AS (
    INSERT INTO {audit} (id, at, last_at, principal, action, outcome, reason, resources, operation, input, home)
    SELECT id, finished_at, finished_at, requested_by, CASE kind {actions} ELSE kind END, state, failure->>'reason',
        COALESCE(
            (SELECT array_agg(kept.text) FROM jsonb_array_elements_text(facts->'{kept_resources}') AS kept (text)),
            resources
        ),
        id, facts->>'{kept_input}', {home}
    FROM changed WHERE finished_at IS NOT NULL
    ON CONFLICT (id) DO NOTHING
)
SELECT {columns} FROM changed
"""
_INSERT: Final = """
INSERT INTO {table} AS kept (id, kind, fingerprint, resources, request, state, steps, facts, failure, requested_by,
    requested_at, finished_at, cancel_requested_by, home, lease_ends_at)
VALUES (:id, :kind, :fingerprint, CAST(:resources AS text[]), CAST(:request AS jsonb), :state, CAST(:steps AS jsonb),
    CAST(:facts AS jsonb), CAST(:failure AS jsonb), :requested_by, :requested_at, :finished_at, :cancel_requested_by,
    :home, clock_timestamp() + make_interval(secs => :lease))
ON CONFLICT (id) DO
"""
_OR_END: Final = """
UPDATE
SET state = excluded.state, steps = excluded.steps, facts = excluded.facts, failure = excluded.failure,
    finished_at = excluded.finished_at, cancel_requested_by = excluded.cancel_requested_by, fence = kept.fence + 1
WHERE kept.finished_at IS NULL
"""
_SAVE: Final = """
UPDATE {table}
SET state = :state, steps = CAST(:steps AS jsonb), facts = CAST(:facts AS jsonb), failure = CAST(:failure AS jsonb),
    finished_at = :finished_at, cancel_requested_by = COALESCE(cancel_requested_by, :cancel_requested_by),
    lease_ends_at = clock_timestamp() + make_interval(secs => :lease)
WHERE id = :id AND fence = :fence AND (finished_at IS NULL OR finished_at = :finished_at)
"""
_END_ABANDONED: Final = """
UPDATE {table}
SET state = 'FAILED', fence = fence + 1, finished_at = clock_timestamp(),
    failure = CAST(CASE WHEN home = :home THEN :interrupted ELSE :begun_elsewhere END AS jsonb),
    steps = COALESCE((
        SELECT jsonb_agg(
            CASE step->>'state'
                WHEN 'PENDING' THEN jsonb_set(step, '{state}', '"SKIPPED"')
                WHEN 'RUNNING' THEN jsonb_set(step, '{state}', '"FAILED"')
                ELSE step
            END ORDER BY number
        ) FROM jsonb_array_elements(steps) WITH ORDINALITY AS s (step, number)
    ), steps)
WHERE {unfinished} AND NOT id = ANY(CAST(:running AS uuid[]))
    AND (lease_ends_at < clock_timestamp() - make_interval(secs => :stale)
        OR lease_ends_at < clock_timestamp() AND home IS DISTINCT FROM :home)
"""
_CLAIM: Final = """
UPDATE {table}
SET fence = fence + 1, lease_ends_at = clock_timestamp() + make_interval(secs => :lease)
WHERE id IN (
    SELECT id FROM {table}
    WHERE {unfinished} AND lease_ends_at < clock_timestamp() AND home = :home
        AND NOT id = ANY(CAST(:running AS uuid[]))
    FOR UPDATE SKIP LOCKED
)
RETURNING {columns}
"""
_SET_LEASE: Final = """
UPDATE {table}
SET lease_ends_at = clock_timestamp() + make_interval(secs => :lease),
    cancel_requested_by = COALESCE(cancel_requested_by, :cancel_requested_by)
WHERE id = :id AND fence = :fence RETURNING cancel_requested_by
"""
_REQUEST_CANCEL: Final = """
UPDATE {table} SET cancel_requested_by = COALESCE(cancel_requested_by, :user)
WHERE id = CAST(:id AS uuid) AND {unfinished} RETURNING {columns}
"""
_DELETE_HELD: Final = "DELETE FROM {table} WHERE id = :id AND fence = :fence RETURNING cancel_requested_by"
_PRUNE: Final = """
DELETE FROM {table} WHERE finished_at < clock_timestamp() - make_interval(secs => :seconds) RETURNING id
"""
_CONFLICTING: Final = """
SELECT {columns} FROM {table}
WHERE {unfinished} AND resources && CAST(:resources AS text[]) ORDER BY requested_at LIMIT 1
"""
_NEXT_LEASE_END: Final = """
SELECT CAST(extract(epoch FROM min(lease_ends_at) - clock_timestamp()) AS float)
FROM {table} WHERE {unfinished} AND isfinite(lease_ends_at)
"""
_CREATED: Final = "SELECT DISTINCT unnest(resources) FROM {table} WHERE kind = ANY(CAST(:kinds AS text[]))"
_FIND: Final = "SELECT {columns} FROM {table} WHERE id = CAST(:id AS uuid)"
_PAGE: Final = """
SELECT {columns} FROM {table}
WHERE CAST(:id AS uuid) IS NULL OR (requested_at, id) < (CAST(:at AS timestamptz), CAST(:id AS uuid))
ORDER BY requested_at DESC, id DESC LIMIT :size
"""


class OperationStatements:
    """The statements for the table in one schema, whose name is quoted."""

    def __init__(self, schema: str) -> None:
        self._schema = schema
        self.insert = self._ending(f"{_INSERT} NOTHING")
        self.write_down = self._ending(f"{_INSERT} {_OR_END}")
        self.save = self._ending(_SAVE)
        # The home of such a row may be another database.
        self.end_abandoned = self._ending(_END_ABANDONED, home=":home")
        self.claim = self._text(_CLAIM)
        self.set_lease = self._text(_SET_LEASE)
        self.request_cancel = self._text(_REQUEST_CANCEL)
        self.delete_held = self._text(_DELETE_HELD)
        self.prune = self._text(_PRUNE)
        self.conflicting = self._text(_CONFLICTING)
        self.next_lease_end = self._text(_NEXT_LEASE_END)
        self.created = self._text(_CREATED)
        self.find = self._text(_FIND)
        self.page = self._text(_PAGE)

    def _ending(self, change: str, *, home: str = "home") -> str:
        return self._text(_ENDING.replace("{change}", change).replace("{home}", home))

    def _text(self, template: str) -> str:
        for name, text in {
            "{table}": f"{self._schema}.operation",
            "{audit}": f"{self._schema}.admin_audit",
            "{columns}": _COLUMNS,
            "{unfinished}": _UNFINISHED,
            "{actions}": " ".join(f"WHEN '{kind.value}' THEN '{action}'" for kind, action in ACTIONS.items()),
            "{kept_input}": INPUT,
            "{kept_resources}": RESOURCES,
        }.items():
            template = template.replace(name, text)
        return template
