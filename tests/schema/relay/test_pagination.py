"""Page arguments and cursors: valid ones have one meaning, and invalid ones are refused with their reason."""

from __future__ import annotations

import base64
import contextlib
from datetime import UTC, date
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
from schema.ports.values import Ordering, Position, SortKey
from schema.relay.cursors import decode_change_cursor, decode_cursor, encode_change_cursor, encode_cursor, opaque
from schema.relay.node import decode_global_id, encode_global_id
from schema.relay.pagination import page_request
from tests.support.orderings import ordering_by

if TYPE_CHECKING:
    from schema.ports.columns import Column

LINE_ITEMS = TABLES["line_items"]
KEYS = st.integers(-(2**63), 2**63 - 1)
VALUES = {
    ORDERS["order_date"]: st.none() | st.dates(),
    ORDERS["total_price"]: st.none()
    | st.decimals(allow_nan=False, allow_infinity=False, places=2, min_value=-(10**16), max_value=10**16),
    ORDERS["customer_key"]: st.none() | KEYS,
    ORDERS["ship_priority"]: st.none() | st.integers(-(2**31), 2**31 - 1),
    ORDERS["status_updated_at"]: st.none() | st.datetimes(timezones=st.just(UTC)),
}
ORDERINGS = st.lists(
    st.builds(SortKey, st.sampled_from([ORDERS["order_key"], *VALUES]), st.booleans(), st.booleans()),
    max_size=3,
    unique_by=lambda key: key.column,
).map(lambda keys: Ordering.by(ORDERS, keys))
BY_KEY = ordering_by(ORDERS, ORDERS["order_key"])
NONE = {"first": None, "after": None, "last": None, "before": None}


def positions(ordering: Ordering) -> st.SearchStrategy[Position]:
    """Any position in this ordering."""
    return st.builds(Position, st.tuples(*(VALUES[key.column] for key in ordering.keys)), st.tuples(KEYS))


@given(st.data(), ORDERINGS)
def test_a_cursor_leads_back_to_its_position(data: st.DataObject, ordering: Ordering) -> None:
    """Whatever the ordering, and also for missing values."""
    at = data.draw(positions(ordering))
    cursor = encode_cursor(ordering, at.values, at.key)
    assert decode_cursor(cursor, ordering) == at
    assert len(cursor) <= 300


@given(st.data(), ORDERINGS, ORDERINGS)
def test_a_cursor_belongs_to_its_ordering(data: st.DataObject, ordering: Ordering, other: Ordering) -> None:
    """With another field, direction, or place of nulls it is refused, not misread."""
    if ordering != other:
        at = data.draw(positions(ordering))
        with pytest.raises(InputError) as refusal:
            decode_cursor(encode_cursor(ordering, at.values, at.key), other)
        assert refusal.value.reason is Reason.CURSOR_ORDER_MISMATCH


def test_a_refusal_says_which_order_the_cursor_has() -> None:
    """And which one was asked for, as `orderBy` has them."""
    keys = [
        SortKey.of(ORDERS["status_updated_at"], descending=True, nulls_first=False),
        SortKey.of(ORDERS["total_price"]),
        SortKey.of(ORDERS["order_key"], descending=True),
    ]
    ordering = Ordering.by(ORDERS, keys)
    cursor = encode_cursor(ordering, (None, Decimal(1)), (1,))
    with pytest.raises(InputError) as refusal:
        decode_cursor(cursor, BY_KEY)
    assert (
        "issued for the `orderBy` STATUS_UPDATED_AT DESC NULLS LAST, TOTAL_PRICE ASC, ORDER_KEY DESC, "
        "and this is ORDER_KEY ASC"
    ) in str(refusal.value)


