"""The metrics: their names, what they mean to an operator, and how observations are counted.

Only this file and `server/observability/exposition.py` import prometheus_client. At its import it decides, by
PROMETHEUS_MULTIPROC_DIR, whether it keeps values in the process or in files that every worker reads.
"""

from __future__ import annotations

import os
import time
from collections import deque
from functools import cache
from typing import TYPE_CHECKING, Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, values

from schema.errors import Reason
from schema.ports.admin.branches import EndpointState
from schema.ports.admin.instances import InstanceState
from schema.ports.admin.tables import SyncState
from server.observability.request_record import CLIENT_GONE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from server.observability.observations import (
        AdminOperationEnded,
        InstanceSeen,
        MemoryShort,
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
    from server.observability.request_record import RequestRecord, Transport

_Mode = Literal["livesum", "livemax", "livemin", "livemostrecent"]

MULTIPROCESS: Final = "PROMETHEUS_MULTIPROC_DIR" in os.environ
# A frontend has a few dozen operations. If there are more names than this, clients make them up.
_NAMES: Final = 100
_OTHER: Final = "other"
_ANONYMOUS: Final = "anonymous"
_NO_OPERATION: Final = "-"
_BAD_REQUEST: Final = 400
_BUCKETS_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

if MULTIPROCESS:
    # By default prometheus_client calls getpid whenever anything is counted, five times a request. Workers are spawned,
    # never forked, so a process keeps its id.
    _PROCESS: Final = os.getpid()
    values.ValueClass = values.MultiProcessValue(lambda: _PROCESS)  # type: ignore[no-untyped-call] # as below
# prometheus_client would add a series with the time at which each one began: twice as many, and none with workers.
disable_created_metrics()  # type: ignore[no-untyped-call] # prometheus_client leaves it untyped
REGISTRY: Final = CollectorRegistry()


def _counter(name: str, meaning: str, *labels: str) -> Counter:
    return Counter(name, meaning, labels, registry=REGISTRY)


def _gauge(name: str, meaning: str, *labels: str, mode: _Mode = "livesum") -> Gauge:
    return Gauge(name, meaning, labels, registry=REGISTRY, multiprocess_mode=mode)


def _seconds(name: str, meaning: str, *labels: str) -> Histogram:
    return Histogram(name, meaning, labels, registry=REGISTRY, buckets=_BUCKETS_SECONDS)


# The table in README.md has the same texts, which a test compares.
_REQUESTS: Final = _counter(
    "orders_api_requests_total",
    "Requests answered, by outcome. Alert on the share of INTERNAL, DATABASE_UNAVAILABLE and POOL_EXHAUSTED. "
    "A subscription counts when it ends.",
    "transport",
    "operation",
    "outcome",
)
_REQUEST_SECONDS: Final = _seconds(
    "orders_api_request_duration_seconds",
    "How long requests took, without subscriptions. Watch the 99th percentile of each operation.",
    "transport",
    "operation",
)
_SUBSCRIPTIONS: Final = _gauge(
    "orders_api_subscriptions",
    "Subscriptions open now. After a restart they all come back at once.",
    "transport",
)
_FEED_SUBSCRIBERS: Final = _gauge(
    "orders_api_feed_subscribers",
    "Subscribers of the feed of status changes. While there are any, the database is kept awake.",
)
_STATEMENT_SECONDS: Final = _seconds(
    "orders_api_statement_duration_seconds",
    "How long SQL statements took, failed ones included. If it rises with the requests', look at the database first.",
    "pool",
)
_STATEMENT_ROWS: Final = _counter(
    "orders_api_statement_rows_total",
    "Rows that SQL statements returned. Rows per request show whether pages grow.",
    "pool",
)
_SLOW_STATEMENTS: Final = _counter(
    "orders_api_slow_statements_total",
    "Statements that took SLOW_STATEMENT seconds or more. The log has each with its fingerprint.",
)
_POOL_CONNECTIONS: Final = _gauge(
    "orders_api_pool_connections",
    "Database connections open now, used and idle. Their sum over all pools must fit the instance's limit.",
    "pool",
    "state",
)
_POOL_SIZE: Final = _gauge(
    "orders_api_pool_size_connections",
    "Database connections that the pool may open. If `used` stays near it, POOL_EXHAUSTED is near.",
    "pool",
)
_POOL_WAITING: Final = _gauge(
    "orders_api_pool_waiting_requests",
    "Requests in the wait queue now. If it stays above 0, the pool or the database is too small.",
    "pool",
)
_OPERATIONS: Final = _gauge(
    "orders_api_operations_at_work",
    "Admin operations in progress. One that stays for hours waits for the platform; the operation says for what.",
    "state",
)
_OPERATIONS_ENDED: Final = _counter(
    "orders_api_operations_ended_total",
    "Admin operations that have ended. Alert on any FAILED.",
    "kind",
    "state",
)
_TOKEN_MINTS: Final = _counter(
    "orders_api_token_mints_total",
    "Requests to the platform for a database token. Alert if `failed` goes on: logins fail when the last token ends.",
    "outcome",
)
MINTED: Final = "orders_api_token_minted_timestamp_seconds"
_TOKEN_MINTED: Final = _gauge(
    MINTED,
    "When the latest database token was minted, in Unix time; 0 if none was.",
    mode="livemax",
)
# Derived from it at a scrape.
AGE: Final = "orders_api_token_age_seconds"
AGE_MEANING: Final = (
    "Age of the latest database token. A token lives for an hour and is renewed after half of it: alert at 50 minutes."
)
SYNCED: Final = "orders_api_sync_timestamp_seconds"
_SYNCED: Final = _gauge(
    SYNCED,
    "When the last sync of a served table ended, in Unix time, as the platform last told; 0 if it told of none.",
    "table",
    mode="livemostrecent",
)
# Derived from it at a scrape.
SYNC_AGE: Final = "orders_api_sync_age_seconds"
SYNC_AGE_MEANING: Final = (
    "How long ago the last sync of a served table ended. Alert above the interval at which it should be synced. It "
    "grows while the platform does not answer, too."
)
_SYNC_STATE: Final = _gauge(
    "orders_api_sync_state",
    "1 for the state of a served table's sync, as the platform last told, 0 for all others. Alert on "
    "ONLINE_PIPELINE_FAILED and OFFLINE_FAILED.",
    "table",
    "state",
    mode="livemostrecent",
)
_INSTANCE_STATE: Final = _gauge(
    "orders_api_instance_state",
    "1 for the state of the served endpoint or instance, as the platform last told, 0 for all others. IDLE is asleep.",
    "state",
    mode="livemostrecent",
)
# All are set at each look: otherwise two workers could each show another state.
_SYNC_STATES: Final = tuple(state.value for state in SyncState)
_INSTANCE_STATES: Final = tuple({state.value: None for kind in (EndpointState, InstanceState) for state in kind})
_RESIDENT: Final = _gauge(
    "orders_api_resident_memory_bytes",
    "Memory that a worker holds, of the one that holds most.",
    mode="livemax",
)
_MEMORY_LIMIT: Final = _gauge(
    "orders_api_memory_limit_bytes",
    "Memory above which a worker refuses new work; 0 if there is no limit. From 80 % of it on its caches are let go.",
    mode="livemax",
)
_SHORTAGES: Final = _counter(
    "orders_api_memory_shortages_total",
    "How often a worker began to refuse new work because it held more than its memory limit. Alert on any.",
)
_READY: Final = _gauge(
    "orders_api_ready",
    "1 if every worker can serve, 0 if one cannot. /readyz says why.",
    "part",
    mode="livemin",
)

# Finding a series by its labels costs more than adding to it. The caches are bounded, because the labels are.
_requests_of = cache(_REQUESTS.labels)
_request_seconds_of = cache(_REQUEST_SECONDS.labels)
_statement_seconds_of = cache(_STATEMENT_SECONDS.labels)
_statement_rows_of = cache(_STATEMENT_ROWS.labels)

# Counting some hundred at once takes a third of the time.
_BATCH: Final = 256
_requests: Final[deque[tuple[Transport, str, str, float | None]]] = deque()
_statements: Final[deque[tuple[str, float, int]]] = deque()


class OperationNames:
    """The operation names that are labels. Clients choose names, so only names that succeeded, and a bounded number."""

    def __init__(self, most: int = _NAMES) -> None:
        self._most = most
        self._known: set[str] = set()

    def label(self, name: str | None, *, succeeded: bool) -> str:
        """The label of an operation with this name."""
        if name is None:
            return _ANONYMOUS
        if name in self._known:
            return name
        if succeeded and len(self._known) < self._most:
            self._known.add(name)
            return name
        return _OTHER


_names: Final = OperationNames()


def outcome_label(errors: Collection[str], status: int) -> str:
    """How a request ended, as one of a bounded number of labels: of several reasons, the one with the worst status."""
    if not errors:
        return "ok" if status < _BAD_REQUEST else f"HTTP_{status}"
    reasons = [Reason[error] for error in errors if error in Reason.__members__]
    if reasons:
        return max(reasons, key=lambda reason: (reason.value.status, reason.name)).name
    return CLIENT_GONE if CLIENT_GONE in errors else Reason.INTERNAL.name


def count_request(request: RequestServed) -> None:
    """Count a request, unless it is a health check, a scrape, or for one of GraphiQL's files."""
    if request.purpose == "graphql":
        _count_operation(request.record, request.status, request.seconds)
    elif request.purpose == "other":
        record = request.record
        _append(record.transport, _NO_OPERATION, outcome_label(record.errors, request.status), request.seconds)


def count_operation(operation: OperationServed) -> None:
    """Count an operation of a WebSocket as a request."""
    _count_operation(operation.record, 0, operation.seconds)


def count_refusal(refusal: RequestRefused) -> None:
    """Count a refused request. Its transport is not known, because it was not read."""
    _requests_of("http", _NO_OPERATION, refusal.reason.name).inc()


def count_shed(shed: RequestsShed) -> None:
    """Count the requests that were shed."""
    _requests_of("http", _NO_OPERATION, Reason.OVERLOADED.name).inc(shed.number)


def count_short_memory(memory: MemoryShort) -> None:
    """Count the beginning of a shortage of memory."""
    if memory.begins:
        _SHORTAGES.inc()


def count_statement(statement: StatementRun) -> None:
    """Count a statement and its rows."""
    _statements.append((statement.pool, statement.seconds, statement.rows))
    if len(_statements) >= _BATCH:
        count()


def count() -> None:
    """Count the requests and statements that were observed since the last time."""
    requests: dict[tuple[Transport, str, str], int] = {}
    while _requests:
        transport, name, outcome, seconds = _requests.popleft()
        labels = transport, name, outcome
        requests[labels] = requests.get(labels, 0) + 1
        if seconds is not None:
            _request_seconds_of(transport, name).observe(seconds)
    for labels, number in requests.items():
        _requests_of(*labels).inc(number)
    rows: dict[str, int] = {}
    while _statements:
        pool, seconds, found = _statements.popleft()
        rows[pool] = rows.get(pool, 0) + found
        _statement_seconds_of(pool).observe(seconds)
    for pool, number in rows.items():
        if number:
            _statement_rows_of(pool).inc(number)


def count_slow_statement(_slow: SlowStatement) -> None:
    """Count a slow statement."""
    _SLOW_STATEMENTS.inc()


def count_subscription_started(started: SubscriptionStarted) -> None:
    """Add to the open subscriptions."""
    _SUBSCRIPTIONS.labels(started.transport).inc()


def count_subscription_ended(ended: SubscriptionEnded) -> None:
    """Subtract from the open subscriptions."""
    _SUBSCRIPTIONS.labels(ended.transport).dec()


def count_admin_operation(ended: AdminOperationEnded) -> None:
    """Count an admin operation that has ended."""
    _OPERATIONS_ENDED.labels(ended.kind, ended.state).inc()


def count_mint(_minted: TokenMinted) -> None:
    """Count a token, and keep the time."""
    _TOKEN_MINTS.labels("ok").inc()
    _TOKEN_MINTED.set(time.time())


def count_failed_mint(_failed: TokenMintFailed) -> None:
    """Count a failure. The time of the latest token stays."""
    _TOKEN_MINTS.labels("failed").inc()


def set_sync(seen: SyncSeen) -> None:
    """Set the state of a table's sync, and the time of the last one."""
    _SYNCED.labels(seen.table).set(seen.synced_at or 0)
    for state in _SYNC_STATES:
        _SYNC_STATE.labels(seen.table, state).set(state == seen.state)


def set_instance(seen: InstanceSeen) -> None:
    """Set the state of the served endpoint or instance."""
    for state in _INSTANCE_STATES:
        _INSTANCE_STATE.labels(state).set(state == seen.state)


def set_pool(name: str, *, size: int, used: int, idle: int, waiting: int) -> None:
    """Set how many connections a pool has now."""
    _POOL_SIZE.labels(name).set(size)
    _POOL_CONNECTIONS.labels(name, "used").set(used)
    _POOL_CONNECTIONS.labels(name, "idle").set(idle)
    _POOL_WAITING.labels(name).set(waiting)


def set_feed_subscribers(number: int) -> None:
    """Set how many subscribers the feed has now."""
    _FEED_SUBSCRIBERS.set(number)


def set_operations_at_work(numbers: Mapping[str, int]) -> None:
    """Set how many admin operations are in progress now, by each of their states."""
    for state, number in numbers.items():
        _OPERATIONS.labels(state).set(number)


def set_memory(resident_bytes: int, limit_bytes: int | None) -> None:
    """Set how much memory this process holds, and its limit."""
    _RESIDENT.set(resident_bytes)
    _MEMORY_LIMIT.set(limit_bytes or 0)


def set_ready(parts: Mapping[str, bool]) -> None:
    """Set which parts of the service can be served now."""
    for part, ready in parts.items():
        _READY.labels(part).set(ready)


def _count_operation(record: RequestRecord, status: int, seconds: float) -> None:
    outcome = outcome_label(record.errors, status)
    name = _names.label(record.operation, succeeded=outcome == "ok")
    # The client chooses how long a subscription lasts, so that says nothing about the server.
    _append(record.transport, name, outcome, None if record.subscription else seconds)


def _append(transport: Transport, name: str, outcome: str, seconds: float | None) -> None:
    _requests.append((transport, name, outcome, seconds))
    if len(_requests) >= _BATCH:
        count()
