"""Scalars: what they accept, what they return, and that they refuse everything else."""

from __future__ import annotations

from datetime import UTC
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from graphql import GraphQLError, GraphQLScalarType, parse_value
from hypothesis import given
from hypothesis import strategies as st

from schema import build_schema
from schema.scalars import parse_bigint, parse_date, parse_datetime, parse_decimal
from tests.support.values import anything

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date, datetime

SCALARS: dict[str, Any] = build_schema()._schema.type_map  # noqa: SLF001 # Strawberry has no public name for it


def scalar(name: str) -> GraphQLScalarType:
    """The scalar with this name."""
    found = SCALARS[name]
    assert isinstance(found, GraphQLScalarType)
    return found


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_64_bit_integer_survives_every_way_in_and_out(value: int) -> None:
    """As a number, a string or a literal it is the same integer, and comes out as its digits."""
    assert parse_bigint(value) == parse_bigint(str(value)) == value
    for literal in (str(value), f'"{value}"'):
        assert scalar("BigInt").parse_literal(parse_value(literal)) == value
    assert scalar("BigInt").coerce_output_value(value) == str(value)


@given(st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**15), max_value=10**15))
def test_an_amount_survives_every_way_in_and_out(value: Decimal) -> None:
    """To the cent, as a string and as a literal, never through a float."""
    assert parse_decimal(f"{value:f}") == value
    assert scalar("Decimal").parse_literal(parse_value(f"{value:f}")) == value
    assert Decimal(str(scalar("Decimal").coerce_output_value(value))) == value


@given(st.dates())
def test_a_day_survives_every_way_in_and_out(value: date) -> None:
    """In one form."""
    assert parse_date(value.isoformat()) == value
    assert scalar("Date").coerce_output_value(value) == value.isoformat()


@given(st.datetimes(timezones=st.timezones()))
def test_a_time_survives_with_any_offset(value: datetime) -> None:
    """As the same moment in UTC, as a string and as a literal."""
    try:
        moment = value.astimezone(UTC)
    except OverflowError:
        return
    # The offsets of centuries ago had seconds, which RFC 3339 cannot write.
    offset = value.utcoffset()
    if offset is not None and offset.total_seconds() % 60 == 0:
        assert parse_datetime(value.isoformat()) == moment
        assert scalar("DateTime").parse_literal(parse_value(f'"{value.isoformat()}"')) == moment


@pytest.mark.parametrize(
    ("parse", "value"),
    [
        *(
            (parse_bigint, value)
            for value in anything(1.0, True, "", " 1", "1 ", "+1", "1e3", "0x1", "\u0661", "--1", 2**63)
        ),
        *(
            (parse_bigint, value)
            for value in anything(str(2**63), str(-(2**63) - 1), "9" * 5000, -(2**63) - 1, None, [], {})
        ),
        *(
            (parse_decimal, value)
            for value in anything("", ".5", "5.", "1e5", "NaN", "Infinity", "-", "1,5", "1_0", True)
        ),
        *(
            (parse_decimal, value)
            for value in anything("9" * 31, 10**40, 0.1234567890123456789, 1e300, None, [], "\u0661")
        ),
        *(
            (parse_date, value)
            for value in anything("", "19980101", "1998-W01-1", "1998-02-30", "0000-01-01", "98-01-01")
        ),
        *(
            (parse_date, value)
            for value in anything(19980101, "1998-1-1", "1998-01-01T00:00:00", " 1998-01-01", None, True)
        ),
        *(
            (parse_datetime, value)
            for value in anything("", "2026-11-22", "2026-11-22T16:03:00", "20261122T160300Z", "2026-W47-7T16:03:00Z")
        ),
        *(
            (parse_datetime, value)
            for value in anything("2026-11-22T24:01:00Z", "2026-02-30T00:00:00Z", "0001-01-01T00:00:00+14:00", 0, None)
        ),
    ],
)
def test_nothing_else_passes(parse: Callable[[object], object], value: object) -> None:
    """Other types, other forms and numbers out of range are refused, without repeating the value."""
    with pytest.raises(GraphQLError) as refusal:
        parse(value)
    assert "expected" in str(refusal.value) or "string" in str(refusal.value)


@pytest.mark.parametrize(("value", "exact"), [(100.5, "100.5"), (0.1, "0.1"), (7, "7"), (-3, "-3"), ("1.10", "1.10")])
def test_a_price_may_be_a_json_number_where_that_is_exact(value: object, exact: str) -> None:
    """A short JSON number is what its sender wrote; a long one may not be, and is refused (above)."""
    assert str(parse_decimal(value)) == exact


@pytest.mark.parametrize("value", [1.5, True, "x", Decimal("NaN"), Decimal("Infinity")])
def test_an_amount_that_is_none_does_not_go_out(value: object) -> None:
    """A float, or PostgreSQL's NaN, is an error at its field, not a number."""
    with pytest.raises(GraphQLError):
        scalar("Decimal").coerce_output_value(value)