@pytest.mark.parametrize(
    ("parts", "keys", "within"),
    [
        ([1, "order_key-", 7], [SortKey.of(ORDERS["order_key"], descending=True)], None),
        ([1, "order_date+", 7, "1996-01-02"], [SortKey.of(ORDERS["order_date"])], None),
        ([1, "total_price-", 7, None], [SortKey.of(ORDERS["total_price"], descending=True)], None),
        ([1, "orders.customer_key.total_price+", 3, 7, "1.50"], [SortKey.of(ORDERS["total_price"])], "customer_key"),
    ],
)
def test_cursors_that_were_issued_when_there_was_one_field_are_valid(
    parts: list[object], keys: list[SortKey], within: str | None
) -> None:
    """As they are issued now."""
    ordering = Ordering.by(ORDERS, keys, within=ORDERS[within] if within else None)
    at = decode_cursor(opaque(parts), ordering, 3 if within else None)
    assert at.key == (7,)
    assert encode_cursor(ordering, at.values, at.key, 3 if within else None) == opaque(parts)


def test_what_follows_the_key_does_not_matter() -> None:
    """Nothing ties there. Neither does the key itself, in the direction of the last field."""
    date_, key = SortKey.of(ORDERS["order_date"]), SortKey.of(ORDERS["order_key"])
    price = SortKey.of(ORDERS["total_price"], descending=True)
    assert Ordering.by(ORDERS, [date_, key, price]) == Ordering.by(ORDERS, [date_])
    assert Ordering.by(ORDERS, [key, price]) == Ordering.by(ORDERS, []) == Ordering(ORDERS)


def test_a_cursor_of_a_list_belongs_to_its_parent() -> None:
    """The list of another parent refuses it and says so. Nothing else that is damaged gets that advice."""
    of_lines = ordering_by(LINE_ITEMS, LINE_ITEMS["order_key"], within=LINE_ITEMS["order_key"])
    cursor = encode_cursor(of_lines, (), (1, 2), parent=1)
    assert decode_cursor(cursor, of_lines, 1) == Position((), (1, 2))
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
        encode_cursor(BY_KEY, (), (1,)) + "=",
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
@pytest.mark.parametrize("column", ["total_price", "order_date", "customer_key", "status_updated_at"])
def test_a_forged_sort_value_is_refused(column: str, value: str) -> None:
    """The value in a cursor is parsed as strictly as the rest."""
    with pytest.raises(InputError) as refusal:
        decode_cursor(forged(f'[1,"{column}+",1,{value}]'), ordering_by(ORDERS, ORDERS[column]))
    assert refusal.value.reason is Reason.CURSOR_INVALID


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_no_text_breaks_the_reading_of_a_cursor(text: str) -> None:
    """Any text is either a cursor or an input error."""
    for ordering in (BY_KEY, ordering_by(ORDERS, ORDERS["total_price"]), ordering_by(ORDERS, ORDERS["order_date"])):
        try:
            position = decode_cursor(text, ordering)
        except InputError:
            continue
        assert encode_cursor(ordering, position.values, position.key) == text


@pytest.mark.parametrize(
    ("arguments", "size", "backward"),
    [
        ({}, 50, False),
        ({"first": 0}, 0, False),
        ({"first": 1000}, 1000, False),
        ({"last": 7}, 7, True),
        ({"after": encode_cursor(BY_KEY, (), (9,))}, 50, False),
        ({"before": encode_cursor(BY_KEY, (), (9,))}, 50, True),
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
        *((ORDERS["status_updated_at"], text) for text in ("infinity", "0044-03-15 01:02:03.5+00:53:28 BC")),
    ],
)
def test_a_value_that_the_schema_does_not_have_has_a_cursor_all_the_same(column: Column, value: object) -> None:
    """Its order is null, and the next page continues after it."""
    ordering = ordering_by(ORDERS, column)
    position = decode_cursor(encode_cursor(ordering, (value,), (1,)), ordering)
    assert str(*position.values) == str(value if isinstance(value, str) else Decimal(f"{value:f}"))


def test_prices_keep_their_digits_in_a_cursor() -> None:
    """A price with trailing zeros is the same position."""
    ordering = ordering_by(ORDERS, ORDERS["total_price"])
    position = decode_cursor(encode_cursor(ordering, (Decimal("10.00"),), (1,)), ordering)
    assert position.values == (Decimal(10),)
    assert decode_cursor(
        encode_cursor(ordering_by(ORDERS, ORDERS["order_date"]), (date(1992, 1, 1),), (1,)),
        ordering_by(ORDERS, ORDERS["order_date"]),
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
