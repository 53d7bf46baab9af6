"""Page arguments and cursors: valid ones have one meaning, and invalid ones are refused with their reason."""

from __future__ import annotations

import base64
import contextlib
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.context import PageLimits
from schema.errors import InputError, Reason
from schema.graph import TABLES
from schema.orders.types import ORDERS
from schema.ports.changes import BEGINNING, FeedPlace
from schema.ports.values import Ordering, Position
from schema.relay.cursors import decode_change_cursor, decode_cursor, encode_change_cursor, encode_cursor, opaque
from schema.relay.node import decode_global_id, encode_global_id
from schema.relay.pagination import page_request

if TYPE_CHECKING:
    from schema.ports.columns import Column

LINE_ITEMS = TABLES["line_items"]
KEYS = st.integers(-(2**63), 2**63 - 1)
ORDERINGS = st.builds(
    Ordering,
    st.just(ORDERS),
    st.sampled_from([ORDERS["order_key"], ORDERS["order_date"], ORDERS["total_price"]]),
    descending=st.booleans(),
)
VALUES = {
    ORDERS["order_key"]: st.none(),
    ORDERS["order_date"]: st.none() | st.dates(),
    ORDERS["total_price"]: st.none()
    | st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**16), max_value=10**16),
}
BY_KEY = Ordering(ORDERS, ORDERS["order_key"])
NONE = {"first": None, "after": None, "last": None, "before": None}


@given(st.data(), ORDERINGS, KEYS)
def test_a_cursor_leads_back_to_its_position(data: st.DataObject, ordering: Ordering, key: int) -> None:
    """Whatever the ordering, and also for a missing value."""
    value = data.draw(VALUES[ordering.column])
    cursor = encode_cursor(ordering, value, (key,))
    assert decode_cursor(cursor, ordering) == Position(value, (key,))
    assert len(cursor) <= 200


@given(st.data(), ORDERINGS, ORDERINGS, KEYS)
def test_a_cursor_belongs_to_its_ordering(data: st.DataObject, ordering: Ordering, other: Ordering, key: int) -> None:
    """With another field or direction it is refused, not misread."""
    if ordering != other:
        cursor = encode_cursor(ordering, data.draw(VALUES[ordering.column]), (key,))
        with pytest.raises(InputError) as refusal:
            decode_cursor(cursor, other)
        assert refusal.value.reason is Reason.CURSOR_ORDER_MISMATCH


def test_a_cursor_of_a_list_belongs_to_its_parent() -> None:
    """The list of another parent refuses it and says so. Nothing else that is damaged gets that advice."""
    of_lines = Ordering(LINE_ITEMS, LINE_ITEMS["order_key"], within=LINE_ITEMS["order_key"])
    cursor = encode_cursor(of_lines, None, (1, 2), parent=1)
    assert decode_cursor(cursor, of_lines, 1) == Position(None, (1, 2))
    refusals = []
    for wrong in (cursor, cursor[:-1], forged('[1,"line_items.order_key.order_key+",[],1,2]')):
        with pytest.raises(InputError) as refusal:
            decode_cursor(wrong, of_lines, 7)
        assert refusal.value.reason is Reason.CURSOR_INVALID
        refusals.append("another object" in str(refusal.value))
    assert refusals == [True, False, False]


def forged(text: str) -> str:
    """A cursor with this content."""
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "cursor",
    [
        *(
            "",
            "x",
            "!",
            "====",
            "YXJyYXljb25uZWN0aW9uOjQ=",
            "\0",
            "é",
            "A" * 201,
            "A" * 100_000,
            " " + forged('[1,"order_key+",1]'),
        ),
        *map(forged, ("", "1", "null", "{}", "[]", "[1]", '[1,"order_key+"]', '[1,"order_key+",1,null]', "[" * 5000)),
        *map(forged, ('[2,"order_key+",1]', '[1,"order_key+","1"]', '[1,"order_key+",1.0]', '[1,"order_key+",true]')),
        *map(forged, ('[1,"order_key+",9223372036854775808]', '[1,"order_key+", 1]', '[1,"order_key+",01]')),
        *map(
            forged, ('[1.0,"order_key+",1]', '[1,"order_key+",NaN]', '[true,"order_key+",1]', '[1,"order_key+",1e400]')
        ),
        encode_cursor(BY_KEY, None, (1,)) + "=",
    ],
)
def test_a_cursor_that_is_not_ours_is_refused(cursor: str) -> None:
    """Damaged, forged, padded or from another server: always CURSOR_INVALID."""
    with pytest.raises(InputError) as refusal:
        decode_cursor(cursor, BY_KEY)
    assert refusal.value.reason is Reason.CURSOR_INVALID


