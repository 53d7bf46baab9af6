"""The custom scalars BigInt, Decimal, Date, DateTime and UUID. They are strict as input and as output."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NewType
from uuid import UUID

import strawberry
from graphql import FloatValueNode, GraphQLError, IntValueNode, StringValueNode, ValueNode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strawberry.types.scalar import ScalarDefinition

BigInt = NewType("BigInt", int)

_BIGINT_BITS = 64
_INTEGER = re.compile(r"-?[0-9]{1,19}", re.ASCII)
# PostgreSQL's numeric can hold far more digits, but no price has them. The bound refuses "1e999999999".
_DECIMAL = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,20})?", re.ASCII)
# An IEEE double reproduces any decimal of up to 15 significant digits exactly.
_FLOAT_EXACT_DIGITS = 15
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_DATETIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII | re.IGNORECASE,
)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
# PostgreSQL's dates that Python cannot represent, as PostgreSQL writes them. The years before the first count down.
_DATE_BEYOND_PYTHON = re.compile(
    r"(?P<year>[0-9]{4}|[1-9][0-9]{4,6})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})(?P<bc> BC)?", re.ASCII
)
_INFINITE_DATES = frozenset({"infinity", "-infinity"})
_FIRST_DATE, _LAST_DATE = (-4713, 11, 24), (5874897, 12, 31)
# The calendar repeats after so many years.
_CALENDAR_YEARS = 400


def _refuse(kind: str, expected: str) -> GraphQLError:
    return GraphQLError(f"{kind} cannot represent this value: expected {expected}.")


def parse_bigint(value: object) -> BigInt:
    """A signed 64-bit integer, from an integer or a string.

    Raises:
        GraphQLError: for anything else, including `1.0` and `true`.
    """
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() < _BIGINT_BITS:
        return BigInt(value)
    if value == -(2**63) and isinstance(value, int):
        return BigInt(value)
    raise _refuse("BigInt", "a 64-bit integer, as a number or a string")


def parse_decimal(value: object) -> Decimal:
    """A finite decimal number, from a string, an integer, or a float that represents it exactly.

    Raises:
        GraphQLError: for anything else, including a float with more digits than a double holds.
    """
    if isinstance(value, float) and math.isfinite(value):
        number = Decimal(repr(value)).normalize()
        if len(number.as_tuple().digits) > _FLOAT_EXACT_DIGITS:
            raise _refuse("Decimal", "a string, because a float would lose digits of this number")
        text = f"{number:f}"
    elif isinstance(value, bool) or not isinstance(value, int | str):
        raise _refuse("Decimal", 'a number such as "173665.47"')
    else:
        text = str(value) if isinstance(value, str) or value.bit_length() <= _BIGINT_BITS else ""
    if not _DECIMAL.fullmatch(text):
        raise _refuse("Decimal", 'a number such as "173665.47"')
    return Decimal(text)


def parse_date(value: object) -> date:
    """A calendar date written YYYY-MM-DD.

    Raises:
        GraphQLError: for anything else, including other ISO 8601 forms and days that do not exist.
    """
    # fromisoformat alone would also accept "19980101" and "1998-W01-1".
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise _refuse("Date", 'a date such as "1996-01-02"')


def parse_datetime(value: object) -> datetime:
    """A point in time, in UTC, from RFC 3339's form with an offset.

    Raises:
        GraphQLError: for anything else, and for a time outside the years 1 to 9999.
    """
    # fromisoformat alone would also accept "20261122T16Z", weeks, and times without an offset.
    if isinstance(value, str) and _DATETIME.fullmatch(value):
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise _refuse("DateTime", 'a time with its offset, such as "2026-11-22T16:03:00Z"')


def parse_uuid(value: object) -> UUID:
    """A UUID of any version, in its form of 36 characters.

    Raises:
        GraphQLError: for anything else, including the forms with braces and `urn:` that Python accepts.
    """
    if isinstance(value, str) and _UUID.fullmatch(value):
        return UUID(value)
    raise _refuse("UUID", 'a UUID such as "6f1ed002-ab55-9f4e-a7d3-0b1f1c9dc1a5"')


def _literal(parse: Callable[[object], object], *nodes: type[ValueNode]) -> Callable[..., object]:
    def parse_literal(node: ValueNode, _variables: Mapping[str, Any] | None = None) -> object:
        # A literal is parsed from its text: 100.10 in a document is exact, and as a float it would not be.
        try:
            return parse(node.value if isinstance(node, nodes) else None)  # type: ignore[attr-defined] # all three nodes have a text value
        except GraphQLError as error:
            # The node gives the error its line and column.
            raise GraphQLError(error.message, node) from None

    return parse_literal


def _decimal_text(value: Decimal | int) -> str:
    # A float means that an exact amount was lost on the way. PostgreSQL's numeric can also hold NaN and Infinity.
    if isinstance(value, bool) or not isinstance(value, Decimal | int) or not Decimal(value).is_finite():
        raise _refuse("Decimal", "a finite, exact number")
    return f"{value:f}"


def _date_text(value: date) -> str:
    # A date outside Python's range arrives as PostgreSQL's text, such as "10000-01-01", which is not a valid Date.
    if not isinstance(value, date):
        raise _refuse("Date", "a date between the years 1 and 9999")
    return value.isoformat()


def _datetime_text(value: datetime) -> str:
    # As with dates, a time that Python cannot represent arrives as text; "infinity" is one.
    if not isinstance(value, datetime):
        raise _refuse("DateTime", "a time between the years 1 and 9999")
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")


SCALARS: dict[object, ScalarDefinition] = {
    BigInt: strawberry.scalar(
        name="BigInt",
        description=(
            "A 64-bit integer. It is returned as a string, because JavaScript's numbers lose digits above 2^53. "
            "As an argument it can be a number or a string."
        ),
        serialize=str,
        parse_value=parse_bigint,
        parse_literal=_literal(parse_bigint, IntValueNode, StringValueNode),
    ),
    Decimal: strawberry.scalar(
        name="Decimal",
        description=(
            'An exact decimal number. It is returned as a string, such as "173665.47". As an argument it can be a '
            "string or a number. Do not calculate with it in floating point."
        ),
        serialize=_decimal_text,
        parse_value=parse_decimal,
        parse_literal=_literal(parse_decimal, IntValueNode, FloatValueNode, StringValueNode),
    ),
    date: strawberry.scalar(
        name="Date",
        description='A calendar date without a time zone, written YYYY-MM-DD: "1996-01-02".',
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339#section-5.6",
        serialize=_date_text,
        parse_value=parse_date,
        parse_literal=_literal(parse_date, StringValueNode),
    ),
    datetime: strawberry.scalar(
        name="DateTime",
        description=(
            'A point in time in UTC, to the millisecond: "2026-11-22T16:03:00.000Z". As an argument it can have any '
            "offset from UTC, and needs one."
        ),
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339#section-5.6",
        serialize=_datetime_text,
        parse_value=parse_datetime,
        parse_literal=_literal(parse_datetime, StringValueNode),
    ),
    UUID: strawberry.scalar(
        name="UUID",
        description='A UUID in its form of 36 characters: "6f1ed002-ab55-9f4e-a7d3-0b1f1c9dc1a5".',
        specified_by_url="https://www.rfc-editor.org/rfc/rfc9562",
        serialize=str,
        parse_value=parse_uuid,
        parse_literal=_literal(parse_uuid, StringValueNode),
    ),
}


def sort_date(text: str) -> date | str:
    """A date from PostgreSQL's text; the text itself if the date is outside Python's range, as the year 10000 is.

    Raises:
        ValueError: if the text is not a date that PostgreSQL has, exactly as PostgreSQL writes it.
    """
    if _DATE.fullmatch(text):
        return date.fromisoformat(text)
    if text not in _INFINITE_DATES:
        _check_date_beyond_python(text)
    return text


def _check_date_beyond_python(text: str) -> None:
    match = _DATE_BEYOND_PYTHON.fullmatch(text)
    if match is None:
        raise ValueError(text)
    digits, month, day = int(match["year"]), int(match["month"]), int(match["day"])
    # The year 1 BC is the year 0.
    year = 1 - digits if match["bc"] else digits
    if digits < 1 or not _FIRST_DATE <= (year, month, day) <= _LAST_DATE:
        raise ValueError(text)
    # This fails if the day does not exist: a year that Python can represent has the same calendar.
    date(_CALENDAR_YEARS + year % _CALENDAR_YEARS, month, day)
