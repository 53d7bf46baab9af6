"""The formats of an export: NDJSON, a line of JSON for each row, and CSV, with a header."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from server.graphql.export.operation import Cell
    from server.graphql.export.pages import Page

NDJSON: Final = "application/x-ndjson"
CSV: Final = "text/csv"
# The values of the parameter `format`, which a link can have where a client sends `Accept`.
NAMES: Final = {"ndjson": NDJSON, "csv": CSV}
# A spreadsheet takes a text that begins so for a formula, and runs it (CWE-1236).
# The last four are the wide forms of the first ones, which some spreadsheets take for these.
_FORMULAS: Final = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
_DEFUSED: Final = "'"


class Format(Protocol):
    """How an export is written."""

    def begin(self) -> bytes:
        """What comes before the first row."""

    def rows(self, page: Page) -> bytes:
        """The rows of a page."""

    def end(self, *, more: bool, cursor: str | None, errors: Sequence[dict[str, Any]]) -> bytes:
        """What comes after the last row: whether more rows follow, the cursor to resume after, and what went wrong."""


class Ndjson:
    """A line of JSON for each row. The last line is no row: it has `pageInfo`, and `errors` if there are any."""

    def begin(self) -> bytes:
        """Nothing."""
        return b""

    def rows(self, page: Page) -> bytes:
        """The rows, each with a newline."""
        return page.rows + b"\n" if page.length else b""

    def end(self, *, more: bool, cursor: str | None, errors: Sequence[dict[str, Any]]) -> bytes:
        """The last line."""
        last: dict[str, Any] = {"pageInfo": {"hasNextPage": more, "endCursor": cursor}}
        return orjson.dumps({**last, "errors": errors} if errors else last) + b"\n"


class Csv:
    """A table of values (RFC 4180). Null is an empty cell, and a row that does not fit the schema has only such cells.

    Args:
        cells: its columns.
        defuse: whether a text that a spreadsheet would run as a formula gets an apostrophe before it.
    """

    def __init__(self, cells: Sequence[Cell], *, defuse: bool) -> None:
        self._cells = cells
        self._texts = [index for index, cell in enumerate(cells) if cell.text] if defuse else []
        self._flat = all(len(cell.path) == 1 for cell in cells)
        self._nothing: list[Any] = [None] * len(cells)
        self._values: Callable[[Any], list[Any]] = self._flat_values if self._flat else self._deep_values

    def begin(self) -> bytes:
        """The header."""
        return _written([[cell.name for cell in self._cells]])

    def rows(self, page: Page) -> bytes:
        """The rows."""
        if not page.length:
            return b""
        rows = orjson.loads(b"[" + page.rows.replace(b"\n", b",") + b"]")
        table = [self._nothing if row is None else self._values(row) for row in rows]
        for index in self._texts:
            for values in table:
                text = values[index]
                if text and text[0] in _FORMULAS:
                    values[index] = _DEFUSED + text
        return _written(table)

    def end(self, **_: Any) -> bytes:
        """Nothing: a table has no place for anything but its rows."""
        return b""

    def _flat_values(self, row: dict[str, Any]) -> list[Any]:
        # In the order of the selection, as the columns are.
        return [*map(_plain, row.values())]

    def _deep_values(self, row: dict[str, Any]) -> list[Any]:
        values = []
        for cell in self._cells:
            value: Any = row
            for key in cell.path:
                value = None if value is None else value[key]
            values.append(_plain(value))
        return values


def _plain(value: Any) -> Any:
    """A value as JSON writes it: Python would write True."""
    return value if not isinstance(value, bool) else "true" if value else "false"


def _written(table: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(table)
    return text.getvalue().encode()
