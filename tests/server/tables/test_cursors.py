"""Cursors of orders: PostgreSQL itself says which sort values it can have written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from schema.relay.cursors import opaque
from schema.scalars import sort_date
from tests.support.examples import examples

if TYPE_CHECKING:
    from tests.server.conftest import Execute

EXAMPLES = settings(max_examples=examples(200, many=2000), suppress_health_check=[HealthCheck.function_scoped_fixture])
# From the first to the last of PostgreSQL's dates.
DAYS = 2_147_483_493
TEXTS = st.builds(
    "{}-{:02}-{:02}{}".format,
    st.from_regex(r"[0-9]{4,8}", fullmatch=True)
    | st.sampled_from(["9999", "10000", "10001", "12000", "4713", "4714", "0001", "0005", "5874897", "5874898"]),
    st.integers(0, 13),
    st.integers(0, 32) | st.sampled_from([28, 29, 30, 31]),
    st.sampled_from(["", " BC"]),
)


@pytest.mark.faults
@EXAMPLES
@given(days=st.integers(0, DAYS))
@example(days=0)
@example(days=DAYS)
async def test_every_date_of_postgresql_is_read(database: asyncpg.Connection, days: int) -> None:
    """Orders with dates that Python cannot represent have a place in the order too, and so a cursor."""
    text = await database.fetchval("SELECT (date '4714-11-24 BC' + $1::int)::text", days)
    assert str(sort_date(text)) == text


@pytest.mark.faults
@EXAMPLES
@given(text=TEXTS)
@example(text="10000-02-30")
@example(text="0001-02-29 BC")
@example(text="0002-02-29 BC")
async def test_no_other_date_is_read(database: asyncpg.Connection, text: str) -> None:
    """A text is read only if PostgreSQL reads it as a date, and writes this date as the same text."""
    try:
        written = await database.fetchval("SELECT $1::text::date::text", text)
    except asyncpg.DataError:
        written = None
    try:
        read = str(sort_date(text))
    except ValueError:
        read = None
    assert read == (text if written == text else None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("ORDER_DATE", day) for day in ("10000-02-30", "9999-02-30", "0044-02-30 BC", "0000-01-01", "5874898-01-01")),
        *(("ORDER_DATE", day) for day in ("010000-01-01", "4714-11-23 BC", "1996-01-02 BC BC", "+infinity", "today")),
        *(("TOTAL_PRICE", price) for price in ("-0", "-0.00", "007.50", "1.", ".5", "+1", "1e5", "-NaN", "inf")),
    ],
)
async def test_a_cursor_with_a_value_that_no_order_has_was_never_issued(
    execute: Execute, field: str, value: str
) -> None:
    """The server refuses the value without asking PostgreSQL."""
    column = field.lower()
    document = "query($c: String, $o: OrderOrder) { orders(first: 1, after: $c, orderBy: $o) { nodes { id } } }"
    answer = await execute(document, c=opaque([1, f"{column}+", 1, value]), o={"field": field})
    assert answer["data"] == {"orders": None}
    assert [error["extensions"]["reason"] for error in answer["errors"]] == ["CURSOR_INVALID"]
