"""Owns the metrics: their names, what they mean to an operator, and the noting of events.

prometheus_client is imported by this file and `server/observability/exposition.py` alone: it decides when it is
imported, by PROMETHEUS_MULTIPROC_DIR, whether values are kept in the process or in files that every worker reads.
"""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, values

from schema.errors import Reason

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

Transport = Literal["http", "websocket", "sse"]
_Mode = Literal["livesum", "livemax", "livemin"]

MULTIPROCESS: Final = "PROMETHEUS_MULTIPROC_DIR" in os.environ
CLIENT_GONE: Final = "CLIENT_GONE"
# A frontend has a few dozen operations; of more names than this many are made up by the request.
_NAMES: Final = 100
_OTHER: Final = "other"
_ANONYMOUS: Final = "anonymous"
_NO_OPERATION: Final = "-"
_BAD_REQUEST: Final = 400
_BUCKETS_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

if MULTIPROCESS:
    # It asks who it is whenever anything is counted, five times a request. Workers are spawned and never forked, so
    # that nobody becomes another.
    _PROCESS: Final = os.getpid()
    values.ValueClass = values.MultiProcessValue(lambda: _PROCESS)  # type: ignore[no-untyped-call] # as below
# When a series began, as a series of its own: twice as many, and none of them in multiprocess mode.
disable_created_metrics()  # type: ignore[no-untyped-call] # prometheus_client leaves it untyped
REGISTRY: Final = CollectorRegistry()


@dataclass(frozen=True, slots=True)
class Described:
    """A metric as the README has it."""

    name: str
    labels: tuple[str, ...]
    meaning: str


DESCRIBED: Final[list[Described]] = []


def _counter(name: str, meaning: str, *labels: str) -> Counter:
    DESCRIBED.append(Described(name, labels, meaning))
    return Counter(name, meaning, labels, registry=REGISTRY)


def _gauge(name: str, meaning: str, *labels: str, mode: _Mode = "livesum") -> Gauge:
    DESCRIBED.append(Described(name, labels, meaning))
    return Gauge(name, meaning, labels, registry=REGISTRY, multiprocess_mode=mode)


def _seconds(name: str, meaning: str, *labels: str) -> Histogram:
    DESCRIBED.append(Described(name, labels, meaning))
    return Histogram(name, meaning, labels, registry=REGISTRY, buckets=_BUCKETS_SECONDS)


_REQUESTS: Final = _counter(
    "orders_api_requests_total",
    "Requests answered, by how they ended: alert on the share of INTERNAL, DATABASE_UNAVAILABLE and POOL_EXHAUSTED. "
    "A subscription counts at its end.",
    "transport",
    "operation",
    "outcome",
)
_REQUEST_SECONDS: Final = _seconds(
    "orders_api_request_duration_seconds",
    "How long requests took, subscriptions left out: watch the 99th percentile by operation.",
    "transport",
    "operation",
)
_SUBSCRIPTIONS: Final = _gauge(
    "orders_api_subscriptions",
    "Subscriptions open now: what a restart would have come back at once.",
    "transport",
)
_FEED_SUBSCRIBERS: Final = _gauge(
    "orders_api_feed_subscribers",
    "Subscribers that hear of changes of statuses; while there are any, a database is kept awake.",
)
_STATEMENT_SECONDS: Final = _seconds(
    "orders_api_statement_duration_seconds",
    "How long SQL statements took, failed ones too: where it rises with the requests', look at the database first.",
    "pool",
)
_STATEMENT_ROWS: Final = _counter(
    "orders_api_statement_rows_total",
    "Rows that SQL statements gave: rows per request say whether pages grow.",
    "pool",
)
_SLOW_STATEMENTS: Final = _counter(
    "orders_api_slow_statements_total",
    "Statements that took SLOW_STATEMENT or longer: the log has each with its fingerprint.",
)
_POOL_CONNECTIONS: Final = _gauge(
    "orders_api_pool_connections",
    "Database connections open now, used and idle: summed over the pools, what the instance's limit has to allow.",
    "pool",
    "state",
)
_POOL_SIZE: Final = _gauge(
    "orders_api_pool_size_connections",
    "Database connections that the pools may open: used near it for long means that POOL_EXHAUSTED is near.",
    "pool",
)
_POOL_WAITING: Final = _gauge(
    "orders_api_pool_waiting_requests",
    "Requests that wait for a database connection now: above 0 for long, the pool or the database is too small.",
    "pool",
)
_OPERATIONS: Final = _gauge(
    "orders_api_operations_at_work",
    "Admin operations being worked on now: one that stays for hours waits for the platform, and says for what itself.",
    "state",
)
_OPERATIONS_ENDED: Final = _counter(
    "orders_api_operations_ended_total",
    "Admin operations that have ended: alert on any FAILED.",
    "kind",
    "state",
)
_TOKEN_MINTS: Final = _counter(
    "orders_api_token_mints_total",
    "Database tokens asked of the platform: alert on `failed` that go on, for logins fail once the last token ends.",
    "outcome",
)
MINTED: Final = "orders_api_token_minted_timestamp_seconds"
_TOKEN_MINTED: Final = _gauge(
    MINTED,
    "When the latest database token was minted, in Unix time; 0 where none was.",
    mode="livemax",
)
_READY: Final = _gauge(
    "orders_api_ready",
    "1 where every worker can serve, 0 where any cannot: /readyz says why.",
    "part",
    mode="livemin",
)