@pytest.mark.parametrize(
    "value", ['"sNaN"', '"-NaN"', '"inf"', '"1E+999999"', '"1e5"', '"x"', "5", '"1992-13-01"', "[]", '"1.50 "', '"1_0"']
)
@pytest.mark.parametrize("column", ["total_price", "order_date"])
def test_a_forged_sort_value_is_refused(column: str, value: str) -> None:
    """The value in a cursor is parsed as strictly as the rest."""
    with pytest.raises(InputError) as refusal:
        decode_cursor(forged(f'[1,"{column}+",1,{value}]'), Ordering(ORDERS, ORDERS[column]))
    assert refusal.value.reason is Reason.CURSOR_INVALID


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_no_text_breaks_the_reading_of_a_cursor(text: str) -> None:
    """Any text is either a cursor or an input error."""
    for ordering in (BY_KEY, Ordering(ORDERS, ORDERS["total_price"]), Ordering(ORDERS, ORDERS["order_date"])):
        try:
            position = decode_cursor(text, ordering)
        except InputError:
            continue
        assert encode_cursor(ordering, position.value, position.key) == text


@pytest.mark.parametrize(
    ("arguments", "size", "backward"),
    [
        ({}, 50, False),
        ({"first": 0}, 0, False),
        ({"first": 1000}, 1000, False),
        ({"last": 7}, 7, True),
        ({"after": encode_cursor(BY_KEY, None, (9,))}, 50, False),
        ({"before": encode_cursor(BY_KEY, None, (9,))}, 50, True),
    ],
)
def test_legal_arguments(arguments: dict[str, object], size: int, backward: bool) -> None:  # noqa: FBT001 # pytest gives it by name
    """The default is 50, zero is valid, and a cursor alone determines the direction."""
    request = page_request(PageLimits(), BY_KEY, (), **{**NONE, **arguments})  # type: ignore[arg-type] # made above
    assert (request.size, request.backward) == (size, backward)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        *(
            ({argument: size}, Reason.PAGE_SIZE_INVALID)
            for argument in ("first", "last")
            for size in (-1, 1001, 2**31 - 1)
        ),
        *(
            (arguments, Reason.PAGE_ARGUMENTS_CONFLICT)
            for arguments in (
                {"first": 1, "last": 1},
                {"first": 1, "before": "x"},
                {"last": 1, "after": "x"},
                {"after": "x", "before": "x"},
                {"first": 0, "last": 0},
            )
        ),
    ],
)
def test_other_arguments_are_refused(arguments: dict[str, object], reason: Reason) -> None:
    """A size is never reduced silently, and mixed directions are refused."""
    with pytest.raises(InputError) as refusal:
        page_request(PageLimits(), BY_KEY, (), **{**NONE, **arguments})  # type: ignore[arg-type] # made above
    assert refusal.value.reason is reason


@given(st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,20}", fullmatch=True), st.from_regex(r"[ -~]{1,40}", fullmatch=True))
def test_a_global_id_leads_back_to_its_object(type_name: str, key: str) -> None:
    """For every type and key."""
    assert decode_global_id(encode_global_id(type_name, key)) == (type_name, key)


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda data: base64.b64encode(data).decode()))
def test_no_text_breaks_the_reading_of_a_global_id(text: str) -> None:
    """Any text is either an id, exactly as we issue it, or an input error."""
    with contextlib.suppress(InputError):
        assert encode_global_id(*decode_global_id(text)) == text


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *((ORDERS["total_price"], Decimal(text)) for text in ("NaN", "Infinity", "-Infinity", "0E-10", "1E+30")),
        *((ORDERS["order_date"], text) for text in ("infinity", "-infinity", "10000-01-01", "0044-03-15 BC")),
    ],
)
def test_a_value_that_the_schema_does_not_have_has_a_cursor_all_the_same(column: Column, value: object) -> None:
    """Its order is null, and the next page continues after it."""
    ordering = Ordering(ORDERS, column)
    position = decode_cursor(encode_cursor(ordering, value, (1,)), ordering)
    assert str(position.value) == str(value if isinstance(value, str) else Decimal(f"{value:f}"))


def test_prices_keep_their_digits_in_a_cursor() -> None:
    """A price with trailing zeros is the same position."""
    ordering = Ordering(ORDERS, ORDERS["total_price"])
    position = decode_cursor(encode_cursor(ordering, Decimal("10.00"), (1,)), ordering)
    assert position.value == Decimal(10)
    assert decode_cursor(
        encode_cursor(Ordering(ORDERS, ORDERS["order_date"]), date(1992, 1, 1), (1,)),
        Ordering(ORDERS, ORDERS["order_date"]),
    ).key == (1,)


@pytest.mark.parametrize(
    ("cursor", "place"),
    [
        (opaque([1, "changes", 0]), BEGINNING),
        (opaque([1, "changes", 15]), FeedPlace(15)),
        (opaque([1, "changes", 15, 1767225600000001]), FeedPlace(15, 1767225600000001)),
        (opaque([1, "changes", 2**63 - 1, -(2**63)]), FeedPlace(2**63 - 1, -(2**63))),
    ],
    ids=["the-beginning", "of-an-earlier-release", "of-a-change", "the-longest"],
)
def test_a_cursor_of_the_feed_names_one_place(cursor: str, place: FeedPlace) -> None:
    """Cursors of earlier releases, which have no time, are still read."""
    assert decode_change_cursor(cursor) == place
    assert encode_change_cursor(place) == cursor
