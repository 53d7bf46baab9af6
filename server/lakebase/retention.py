"""Deletes audit entries and ended operations that are older than ADMIN_RETENTION."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog

from schema.errors import ApiError

if TYPE_CHECKING:
    from server.lakebase.database.audit_table import AuditTable
    from server.lakebase.operations.table import OperationTable

_log = structlog.get_logger(__name__)
_EVERY_SECONDS: Final = 3600.0


class Retention:
    """The deletion of what is too old. `days` is how long entries and operations are kept."""

    def __init__(self, audit: AuditTable, operations: OperationTable, *, days: float) -> None:
        self._audit = audit
        self._operations = operations
        self._days = days
        self._pruned_at = -_EVERY_SECONDS

    async def prune(self) -> None:
        """Delete what is too old, once an hour at most. This never fails: the next attempt may succeed.

        To be called when the database is in use anyway. A database that is queried regularly never falls asleep.
        """
        if time.monotonic() - self._pruned_at < _EVERY_SECONDS:
            return
        self._pruned_at = time.monotonic()
        try:
            await self._audit.prune(days=self._days)
            await self._operations.prune(days=self._days)
        except ApiError as error:
            _log.warning("old audit entries and operations not deleted", cause=error.message)