# Finding a series by its labels costs more than adding to it; there are as many as the labels' bounds allow.
_requests_of = cache(_REQUESTS.labels)
_request_seconds_of = cache(_REQUEST_SECONDS.labels)
_statement_seconds_of = cache(_STATEMENT_SECONDS.labels)
_statement_rows_of = cache(_STATEMENT_ROWS.labels)


_COUNTED_AT_ONCE: Final = 256
_requests: Final[deque[tuple[Transport, str, str, float | None]]] = deque()
_statements: Final[deque[tuple[str, float, int]]] = deque()


class OperationNames:
    """Which names of operations are labels. They come from callers: a bounded number, and only of what succeeded."""

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
    """How a request ended, in a bounded number of words: of several reasons, the one with the worst HTTP status."""
    if not errors:
        return "ok" if status < _BAD_REQUEST else f"HTTP_{status}"
    reasons = [Reason[error] for error in errors if error in Reason.__members__]
    if reasons:
        return max(reasons, key=lambda reason: (reason.value.status, reason.name)).name
    return CLIENT_GONE if CLIENT_GONE in errors else Reason.INTERNAL.name


def note_request(
    *, transport: Transport, operation: str | None, outcome: str, seconds: float | None, graphql: bool = True
) -> None:
    """A request has ended.

    Args:
        transport: how it came.
        operation: its operation's name, if it has one.
        outcome: as `outcome_label` has it.
        seconds: how long it took; None for a subscription, whose length is the client's affair.
        graphql: whether it asked for the API at all.
    """
    name = _names.label(operation, succeeded=outcome == "ok") if graphql else _NO_OPERATION
    _requests.append((transport, name, outcome, seconds))
    if len(_requests) >= _COUNTED_AT_ONCE:
        count()


def note_refusals(outcome: str, number: int) -> None:
    """So many requests were refused before they were served: whatever they asked for was not read."""
    _requests_of("http", _NO_OPERATION, outcome).inc(number)


def note_statement(*, pool: str, seconds: float, rows: int) -> None:
    """A statement has ended, well or not."""
    _statements.append((pool, seconds, rows))
    if len(_statements) >= _COUNTED_AT_ONCE:
        count()


def count() -> None:
    """Count the requests and statements that were noted: some hundred at once take a third of the time of each alone.

    The sampler does it before they are told, and every second where another worker may be the one who tells them.
    """
    while _requests:
        transport, name, outcome, seconds = _requests.popleft()
        _requests_of(transport, name, outcome).inc()
        if seconds is not None:
            _request_seconds_of(transport, name).observe(seconds)
    while _statements:
        pool, taken, rows = _statements.popleft()
        _statement_seconds_of(pool).observe(taken)
        if rows:
            _statement_rows_of(pool).inc(rows)


def note_slow_statement() -> None:
    """A statement was slow."""
    _SLOW_STATEMENTS.inc()


def note_subscription(transport: Transport, change: Literal[1, -1]) -> None:
    """A subscription has begun, or ended."""
    _SUBSCRIPTIONS.labels(transport).inc(change)


def note_operation_ended(*, kind: str, state: str) -> None:
    """An admin operation has ended."""
    _OPERATIONS_ENDED.labels(kind, state).inc()


def note_mint(*, ok: bool) -> None:
    """The platform was asked for a database token, and gave one or did not."""
    _TOKEN_MINTS.labels("ok" if ok else "failed").inc()
    if ok:
        _TOKEN_MINTED.set(time.time())


def set_pool(name: str, *, size: int, used: int, idle: int, waiting: int) -> None:
    """How a pool of connections is now."""
    _POOL_SIZE.labels(name).set(size)
    _POOL_CONNECTIONS.labels(name, "used").set(used)
    _POOL_CONNECTIONS.labels(name, "idle").set(idle)
    _POOL_WAITING.labels(name).set(waiting)


def set_feed_subscribers(number: int) -> None:
    """How many hear of changes now."""
    _FEED_SUBSCRIBERS.set(number)


def set_operations_at_work(numbers: Mapping[str, int]) -> None:
    """How many admin operations are at work now, by every state that they can be at work in."""
    for state, number in numbers.items():
        _OPERATIONS.labels(state).set(number)


def set_ready(parts: Mapping[str, bool]) -> None:
    """What can be served now, by its part."""
    for part, ready in parts.items():
        _READY.labels(part).set(ready)
