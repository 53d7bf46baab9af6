"""The conditions of a filter: what its combinations mean, which are too many, and what their price assumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from graphql import GraphQLInputObjectType, coerce_input_value
from hypothesis import given
from hypothesis import strategies as st
from strawberry.types.arguments import convert_argument

from schema import build_schema
from schema.errors import InputError, Reason
from schema.limits.conditions import asked_conditions
from schema.orders.arguments import OrderFilter
from schema.orders.types import ORDERS
from schema.ports.unchanged import match_only_changed
from schema.ports.values import AnyOf, Condition, Not, Operator, comparisons_in
from schema.tables.conditions import conditions_of

if TYPE_CHECKING:
    from schema.ports.values import Conditions

SCHEMA: Final = build_schema()
ONE: Final[dict[str, Any]] = {"orderKey": {"eq": "1"}}
KEY: Final = Condition(ORDERS["order_key"], Operator.EQ, 1)
NONE: Final = (AnyOf(()),)


def parsed(value: dict[str, Any]) -> Conditions:
    """The conditions of a filter that a client sends."""
    type_ = SCHEMA._schema.type_map["OrderFilter"]  # noqa: SLF001 # as the server has it
    assert isinstance(type_, GraphQLInputObjectType)
    converter = SCHEMA.schema_converter
    made = convert_argument(coerce_input_value(value, type_), OrderFilter, converter.scalar_registry, converter.config)
    return conditions_of(ORDERS, made)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, ()),
        ({"and": []}, ()),
        ({"or": []}, NONE),
        ({"not": {}}, NONE),
        ({"and": [{"or": []}]}, NONE),
        ({"not": {"and": []}}, NONE),
        ({"or": [{}, ONE]}, ()),
        ({"or": [ONE]}, (KEY,)),
        ({"or": [ONE, ONE]}, (AnyOf(((KEY,), (KEY,))),)),
        ({"and": [ONE, {"and": [ONE]}]}, (KEY, KEY)),
        ({"not": ONE}, (Not((KEY,)),)),
        ({"not": {"not": ONE}}, (KEY,)),
        ({"not": {"or": []}}, (Not(NONE),)),
        ({**ONE, "and": [ONE], "or": [ONE, {"not": ONE}]}, (KEY, KEY, AnyOf(((KEY,), (Not((KEY,)),))))),
        ({"and": None, "or": None, "not": None, "clerk": None}, ()),
        ({"clerk": {"caseSensitive": True}}, ()),
        ({"clerk": {"contains": "a"}}, (Condition(ORDERS["clerk"], Operator.CONTAINS_IN_ANY_CASE, "a"),)),
        (
            {"clerk": {"startsWith": "a", "caseSensitive": True}},
            (Condition(ORDERS["clerk"], Operator.STARTS_WITH, "a"),),
        ),
        ({"status": {"notIn": ["OPEN", "OPEN"]}}, (Condition(ORDERS["status"], Operator.NOT_IN, ("O",)),)),
        ({"syncedStatus": {"isNull": True}}, (Condition(ORDERS["synced_status"], Operator.IS_NULL),)),
        ({"syncedStatus": {"isNull": False}}, (Condition(ORDERS["synced_status"], Operator.IS_NOT_NULL),)),
    ],
)
def test_a_filter_means_what_its_descriptions_say(value: dict[str, Any], expected: Conditions) -> None:
    """What is beside each other, or within `and`, becomes one list, of which an index may serve any part."""
    assert parsed(value) == expected
    # In the price a key is what the client has sent.
    asked = asked_conditions(ORDERS, value)
    assert [one.operator for one in comparisons_in(asked)] == [one.operator for one in comparisons_in(expected)]
    assert [type(term) for term in asked] == [type(term) for term in expected]


@pytest.mark.parametrize(
    ("value", "reason", "place"),
    [
        ({"or": [ONE, ONE, {"clerk": {"contains": "x" * 1_001}}]}, Reason.VALUE_INVALID, "filter.or[2].clerk.contains"),
        ({"not": {"comment": {"startsWith": "\0"}}}, Reason.VALUE_INVALID, "filter.not.comment.startsWith"),
        ({"clerk": {"in": ["a", "\0"]}}, Reason.VALUE_INVALID, "filter.clerk.in"),
        (
            {"and": [{"orderKey": {"notIn": [*range(1_001)]}}]},
            Reason.TOO_MANY_VALUES,
            "filter.and[0].orderKey.notIn",
        ),
        ({"or": [ONE] * 51}, Reason.TOO_MANY_VALUES, "filter.or"),
    ],
)
def test_a_mistake_is_named_by_its_place(value: dict[str, Any], reason: Reason, place: str) -> None:
    """However deep in the filter it is."""
    with pytest.raises(InputError) as raised:
        parsed(value)
    assert raised.value.reason is reason
    assert f"`{place}" in raised.value.message


@pytest.mark.parametrize("word", ["and", "or", "not"])
def test_eight_objects_may_be_within_one_another(word: str) -> None:
    """The ninth is one too many. The price of the operation looks no deeper."""
    value: dict[str, Any] = ONE
    for _ in range(7):
        value = {word: value if word == "not" else [value]}
    assert parsed(value)
    nine = {word: value if word == "not" else [value]}
    place = ".".join(["filter", *[word if word == "not" else f"{word}[0]"] * 8])
    with pytest.raises(InputError, match="is nested 9 deep") as raised:
        parsed(nine)
    assert f"`{place}`" in raised.value.message
    asked_conditions(ORDERS, nine)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["and", "or", "not", "clerk", "orderKey", "statusVersion", "eq", "in", "contains", "isNull"]
                ),
                inner,
                max_size=3,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_is_sent_has_a_price(value: object) -> None:
    """It is priced before it is validated."""
    match_only_changed(asked_conditions(ORDERS, value))


CHANGED_BY: Final = {"statusUpdatedBy": {"eq": "ann"}}


@pytest.mark.parametrize(
    ("value", "only_changed"),
    [
        ({}, False),
        (ONE, False),
        ({"status": {"eq": "OPEN"}}, False),
        (CHANGED_BY, True),
        ({**ONE, **CHANGED_BY}, True),
        ({"or": [CHANGED_BY, ONE]}, False),
        ({"or": [CHANGED_BY, {"statusSuperseded": {"eq": True}}]}, True),
        ({"not": CHANGED_BY}, False),
        ({"not": {"not": CHANGED_BY}}, True),
        ({"not": {"statusUpdatedAt": {"isNull": True}}}, True),
        ({"not": {"statusUpdatedAt": {"isNull": True}, **ONE}}, False),
        ({"statusUpdatedAt": {"isNull": True}}, False),
        ({"statusUpdatedAt": {"isNull": False}}, True),
        ({"statusUpdatedAt": {"gte": "2026-01-01T00:00:00Z"}}, True),
        ({"statusUpdatedBy": {"contains": ""}}, True),
        ({"statusUpdatedBy": {"ne": "ann"}}, True),
        ({"statusVersion": {"gt": 0}}, True),
        ({"statusVersion": {"gte": 0}}, False),
        ({"statusVersion": {"in": [0, 1]}}, False),
        ({"statusVersion": {"notIn": [0, 1]}}, True),
        ({"statusVersion": {"ne": 1}}, False),
        ({"statusSuperseded": {"eq": False}}, False),
    ],
)
def test_it_is_known_which_filters_match_changed_orders_alone(value: dict[str, Any], *, only_changed: bool) -> None:
    """Of an order that was never changed, the version is 0 and the time is null."""
    assert match_only_changed(parsed(value)) is only_changed
    assert match_only_changed(asked_conditions(ORDERS, value)) is only_changed
