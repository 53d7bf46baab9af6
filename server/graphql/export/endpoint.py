"""The export endpoint: sends every node of a connection over HTTP, for as long as the client reads and may."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from strawberry.types.execution import ExecutionResult, PreExecutionError

from schema.errors import ApiError, Reason, RequestError, UnavailableError
from server.graphql.answers import presented
from server.graphql.export.formats import CSV, NAMES, NDJSON, Csv, Ndjson
from server.graphql.export.operation import RefusedError
from server.graphql.export.pages import MOST_EXPORTS, FailedError
from server.http.caching import NO_STORE
from server.http.client import CLIENT_PRESENCE, TRAILERS, header
from server.http.error_response import present_refusal, refusal_headers, retry_headers
from server.http.negotiation import JSON, accepted_by, preferred
from server.observability.request_record import current_record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from starlette.types import Receive, Scope, Send

    from schema.context import Context
    from server.graphql.export.formats import Format
    from server.graphql.export.pages import Export, Exporter, Page
    from server.graphql.gateway import Gateway
    from server.graphql.request import RequestData
    from server.http.client import ClientPresence
    from server.http.compression import Compression, Encoding, GzipStream
    from server.traffic.admission import Admission
    from server.traffic.draining import Draining

_log = structlog.get_logger(__name__)
_METHODS: Final = "GET, POST"
_OK: Final = 200
_BAD_REQUEST: Final = 400
_FORBIDDEN: Final = 403
_VARY: Final = "accept, accept-encoding"
_ENDINGS: Final = {NDJSON: "ndjson", CSV: "csv"}
# The parameters of the URL beside those of a GraphQL request.
_FORMAT: Final = "format"
_FORMULAS: Final = "formulas"
_DEFUSED: Final = "defused"
_KEPT: Final = "kept"
# The trailer fields, which say what the last line of NDJSON says.
_HAS_NEXT: Final = "x-has-next-page"
_END_CURSOR: Final = "x-end-cursor"
# How often the caller's roles are looked at again.
_ROLES_SECONDS: Final = 30.0
# Of the errors in rows, which may be millions, only the first are reported.
_MOST_ERRORS: Final = 100
# How much longer than EXPORT_SECONDS the last page may take to be sent. The platform's proxy ends a request at 120 s.
_LAST_PAGE_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Terms:
    """What a request says beside its operation.

    Attributes:
        media: the media type of the response.
        defuse: whether formulas are defused.
        encoding: the encoding that it accepts.
        trailers: whether it accepts trailer fields.
    """

    media: str
    defuse: bool
    encoding: Encoding
    trailers: bool

    def writer(self, export: Export) -> Format:
        """What writes the rows.

        Raises:
            RefusedError: they cannot be written so.
        """
        return Csv(export.operation.cells(), defuse=self.defuse) if self.media == CSV else Ndjson()


class ExportEndpoint:
    """An ASGI endpoint that answers with all rows of a connection, page by page: not one snapshot of them.

    It ends by itself after EXPORT_SECONDS, and the client resumes after the last cursor. What it has in memory is one
    page that is being sent and one that is being read.

    Args:
        gateway: checks the requests.
        exporter: reads the pages.
        admission: refuses new work while memory is short.
        draining: says when the process is about to stop.
        compression: compresses the response.
        seconds: after how long an export ends.
    """

    def __init__(
        self,
        gateway: Gateway,
        exporter: Exporter,
        *,
        admission: Admission,
        draining: Draining,
        compression: Compression,
        seconds: float,
    ) -> None:
        self._gateway = gateway
        self._exporter = exporter
        self._admission = admission
        self._draining = draining
        self._compression = compression
        self._seconds = seconds
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        request = Request(scope, receive)
        try:
            # As for a query by GET: a page of another origin cannot read the response.
            context, data, terms = await self._gateway.prepare(
                request, self._negotiate, any_origin=request.method == "GET"
            )
            work = self._export(request, context, data, terms, send)
            presence: ClientPresence | None = scope.get(CLIENT_PRESENCE)
            await (work if presence is None else presence.while_there(work))
        except ApiError as error:
            answer, status = present_refusal(error)
            headers = refusal_headers(error)
            if error.reason is Reason.METHOD_NOT_ALLOWED:
                headers["allow"] = _METHODS
            await _refusal(answer, status, headers)(scope, receive, send)
        except FailedError as failed:
            headers = retry_headers(failed.answer, failed.status)
            await _refusal(failed.answer, failed.status, headers)(scope, receive, send)

    def _negotiate(self, request: Request) -> Terms:
        if request.method not in {"GET", "POST"}:
            raise RequestError(Reason.METHOD_NOT_ALLOWED, f"Use {_METHODS}.")
        given = request.query_params
        name, formulas = given.get(_FORMAT), given.get(_FORMULAS, _DEFUSED)
        if name is not None and name not in NAMES:
            raise RequestError(Reason.PARAMETER_INVALID, f"`{_FORMAT}` must be {' or '.join(NAMES)}.")
        if formulas not in {_DEFUSED, _KEPT}:
            raise RequestError(Reason.PARAMETER_INVALID, f"`{_FORMULAS}` must be {_DEFUSED} or {_KEPT}.")
        media = preferred(accepted_by(request), tuple(NAMES.values())) if name is None else NAMES[name]
        if media is None:
            raise RequestError(Reason.NOT_ACCEPTABLE, f"Accept {NDJSON} or {CSV}.")
        trailers = "trailers" in (header(request.scope, b"te") or "").lower()
        return Terms(media, formulas == _DEFUSED, self._compression.accepted(request.scope), trailers)

    async def _export(self, request: Request, context: Context, data: RequestData, terms: Terms, send: Send) -> None:
        """Send an export.

        Raises:
            ApiError, FailedError: it has not begun, because the request is refused, or its first page failed.
            ClientDisconnect: the client reads too slowly.
        """
        await self._gateway.take_turn(data, context)
        context = request.state.export_context(context)
        try:
            export = await self._exporter.prepare(data, context)
            writer = terms.writer(export)
        except RefusedError as refused:
            self._gateway.charge_mistake(context)
            kind = ExecutionResult if refused.of_values else PreExecutionError
            raise FailedError(*presented(kind(None, refused.errors), context, data.query, data.variables)) from None
        with self._place():
            # It takes longer than a response may, and so counts among the event streams.
            self._gateway.keep_open(request, context)
            fields: list[tuple[bytes, bytes]] = []
            if terms.trailers:
                request.scope[TRAILERS] = fields
            body = _Body(send, writer, self._compression.stream(terms.encoding), fields)
            await self._send(export, context, body, terms)

    @contextmanager
    def _place(self) -> Iterator[None]:
        self._admission.refuse_if_short()
        if self._running >= MOST_EXPORTS:
            raise UnavailableError(
                Reason.OVERLOADED, f"{MOST_EXPORTS} exports are running, which is all that the server does at once."
            )
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    async def _send(self, export: Export, context: Context, body: _Body, terms: Terms) -> None:
        expires_at, began = context.principal.expires_at, time.monotonic()
        until = min(began + self._seconds, began + self._seconds if expires_at is None else expires_at)
        outcome = _Outcome(cursor=export.exported.after)

        def ends() -> bool:
            return self._draining.begun or time.monotonic() >= until

        async with aclosing(self._exporter.pages(export, context, ends)) as pages:
            first = await anext(pages)
            try:
                async with asyncio.timeout(self._seconds + _LAST_PAGE_SECONDS):
                    await body.start(_headers(export, terms, compressed=body.compressed))
                    await self._send_pages(first, pages, context, body, outcome)
                    await body.end(outcome)
            except TimeoutError:
                raise ClientDisconnect from None
            finally:
                record = current_record.get()
                _log.info(
                    "exported",
                    user=context.principal.user,
                    field=export.exported.field,
                    format=_ENDINGS[terms.media],
                    rows=outcome.rows,
                    complete=not outcome.more,
                    request_id=record.request_id if record else None,
                )

    @staticmethod
    async def _send_pages(
        first: Page, others: AsyncIterator[Page], context: Context, body: _Body, outcome: _Outcome
    ) -> None:
        """Send the pages, until their end or a failure, which the outcome tells."""
        checked = time.monotonic()
        try:
            outcome.note(first)
            await body.rows(first)
            async for page in others:
                outcome.note(page)
                await body.rows(page)
                if time.monotonic() - checked > _ROLES_SECONDS:
                    await context.check_roles()
                    checked = time.monotonic()
        except FailedError as failed:
            outcome.fail(failed.errors)
        except ApiError as error:
            outcome.fail(present_refusal(error)[0]["errors"])


@dataclass(slots=True)
class _Outcome:
    """How far an export has come, and what went wrong."""

    cursor: str | None
    rows: int = 0
    more: bool = True
    errors: list[dict[str, Any]] | None = None

    def note(self, page: Page) -> None:
        """Note a page that is about to be sent."""
        self.rows += page.length
        self.more, self.cursor = page.more, page.end
        if page.errors:
            self.errors = [*(self.errors or ()), *page.errors][:_MOST_ERRORS]

    def fail(self, errors: list[dict[str, Any]]) -> None:
        """Note that the next page cannot be sent."""
        self.more = True
        self.errors = [*(self.errors or ()), *errors]


class _Body:
    """The body of a response, in its format and encoding. The client holds it back by reading slowly."""

    def __init__(
        self, send: Send, writer: Format, gzip: GzipStream | None, trailers: list[tuple[bytes, bytes]]
    ) -> None:
        self._trailers = trailers
        self._send = send
        self._writer = writer
        self._gzip = gzip
        self.compressed = gzip is not None

    async def start(self, headers: Mapping[str, str]) -> None:
        """Send the head, and what comes before the first row."""
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": _OK, "headers": raw})
        await self._part(self._writer.begin())

    async def rows(self, page: Page) -> None:
        """Send a page."""
        await self._part(self._writer.rows(page))

    async def end(self, outcome: _Outcome) -> None:
        """Send what comes after the last row."""
        last = self._writer.end(more=outcome.more, cursor=outcome.cursor, errors=outcome.errors or ())
        await self._part(last, last=True)
        self._trailers += [
            (_HAS_NEXT.encode(), b"true" if outcome.more else b"false"),
            (_END_CURSOR.encode(), (outcome.cursor or "").encode()),
        ]
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _part(self, body: bytes, *, last: bool = False) -> None:
        if self._gzip is not None and (body or last):
            body = await self._gzip.part(body, last=last)
        if body:
            await self._send({"type": "http.response.body", "body": body, "more_body": True})


def _headers(export: Export, terms: Terms, *, compressed: bool) -> dict[str, str]:
    return {
        "content-type": f"{terms.media}; charset=utf-8",
        "content-disposition": f'attachment; filename="{export.exported.field}.{_ENDINGS[terms.media]}"',
        "cache-control": NO_STORE,
        "vary": _VARY,
        # nginx would otherwise keep parts of it back.
        "x-accel-buffering": "no",
        **({"content-encoding": "gzip"} if compressed else {}),
        **({"trailer": f"{_HAS_NEXT}, {_END_CURSOR}"} if terms.trailers else {}),
    }


def _refusal(answer: dict[str, Any], status: int, headers: Mapping[str, str]) -> Response:
    """The response instead of an export. A client would take a 200 for an export."""
    reasons = {error["extensions"]["reason"] for error in answer["errors"]}
    status = _FORBIDDEN if reasons == {Reason.ROLE_MISSING.name} else max(status, _BAD_REQUEST)
    headers = {"cache-control": NO_STORE, "vary": "accept", **headers}
    return Response(orjson.dumps(answer), status, headers, media_type=f"{JSON}; charset=utf-8")
