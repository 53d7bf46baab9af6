"""Applications that run in this process, and the comparison of their responses."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch
from urllib.parse import urlencode

from schema import build_schema
from schema.ports.admin.tables import SyncPolicy, SyncState
from schema.ports.freshness import SyncedAsOf
from server.observability.request_record import current_record
from server.process.app import create_app
from server.settings import Settings
from server.traffic.draining import Draining
from tests.differences.unlimited import UNLIMITED, unlimited

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping

    import strawberry
    from graphql import GraphQLSchema
    from starlette.applications import Starlette
    from starlette.types import Message

    from schema.context import Context
    from schema.ports.columns import Table

PATH: Final = "/api/graphql"
# These differ with each request, or follow from the body's bytes, which errors in another order change.
_OWN_HEADERS: Final = frozenset({b"x-request-id", b"server-timing", b"content-length", b"etag"})
_HOST: Final = (b"host", b"127.0.0.1")
_PATIENCE_SECONDS: Final = 60.0
_PATIENT_CONSTANTS: Final = (
    "server.db.engine._AGGREGATE_WAIT_SECONDS",
    "server.db.engine._PAGE_WAIT_SECONDS",
    "server.process.lifespan._AGGREGATES_SECONDS",
)


@dataclass(frozen=True)
class Answer:
    """The response to one request, and its outcome in the log."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    operation: str | None
    outcomes: list[str]
    fast: bool

    def same_as(self, other: Answer) -> bool:
        """Whether the client and the log see the same.

        An answer without errors has the same bytes, and so the same entity tag. Errors may be in any order: fields that
        are read side by side fail in any.
        """
        mine = (self.status, self.headers, self.operation, self.outcomes)
        if mine != (other.status, other.headers, other.operation, other.outcomes):
            return False
        return self.body == other.body or (bool(self.outcomes) and decoded(self.body) == decoded(other.body))

    def __str__(self) -> str:
        return f"{self.status} {'fast' if self.fast else 'slow'} {self.outcomes} {self.body.decode()}"


class Application:
    """A running application."""

    def __init__(self, app: Starlette, state: Mapping[str, Any]) -> None:
        self._app = app
        self._state = state

    @property
    def context(self) -> Context:
        """The context of its resolvers, without a caller."""
        context: Context = self._state["context"]
        return context

    async def ask(self, body: Mapping[str, Any], *, get: bool = False, accept: str = "*/*") -> Answer:
        """Send a POST with this body, or a GET with the same as parameters."""
        sent, query, record = b"", b"", None
        if get:
            given = {name: value for name, value in body.items() if value is not None}
            query = urlencode(
                {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
            ).encode()
        else:
            sent = json.dumps(body).encode()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET" if get else "POST",
            "scheme": "http",
            "path": PATH,
            "raw_path": PATH.encode(),
            "root_path": "",
            "query_string": query,
            "headers": [_HOST, (b"content-type", b"application/json"), (b"accept", accept.encode())],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "state": dict(self._state),
        }
        messages: list[Message] = []
        ended = False

        async def receive() -> Message:
            nonlocal ended
            if not ended:
                ended = True
                return {"type": "http.request", "body": sent, "more_body": False}
            # The client stays connected.
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Message) -> None:
            nonlocal record
            record = current_record.get()
            messages.append(message)

        await self._app(scope, receive, send)
        assert record is not None
        return Answer(
            status=messages[0]["status"],
            headers=sorted(header for header in messages[0]["headers"] if header[0] not in _OWN_HEADERS),
            body=b"".join(message.get("body", b"") for message in messages[1:]),
            operation=record.operation,
            outcomes=sorted(record.errors),
            fast=record.fast,
        )


@asynccontextmanager
async def application(url: str, *, fast: bool, fresh: bool = True, **settings: Any) -> AsyncIterator[Application]:
    """Run an application on this database. It answers every query, with timeouts longer than a busy machine needs.

    `fresh` says whether something is known of the freshness of the tables.
    """
    patient = dict.fromkeys(("statement_timeout", "request_timeout"), _PATIENCE_SECONDS)
    given = Settings.model_validate(
        {
            "database_url": url,
            "fast_path": fast,
            "page_size_default": 6,
            **UNLIMITED,
            **patient,
            **settings,
        }
    )
    async with AsyncExitStack() as running:
        # Read for each document, not once.
        running.enter_context(patch("schema.turns._LONGEST_SECONDS", _PATIENCE_SECONDS))
        with ExitStack() as patches:
            patches.enter_context(unlimited())
            patches.enter_context(patch("server.process.app.build_schema", _with_shared_core))
            for constant in _PATIENT_CONSTANTS:
                patches.enter_context(patch(constant, _PATIENCE_SECONDS))
            app = create_app(given, Draining())
            state = await running.enter_async_context(app.router.lifespan_context(app))
        found = {**(state or {})}
        if fresh and state:
            found["context"] = replace(state["context"], freshness=_Freshness())
        yield Application(app, found)


class _Freshness:
    """Tells something else of each table, and nothing of some, as a platform may."""

    def of(self, table: Table) -> SyncedAsOf | None:
        """What the letters of its name make."""
        number = sum(table.name.encode())
        at = datetime.fromtimestamp(number * 10**6, UTC) if number % 2 else None
        policy = list(SyncPolicy)[number % 3] if number % 4 else None
        return SyncedAsOf(at, at, number << 50, list(SyncState)[number % 12], policy) if number % 3 else None


# By the tables and the hidden fields. A document is validated once for each schema object, so a new one would be costly.
_schemas: dict[frozenset[str], GraphQLSchema] = {}


def _with_shared_core(*, tables: Collection[str], hidden_fields: Collection[str], **keywords: Any) -> strawberry.Schema:
    """A schema of its own that shares graphql-core's schema with other applications that have the same fields."""
    schema = build_schema(tables=tables, hidden_fields=hidden_fields, **keywords)
    schema._schema = _schemas.setdefault(frozenset({*tables, *hidden_fields}), schema._schema)  # noqa: SLF001 # there is no public way
    return schema


def decoded(body: bytes) -> str:
    """A response as text, for comparison: to Python, 1, 1.0 and True would be equal."""
    pairs = json.loads(body, object_pairs_hook=tuple)
    return repr([(name, sorted(map(_comparable_error, value)) if name == "errors" else value) for name, value in pairs])


def _comparable_error(error: tuple[tuple[str, Any], ...]) -> str:
    # Each request has its own id.
    return repr(
        [(name, [x for x in value if x[0] != "errorId"] if name == "extensions" else value) for name, value in error]
    )
