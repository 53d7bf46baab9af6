"""Where observations go: `observe` hands each to the log, the metrics and the request's record, as `_SINKS` says."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Any, Final

import structlog

from server.observability import metrics
from server.observability.access_log import access_log
from server.observability.log_setup import cut
from server.observability.observations import (
    AdminOperationEnded,
    InstanceSeen,
    MemoryHigh,
    MemoryShort,
    Observation,
    OperationServed,
    RequestRefused,
    RequestServed,
    RequestsShed,
    SlowStatement,
    StatementRun,
    SubscriptionEnded,
    SubscriptionStarted,
    SyncSeen,
    TokenMinted,
    TokenMintFailed,
)
from server.observability.request_record import current_record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_connections_log = structlog.get_logger("connections")
_memory_log = structlog.get_logger("memory")
_operation_log = structlog.get_logger("operation")
_statement_log = structlog.get_logger("statement")
_tokens_log = structlog.get_logger("tokens")

# The paths that the server has are shorter. A character may take twelve in JSON.
_PATH_CHARACTERS: Final = 100
_BAD_REQUEST: Final = 400
_FINGERPRINT_DIGITS: Final = 16
_MEGABYTE: Final = 1 << 20


def observe(observation: Observation) -> None:
    """Log and count an observation."""
    for sink in _SINKS[type(observation)]:
        sink(observation)


class SlowStatements:
    """The number of seconds from which a statement is slow; `server/process/lifespan.py` sets it."""

    def __init__(self) -> None:
        self.from_seconds = 0.5


slow_statements: Final = SlowStatements()


def _log_request(request: RequestServed) -> None:
    # Health checks and scrapes come every few seconds: at INFO they would drown the rest. A refused scrape is news.
    quiet = request.purpose == "watch" or (request.purpose == "scrape" and request.status < _BAD_REQUEST)
    record = request.record
    access_log.write(
        logging.DEBUG if quiet else logging.INFO,
        {
            "method": request.method,
            "path": cut(request.path, _PATH_CHARACTERS),
            "status": request.status,
            "operation": record.operation,
            "outcome": record.outcome(request.status),
            "duration_ms": round(request.seconds * 1000, 2),
            "database_ms": round(record.database_seconds * 1000, 2),
            "statements": record.statements,
            "rows": record.rows,
            "fast": record.fast,
            "caller": request.client,
            "request_id": record.request_id,
        },
    )


def _log_operation(operation: OperationServed) -> None:
    record = operation.record
    _operation_log.info(
        "operation",
        transport="graphql-transport-ws",
        operation=record.operation,
        outcome=record.outcome(0),
        events=operation.events,
        duration_ms=round(operation.seconds * 1000, 2),
        database_ms=round(record.database_seconds * 1000, 2),
        statements=record.statements,
        rows=record.rows,
        request_id=record.request_id,
    )


def _log_refusal(refusal: RequestRefused) -> None:
    access_log.write(
        logging.INFO,
        {
            "method": None,
            "path": None,
            "status": refusal.reason.value.status,
            "outcome": refusal.reason.name,
            "caller": refusal.client,
        },
    )


def _log_shed(shed: RequestsShed) -> None:
    _connections_log.warning("overloaded", refused=shed.number)


def _log_high_memory(memory: MemoryHigh) -> None:
    if memory.begins:
        _memory_log.warning("memory high: the caches are let go", **_megabytes(memory))
    else:
        _memory_log.info("memory normal again", **_megabytes(memory))


def _log_short_memory(memory: MemoryShort) -> None:
    if memory.begins:
        _memory_log.error("short of memory: new work is refused", **_megabytes(memory))
    else:
        _memory_log.info("new work is taken again", **_megabytes(memory))


def _megabytes(memory: MemoryHigh | MemoryShort) -> dict[str, int]:
    return {"held_mb": memory.held // _MEGABYTE, "limit_mb": memory.limit // _MEGABYTE}


def _record_statement(statement: StatementRun) -> None:
    _text, rows, seconds, _pool = statement
    record = current_record.get()
    if record is not None:
        record.rows += rows
        record.statements += 1
        record.database_seconds += seconds
    if seconds >= slow_statements.from_seconds:
        observe(SlowStatement(statement, record))


def _log_slow_statement(slow: SlowStatement) -> None:
    statement, record = slow
    text = statement.text()
    # The text has literals of ours in it, page sizes for example, but never a client's values.
    shown = {"text": text} if logging.getLogger("statement").isEnabledFor(logging.DEBUG) else {}
    _statement_log.warning(
        "slow statement",
        operation=record.operation if record else None,
        fingerprint=hashlib.sha256(text.encode()).hexdigest()[:_FINGERPRINT_DIGITS],
        duration_ms=round(statement.seconds * 1000, 2),
        rows=statement.rows,
        request_id=record.request_id if record else None,
        **shown,
    )


def _log_failed_mint(failed: TokenMintFailed) -> None:
    # Once for each cause. Without the old token logins fail, which makes the server not ready: that is logged then.
    if failed.old_token_lives and not failed.repeated:
        _tokens_log.warning("no new token", reason=failed.reason.name, cause=failed.message)


def _log_mint(minted: TokenMinted) -> None:
    if minted.recovered:
        _tokens_log.info("new token again")


_SINKS: Final[Mapping[type[Observation], tuple[Callable[[Any], None], ...]]] = {
    RequestServed: (metrics.count_request, _log_request),
    OperationServed: (metrics.count_operation, _log_operation),
    RequestRefused: (metrics.count_refusal, _log_refusal),
    RequestsShed: (metrics.count_shed, _log_shed),
    MemoryHigh: (_log_high_memory,),
    MemoryShort: (metrics.count_short_memory, _log_short_memory),
    SubscriptionStarted: (metrics.count_subscription_started,),
    SubscriptionEnded: (metrics.count_subscription_ended,),
    StatementRun: (metrics.count_statement, _record_statement),
    SlowStatement: (metrics.count_slow_statement, _log_slow_statement),
    TokenMinted: (metrics.count_mint, _log_mint),
    TokenMintFailed: (metrics.count_failed_mint, _log_failed_mint),
    AdminOperationEnded: (metrics.count_admin_operation,),
    SyncSeen: (metrics.set_sync,),
    InstanceSeen: (metrics.set_instance,),
}
