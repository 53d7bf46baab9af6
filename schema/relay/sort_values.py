"""The values in cursors: what a row is sorted by, as text that PostgreSQL and Python write alike.

A value that no row can have is refused without asking PostgreSQL.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from schema.ports.columns import Kind
from schema.scalars import sort_date

if TYPE_CHECKING:
    from collections.abc import Callable

    from schema.ports.columns import Column

_BIGINT: Final = range(-(2**63), 2**63)
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,18}", re.ASCII)
# Every value that PostgreSQL's numeric can hold, because every row has a cursor.
_NUMERIC: Final = re.compile(r"-?([0-9]+(\.[0-9]+)?|Infinity)|NaN", re.ASCII)
_MOMENT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{0,5}[1-9])?", re.ASCII)
# PostgreSQL's times that Python cannot represent, as PostgreSQL writes them in the time zone of the session.
_MOMENT_BEYOND_PYTHON: Final = re.compile(
    r"(?P<date>(?P<year>[0-9]{4,6})-[0-9]{2}-[0-9]{2}) (?P<time>[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?)"
    r"[+-](0[0-9]|1[0-5])(:[0-5][0-9]){0,2}(?P<bc> BC)?",
    re.ASCII,
)
_INFINITE: Final = frozenset({"infinity", "-infinity"})
_LAST_YEAR: Final = 294_275


def written_value(column: Column, value: object) -> str | None:
    """A value of a column as text; None if it has none."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if column.kind is Kind.MOMENT and isinstance(value, datetime):
        text = value.replace(tzinfo=None).isoformat(" ")
        return text.rstrip("0") if value.microsecond else text
    return None if value is None else str(value)


def read_value(column: Column, text: object) -> object:
    """The value of a column that was written as this text.

    Raises:
        ValueError: the column cannot hold it.
    """
    if text is None:
        return None
    if not isinstance(text, str):
        raise ValueError(text)  # noqa: TRY004 # to the caller a value of the wrong type is a wrong value
    return _READ[column.kind](text)


def _text(text: str) -> str:
    if "\0" in text:
        raise ValueError(text)
    return text


def _integer(text: str) -> int:
    number = int(text) if _INTEGER.fullmatch(text) else None
    if number is None or number not in _BIGINT:
        raise ValueError(text)
    return number


def _decimal(text: str) -> Decimal:
    number = Decimal(text) if _NUMERIC.fullmatch(text) else None
    # PostgreSQL has no negative zero.
    if number is None or (number.is_zero() and number.is_signed()):
        raise ValueError(text)
    return number


def _moment(text: str) -> datetime | str:
    if _MOMENT.fullmatch(text):
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    if text in _INFINITE:
        return text
    match = _MOMENT_BEYOND_PYTHON.fullmatch(text)
    if match is None or int(match["year"]) > _LAST_YEAR:
        raise ValueError(text)
    # Both fail if there is no such day or time.
    sort_date(f"{match['date']}{match['bc'] or ''}")
    time.fromisoformat(match["time"])
    return text


_READ: Final[dict[Kind, Callable[[str], object]]] = {
    Kind.TEXT: _text,
    Kind.INTEGER: _integer,
    Kind.DECIMAL: _decimal,
    Kind.DATE: sort_date,
    Kind.MOMENT: _moment,
}
