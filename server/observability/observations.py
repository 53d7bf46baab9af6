"""Observations: events for the log and the metrics, as values.

Code that notices an event makes one of these and hands it to `observe` (server/observability/sinks.py).

They are named tuples, not frozen dataclasses: those take three times as long to make, and every statement makes one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from schema.errors import Reason
    from server.observability.request_record import RequestRecord, Transport

Purpose = Literal["graphql", "scrape", "watch", "other"]


class RequestServed(NamedTuple):
    """An HTTP request has been answered, or its client has gone away.

    `purpose` is `graphql`, `scrape` (of the metrics), `watch` (health checks and GraphiQL's files) or `other`.
    `client` is the address that the request came from.
    """

    record: RequestRecord
    method: str
    path: str
    status: int
    seconds: float
    purpose: Purpose
    client: str | None


class OperationServed(NamedTuple):
    """A GraphQL operation on a WebSocket has ended. `events` is the number of its `next` messages."""

    record: RequestRecord
    events: int
    seconds: float


class RequestRefused(NamedTuple):
    """The connection itself refused a request, which was not read to its end."""

    reason: Reason
    client: str | None


class RequestsShed(NamedTuple):
    """This number of requests was refused as OVERLOADED since the last such observation."""

    number: int


class MemoryHigh(NamedTuple):
    """The process holds much of its memory limit and has let its caches go; or, unless `begins`, no longer does.

    `held` and `limit` are bytes.
    """

    held: int
    limit: int
    begins: bool


class MemoryShort(NamedTuple):
    """The process holds more than its memory limit and refuses new work; or, unless `begins`, takes it again.

    `held` and `limit` are bytes.
    """

    held: int
    limit: int
    begins: bool


class SubscriptionStarted(NamedTuple):
    """A subscription has been accepted."""

    transport: Transport


class SubscriptionEnded(NamedTuple):
    """A subscription is over, whichever side ended it."""

    transport: Transport


class StatementRun(NamedTuple):
    """An SQL statement has finished or failed.

    `text` returns the statement with its placeholders. It is called only if the statement was slow. `pool` is the name
    of the connection's pool.
    """

    text: Callable[[], str]
    rows: int
    seconds: float
    pool: str


class SlowStatement(NamedTuple):
    """A statement took SLOW_STATEMENT seconds or more. `record` is that of the request it was run for, if any."""

    statement: StatementRun
    record: RequestRecord | None


class TokenMinted(NamedTuple):
    """The platform gave a new database token. `recovered`: the request before this one had failed."""

    recovered: bool = False


class TokenMintFailed(NamedTuple):
    """The platform gave no database token.

    `old_token_lives`: logins still succeed, with the previous token. `repeated`: the last request for a token failed
    for the same reason.
    """

    reason: Reason
    message: str
    old_token_lives: bool
    repeated: bool


class AdminOperationEnded(NamedTuple):
    """An admin operation of this kind has ended in this state."""

    kind: str
    state: str


class SyncSeen(NamedTuple):
    """The platform has told of a synced table: its state, and the Unix time at which its last sync ended.

    None stands for what there is not: such a sync, or such a table.
    """

    table: str
    state: str | None
    synced_at: float | None


class InstanceSeen(NamedTuple):
    """The platform has told the state of the served endpoint or instance; None if there is no such thing."""

    state: str | None


Observation = (
    RequestServed
    | OperationServed
    | RequestRefused
    | RequestsShed
    | MemoryHigh
    | MemoryShort
    | SubscriptionStarted
    | SubscriptionEnded
    | StatementRun
    | SlowStatement
    | TokenMinted
    | TokenMintFailed
    | AdminOperationEnded
    | SyncSeen
    | InstanceSeen
)
