"""Owns the custom scalars, strict both ways: BigInt, Decimal, Date, DateTime and UUID."""

from __future__ import annotations

import math
import re
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NewType
from uuid import UUID

import strawberry
from graphql import FloatValueNode, GraphQLError, IntValueNode, StringValueNode, ValueNode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strawberry.types.scalar import ScalarDefinition


from typing import TYPE_CHECKING

BigInt = NewType("BigInt", int)

_BIGINT_BITS = 64
_INTEGER = re.compile(r"-?[0-9]{1,19}", re.ASCII)
# PostgreSQL's numeric holds far more, but no price does; a bound keeps "1e999999999" from becoming a number.
_DECIMAL = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,20})?", re.ASCII)
# An IEEE double gives back any decimal of up to 15 significant digits unchanged.
_FLOAT_EXACT_DIGITS = 15
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


def _refuse(kind: str, expected: str) -> GraphQLError:
    return GraphQLError(f"{kind} cannot represent this value: {expected}.")


def parse_bigint(value: object) -> BigInt:
    """An integer, or a string of one, within 64 signed bits.

    Raises:
        GraphQLError: anything else, `1.0` and `true` included.
    """
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() < _BIGINT_BITS:
        return BigInt(value)
    if value == -(2**63) and isinstance(value, int):
        return BigInt(value)
    raise _refuse("BigInt", "an integer within 64 bits is expected, as a number or a string")


def parse_decimal(value: object) -> Decimal:
    """A finite decimal number from a string, an integer, or a float that is exact.

    Raises:
        GraphQLError: anything else, and a float of more digits than a double keeps.
    """
    if isinstance(value, float) and math.isfinite(value):
        number = Decimal(repr(value)).normalize()
        if len(number.as_tuple().digits) > _FLOAT_EXACT_DIGITS:
            raise _refuse("Decimal", "a number this precise is expected as a string")
        text = f"{number:f}"
    elif isinstance(value, bool) or not isinstance(value, int | str):
        raise _refuse("Decimal", 'a number such as "173665.47" is expected')
    else:
        text = str(value) if isinstance(value, str) or value.bit_length() <= _BIGINT_BITS else ""
    if not _DECIMAL.fullmatch(text):
        raise _refuse("Decimal", 'a number such as "173665.47" is expected')
    return Decimal(text)


def parse_date(value: object) -> date:
    """A calendar date written YYYY-MM-DD.

    Raises:
        GraphQLError: anything else, other ISO 8601 spellings and impossible days included.
    """
    # fromisoformat alone would take "19980101" and "1998-W01-1" too.
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise _refuse("Date", 'a day such as "1996-01-02" is expected')


def parse_uuid(value: object) -> UUID:
    """A UUID of any version, written in its 36 characters.

    Raises:
        GraphQLError: anything else, the spellings with braces and `urn:` that Python takes included.
    """
    if isinstance(value, str) and _UUID.fullmatch(value):
        return UUID(value)
    raise _refuse("UUID", 'a UUID such as "6f1ed002-ab55-9f4e-a7d3-0b1f1c9dc1a5" is expected')


def _literal(parse: Callable[[object], object], *nodes: type[ValueNode]) -> Callable[..., object]:
    def parse_literal(node: ValueNode, _variables: Mapping[str, Any] | None = None) -> object:
        # A literal is handed on as its text: 100.10 in a document is exact, as a float it would not be.
        try:
            return parse(node.value if isinstance(node, nodes) else None)  # type: ignore[attr-defined] # all three nodes have a text value
        except GraphQLError as error:
            # With the node the caller is told the line and the column.
            raise GraphQLError(error.message, node) from None

    return parse_literal


def _decimal_text(value: Decimal | int) -> str:
    # A float would mean that an exact amount was lost on its way; PostgreSQL's numeric may hold NaN and Infinity.
    if isinstance(value, bool) or not isinstance(value, Decimal | int) or not Decimal(value).is_finite():
        raise _refuse("Decimal", "a finite, exact number is expected")
    return f"{value:f}"


def _date_text(value: date) -> str:
    # A date that Python does not have comes as PostgreSQL's text, "10000-01-01" say, which is no Date of ours.
    if not isinstance(value, date):
        raise _refuse("Date", "a day between the years 1 and 9999 is expected")
    return value.isoformat()


def _datetime_text(value: datetime) -> str:
    return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")


SCALARS: dict[object, ScalarDefinition] = {
    BigInt: strawberry.scalar(
        name="BigInt",
        description=(
            "A 64-bit integer. It comes as a string, because JavaScript's numbers lose integers above 2^53; "
            "as an argument it may be a number or a string."
        ),
        serialize=str,
        parse_value=parse_bigint,
        parse_literal=_literal(parse_bigint, IntValueNode, StringValueNode),
    ),
    Decimal: strawberry.scalar(
        name="Decimal",
        description=(
            'An exact decimal number. It comes as a string ("173665.47"); as an argument it may be a string '
            "or a number. Never do arithmetic on it with floats."
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
        description='A moment in UTC, to the millisecond: "2026-11-22T16:03:00.000Z".',
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3339#section-5.6",
        serialize=_datetime_text,
    ),
    UUID: strawberry.scalar(
        name="UUID",
        description='A UUID in its 36 characters: "6f1ed002-ab55-9f4e-a7d3-0b1f1c9dc1a5".',
        specified_by_url="https://www.rfc-editor.org/rfc/rfc9562",
        serialize=str,
        parse_value=parse_uuid,
        parse_literal=_literal(parse_uuid, StringValueNode),
    ),
}


_PYTHON_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


_OTHER_DATE = re.compile(r"[0-9]{4,7}-[0-9]{2}-[0-9]{2}( BC)?|-?infinity", re.ASCII)


def sort_date(text: str) -> date | str:
    """A date as PostgreSQL writes it; as its text where Python has no such date, the year 10000 say.

    Raises:
        ValueError: it is none.
    """
    if _PYTHON_DATE.fullmatch(text):
        return date.fromisoformat(text)
    if not _OTHER_DATE.fullmatch(text):
        raise ValueError(text)
    return text
