"""The pages of an export: each is an operation of its own, read on the fast path if it has a plan."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from strawberry.types.graphql import OperationType

from schema.errors import ApiError
from schema.plans.documents import Document
from server.graphql.export.documents import read_valid
from server.graphql.export.giving_way import GivingWay
from server.graphql.export.operation import AFTER, FIRST, PAGE_INFO, ExportedOperation, text_of
from server.graphql.request import RequestData
from server.http.error_response import present_refusal
from server.traffic.admission import Admission

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    import strawberry
    from graphql import GraphQLSchema

    from schema import DocumentCache, DocumentLimits
    from schema.context import Context
    from server.graphql.export.operation import Exported
    from server.graphql.fast_path import FastPath
    from server.graphql.gateway import Gateway

# Between two rows. Within a JSON string a newline is always escaped.
_BETWEEN: Final = b"\n"
# Of the errors in rows, which may be millions, only the first are reported.
_MOST_ERRORS: Final = 100
# Exports at once in a process. More of them would only slow one another down, and pages too.
MOST_EXPORTS: Final = 2
_WAIT_SECONDS: Final = 0.25


class FailedError(Exception):
    """A page could not be read.

    Args:
        answer: what the caller is told.
        status: its HTTP status.
    """

    def __init__(self, answer: dict[str, Any], status: int) -> None:
        super().__init__("a page of an export could not be read")
        self.answer = answer
        self.status = status

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The errors of the answer."""
        return [*self.answer.get("errors", ())]


class Page(NamedTuple):
    """A page of an export.

    `rows` are the rows in JSON with newlines between them, and `length` is their number. `more` says whether rows
    follow after `end`, the cursor of the last one; it is None if there is none. `errors` are those of values that do
    not fit the schema, with the number of their row in the whole export.
    """

    rows: bytes
    length: int
    more: bool
    end: str | None
    errors: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Export:
    """An export that is about to be read.

    Attributes:
        operation: its operation, as the caller sent it.
        exported: what is read.
        text: the document that reads a page.
        variables: the caller's variables.
        size: rows in a page.
    """

    operation: ExportedOperation
    exported: Exported
    text: str
    variables: Mapping[str, Any]
    size: int


