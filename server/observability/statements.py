"""Owns the line that a slow statement leaves in the log: which, for whom, how long; never with what values."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Final

import structlog

from server.observability import metrics
from server.observability.request_record import current_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.observability.request_record import RequestRecord

_log = structlog.get_logger("statement")
_FINGERPRINT_DIGITS: Final = 16


class SlowStatements:
    """From how many seconds on a statement is slow; `server/lifespan.py` sets it."""

    def __init__(self) -> None:
        self.from_seconds = 0.5

    def note(self, record: RequestRecord | None, *, text: Callable[[], str], seconds: float, rows: int) -> bool:
        """Log a statement if it was slow, and say so; only then is its text made."""
        if seconds < self.from_seconds:
            return False
        statement = text()
        # Its placeholders stand in it, and literals of ours: page sizes, say.
        said = {"text": statement} if logging.getLogger("statement").isEnabledFor(logging.DEBUG) else {}
        _log.warning(
            "slow statement",
            operation=record.operation if record else None,
            fingerprint=hashlib.sha256(statement.encode()).hexdigest()[:_FINGERPRINT_DIGITS],
            duration_ms=round(seconds * 1000, 2),
            rows=rows,
            request_id=record.request_id if record else None,
            **said,
        )
        return True


slow_statements: Final = SlowStatements()


def note_statement(*, text: Callable[[], str], rows: int, seconds: float, pool: str = "") -> None:
    """Note a finished statement, one that failed too: on the request being served, in the metrics, and if it was slow.

    Args:
        text: gives the statement with its placeholders; called only where it was slow.
        rows: how many it gave.
        seconds: how long it took.
        pool: the name of the pool that its connection is of, where that is known.
    """
    record = current_record.get()
    if record is not None:
        record.rows += rows
        record.statements += 1
        record.database_seconds += seconds
    metrics.note_statement(pool=pool, seconds=seconds, rows=rows)
    if slow_statements.note(record, text=text, seconds=seconds, rows=rows):
        metrics.note_slow_statement()
