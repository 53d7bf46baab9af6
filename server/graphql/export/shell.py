"""Exports from a shell: the rows go to a file or to standard output, and a progress bar to the terminal."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import IO, TYPE_CHECKING, Any, Final, TextIO

from graphql import get_named_type, is_leaf_type

from server.graphql.export.formats import Csv, Ndjson
from server.graphql.export.pages import FailedError
from server.graphql.request import RequestData

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphql import GraphQLSchema

    from schema.context import Context
    from server.graphql.export.pages import Export, Exporter, Page

_BAR_CHARACTERS: Final = 24
_REDRAW_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to export.

    Attributes:
        query: the document; None for all fields of all orders.
        variables: its variables.
        csv: whether to write CSV instead of NDJSON.
        keep_formulas: whether texts that a spreadsheet would run as formulas are written as they are.
        after: the cursor to resume after.
        first: the most rows to export.
    """

    query: str | None
    variables: Mapping[str, Any]
    csv: bool
    keep_formulas: bool
    after: str | None
    first: int | None


class StoppedError(Exception):
    """An export has ended before its last row. The message says why, and how to resume."""


async def write_export(exporter: Exporter, context: Context, wanted: Wanted, output: IO[bytes]) -> str:
    """Write an export, and return a summary.

    The rows alone are written: if an export is resumed, it continues the same file.

    Raises:
        RefusedError, ApiError: the operation cannot be exported.
        StoppedError: a page could not be read.
    """
    data = RequestData(
        query=wanted.query or all_fields(exporter.schema),
        operation_name=None,
        variables={**wanted.variables},
        extensions=None,
    )
    export = await exporter.prepare(data, context)
    export = replace(
        export,
        exported=replace(
            export.exported,
            after=export.exported.after if wanted.after is None else wanted.after,
            first=export.exported.first if wanted.first is None else wanted.first,
        ),
    )
    writer = Csv(export.operation.cells(), defuse=not wanted.keep_formulas) if wanted.csv else Ndjson()
    progress = Progress(sys.stderr, await _total(exporter, export, context))
    if wanted.after is None:
        output.write(writer.begin())
    try:
        async with aclosing(exporter.pages(export, context, lambda: False)) as pages:
            async for page in pages:
                # In a thread: meanwhile the next page is read.
                await asyncio.to_thread(output.write, writer.rows(page))
                progress.note(page)
        output.flush()
    except (FailedError, asyncio.CancelledError) as error:
        output.flush()
        why = "; ".join(found["message"] for found in error.errors) if isinstance(error, FailedError) else "interrupted"
        raise StoppedError(f"{why}\n{progress.summary()} {progress.advice()}") from None
    finally:
        progress.close()
    return progress.summary() if not progress.more else f"{progress.summary()} {progress.advice()}"


def all_fields(schema: GraphQLSchema) -> str:
    """The document of an export of all orders with all their own fields."""
    order: Any = schema.type_map["Order"]
    names = [
        name for name, field in order.fields.items() if is_leaf_type(get_named_type(field.type)) and not field.args
    ]
    return f"query ExportOrders($filter: OrderFilter) {{ orders(filter: $filter) {{ nodes {{ {' '.join(names)} }} }} }}"


async def _total(exporter: Exporter, export: Export, context: Context) -> int | None:
    """About how many rows there will be. The rows before a cursor are not counted, so then it is not known."""
    if export.exported.after is not None:
        return export.exported.first
    total = await exporter.estimated(export, context)
    return min((known for known in (total, export.exported.first) if known is not None), default=None)


class Progress:
    """How far an export has come, as a bar if the stream is a terminal.

    Args:
        stream: where to draw it.
        total: about how many rows there are; None if that is not known.
    """

    def __init__(self, stream: TextIO, total: int | None) -> None:
        self._stream = stream
        self._total = total
        self._draws = stream.isatty()
        self._began = time.monotonic()
        self._drawn_at = 0.0
        self._rows = self._refused = 0
        self._cursor: str | None = None
        self.more = False

    def note(self, page: Page) -> None:
        """Note a page that has been written."""
        self._rows += page.length
        self._refused += len(page.errors)
        self._cursor, self.more = page.end, page.more
        if self._draws and time.monotonic() - self._drawn_at > _REDRAW_SECONDS:
            self._draw()

    def summary(self) -> str:
        """What has been written."""
        refused = f", with {self._refused:,} values that do not fit the schema" if self._refused else ""
        return f"{self._rows:,} rows exported{refused}."

    def advice(self) -> str:
        """How to continue."""
        return "Begin again." if self._cursor is None else f"Continue with --after {self._cursor}"

    def close(self) -> None:
        """End the line of the bar."""
        if self._draws:
            self._draw()
            self._stream.write("\n")

    def _draw(self) -> None:
        self._drawn_at = now = time.monotonic()
        text = f"{self._rows:,} rows, {self._rows / max(now - self._began, 0.001):,.0f} a second"
        if self._total:
            share = min(1.0, self._rows / self._total)
            text = f"[{'#' * int(share * _BAR_CHARACTERS):<{_BAR_CHARACTERS}}] {share:4.0%}  {text}"
        self._stream.write(f"\x1b[K{text}\r")
        self._stream.flush()