class Exporter:
    """Prepares exports, and reads their pages.

    A page has as many rows as the cost limit of an operation allows, and each is charged before it is read.

    Args:
        schema: the schema.
        gateway: executes operations that have no plan.
        fast: answers planned operations; None if the fast path is off.
        cache: the cache of documents.
        limits: the limits of a document and the cost limit of an operation.
        admission: admits all other operations, which exports give way to.
    """

    def __init__(
        self,
        schema: strawberry.Schema,
        gateway: Gateway,
        *,
        fast: FastPath | None,
        cache: DocumentCache,
        limits: DocumentLimits,
        admission: Admission,
    ) -> None:
        self._schema = schema
        self._gateway = gateway
        self._fast = fast
        self._cache = cache
        self._limits = limits
        self._way = GivingWay(admission)
        # Beside that of all other operations: with a slot of this one, an operation takes none of theirs.
        self._admission = Admission(MOST_EXPORTS, wait_seconds=_WAIT_SECONDS)

    @property
    def schema(self) -> GraphQLSchema:
        """The schema, as graphql-core has it."""
        return self._schema._schema  # noqa: SLF001 # Strawberry has no public way to it

    async def prepare(self, data: RequestData, context: Context) -> Export:
        """Check the operation of a request, before anything is read.

        Raises:
            RefusedError, ApiError: it cannot be exported.
        """
        document = await read_valid(data.query, context, self._schema, self._cache, self._limits)
        variables = data.variables or {}
        operation = ExportedOperation(self.schema, document, data.operation_name, variables)
        exported = operation.exported(context.limits)
        text = text_of(exported.document)
        if self._fast is not None:
            # It consists of parts of a valid document.
            self._cache.add(text, exported.document)
            if (known := self._cache.get(text)) is not None:
                known.plan(self._schema, None)
        formula = Document(text, exported.document).formula(self.schema, None)
        size = exported.most
        while size > 1:
            cost = formula.price({**variables, FIRST: size}, context.limits, context.statistics)
            if cost <= self._limits.cost:
                break
            size //= 2
        return Export(operation, exported, text, variables, max(1, size))

    async def pages(self, export: Export, context: Context, ends: Callable[[], bool]) -> AsyncGenerator[Page, None]:
        """The pages, one after another. While one of them is being used, the next is read.

        Args:
            export: the export.
            context: the caller's context, with the stores of exports.
            ends: whether the export ends with the page that is there, although others follow.

        Raises:
            FailedError: a page could not be read.
        """
        # The answers are cut at known places.
        context = replace(context, tells_cost=False)
        after, left, sent = export.exported.after, export.exported.first, 0

        def read(rest: float) -> asyncio.Task[tuple[Page, float]]:
            size = export.size if left is None else min(export.size, left)
            return asyncio.create_task(
                self._next_page(export, context, size, after, sent, rest), name="page of an export"
            )

        reading = read(0.0)
        try:
            with self._way:
                while True:
                    page, seconds = await reading
                    sent, after = sent + page.length, page.end
                    left = None if left is None else left - page.length
                    over = not (page.more and page.length) or left == 0 or ends()
                    if not over:
                        reading = read(seconds)
                    yield page
                    if over:
                        return
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def estimated(self, export: Export, context: Context) -> int | None:
        """The approximate number of rows that match, from the database's statistics; None if it is not known."""
        if export.exported.count is None:
            return None
        data = RequestData(
            query=text_of(export.exported.count), variables={**export.variables}, operation_name=None, extensions=None
        )
        answer, _ = await self._gateway.execute(data, context, allowed=(OperationType.QUERY,))
        found = (answer.get("data") or {}).get(export.exported.key)
        return None if found is None else found["totalCount"]

    async def _next_page(
        self, export: Export, context: Context, size: int, after: str | None, before: int, seconds: float
    ) -> tuple[Page, float]:
        """A page, after a rest from the one before, which took so many seconds; and how many this one took."""
        await self._way.rest(seconds)
        began = time.monotonic()
        page = await self._page(export, context, size, after, before)
        return page, time.monotonic() - began

    async def _page(self, export: Export, context: Context, size: int, after: str | None, before: int) -> Page:
        """A page of so many rows after a cursor, which so many rows are before."""
        variables = {**export.variables, FIRST: size, AFTER: after}
        data = RequestData(query=export.text, variables=variables, operation_name=None, extensions=None)
        try:
            slot = await self._admission.enter()
            try:
                answer, status = await self._answer(data, context)
            finally:
                slot.leave()
        except ApiError as error:
            raise FailedError(*present_refusal(error)) from None
        exported = export.exported
        if isinstance(answer, bytes):
            return _cut(answer, exported, after)
        return _taken(answer, status, exported, after, before)

    async def _answer(self, data: RequestData, context: Context) -> tuple[bytes | dict[str, Any], int]:
        planned = self._fast.find(data) if self._fast is not None else None
        if self._fast is None or planned is None:
            return await self._gateway.execute(data, context, allowed=(OperationType.QUERY,))
        async with self._fast.deadline():
            written, context = await self._fast.answer(planned, data, context)
            if written is not None:
                return written, 0
            return await self._gateway.execute(data, context, allowed=(OperationType.QUERY,))


def _cut(answer: bytes, exported: Exported, after: str | None) -> Page:
    """The page in an answer of the fast path, whose rows have newlines between them."""
    start = f'{{"data":{{"{exported.key}":{{"{exported.list_key}":['
    behind = f'],"{PAGE_INFO}":'
    at = answer.rfind(behind.encode())
    rows = answer[len(start) : at]
    # It ends with the braces of the connection, of the data and of the answer.
    info = orjson.loads(answer[at + len(behind) : -3])
    return Page(rows, _rows_in(rows), info["hasNextPage"], info["endCursor"] or after, [])


def _taken(answer: dict[str, Any], status: int, exported: Exported, after: str | None, before: int) -> Page:
    """The page in an answer of the ordinary path.

    Raises:
        FailedError: it has none.
    """
    connection = (answer.get("data") or {}).get(exported.key)
    if connection is None:
        raise FailedError(answer, status)
    rows, info = connection[exported.list_key], connection[PAGE_INFO]
    text = _BETWEEN.join(map(orjson.dumps, rows))
    errors = [_numbered(error, before) for error in answer.get("errors", ())[:_MOST_ERRORS]]
    return Page(text, len(rows), info["hasNextPage"], info["endCursor"] or after, errors)


def _rows_in(rows: bytes) -> int:
    return rows.count(_BETWEEN) + 1 if rows else 0


def _numbered(error: dict[str, Any], before: int) -> dict[str, Any]:
    """An error with the number of its row in the whole export, without its place in the document of the page."""
    key, listed, row, *below = error["path"]
    return {
        **{name: value for name, value in error.items() if name != "locations"},
        "path": [key, listed, row + before, *below],
    }
