"""Conditions on related rows: which a schema has, what they become, how many are allowed, and what they cost."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from graphql import GraphQLInputObjectType, coerce_input_value
from strawberry.types.arguments import convert_argument

from schema import build_schema
from schema.errors import InputError, Reason
from schema.graph import TABLES
from schema.limits.conditions import asked_conditions
from schema.orders.arguments import OrderFilter
from schema.orders.types import ORDERS
from schema.ports.statistics import Spread, TableStatistics
from schema.ports.values import Condition, Not, OfRelated, Operator, columns_in
from schema.ports.ways import Way, time_of_count, way_of
from schema.tables.conditions import conditions_of
from tests.support.orderings import ordering_by

if TYPE_CHECKING:
    from collections.abc import Collection

    from schema.ports.columns import Column, Table
    from schema.ports.values import Conditions

SCHEMA: Final = build_schema(tables=TABLES)
CUSTOMERS, LINES = TABLES["customers"], TABLES["line_items"]
SAME: Final = Condition(CUSTOMERS["name"], Operator.EQ, "Same")
FIRST: Final = Condition(LINES["line_number"], Operator.EQ, 1)


def customer(*conditions: Condition) -> OfRelated:
    """Orders of a customer that the conditions match."""
    return OfRelated(CUSTOMERS, ORDERS["customer_key"], CUSTOMERS["customer_key"], conditions)


def lines(*conditions: Condition) -> OfRelated:
    """Orders with a line that the conditions match."""
    return OfRelated(LINES, ORDERS["order_key"], LINES["order_key"], conditions)


def parsed(value: dict[str, Any]) -> Conditions:
    """The conditions of a filter that a client sends."""
    type_ = SCHEMA._schema.type_map["OrderFilter"]  # noqa: SLF001 # as the server has it
    assert isinstance(type_, GraphQLInputObjectType)
    converter = SCHEMA.schema_converter
    made = convert_argument(coerce_input_value(value, type_), OrderFilter, converter.scalar_registry, converter.config)
    return conditions_of(ORDERS, made)


def fields_of(name: str, tables: Collection[str]) -> set[str]:
    """The fields of an input in the schema of a deployment that serves these tables beside the orders."""
    found = build_schema(tables=tables)._schema.type_map.get(name)  # noqa: SLF001 # as above
    return set(found.fields) if isinstance(found, GraphQLInputObjectType) else set()


def test_a_filter_asks_about_served_tables_alone() -> None:
    """A deployment without line items has no filter by them, and none of their own."""
    assert not {"customer", "lineItems"} & fields_of("OrderFilter", ())
    assert fields_of("CustomerFilter", ()) == fields_of("LineItemFilter", ()) == set()
    assert {"customer", "lineItems"} & fields_of("OrderFilter", ("customers",)) == {"customer"}
    assert {"nation", "orders"} & fields_of("CustomerFilter", ("customers",)) == {"orders"}
    assert {"customer", "lineItems"} <= fields_of("OrderFilter", TABLES)
    assert fields_of("LineItemListFilter", TABLES) == {"some", "none"}
    assert {"order", "part", "supplier"} <= fields_of("LineItemFilter", TABLES)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"customer": {"name": {"eq": "Same"}}}, (customer(SAME),)),
        ({"customer": {}}, (customer(),)),
        ({"customer": None, "lineItems": None}, ()),
        ({"lineItems": {}}, ()),
        ({"lineItems": {"some": {}, "none": None}}, (lines(),)),
        ({"lineItems": {"some": {"lineNumber": {"eq": 1}}}}, (lines(FIRST),)),
        ({"lineItems": {"some": {}, "none": {"lineNumber": {"eq": 1}}}}, (lines(), Not((lines(FIRST),)))),
        ({"not": {"lineItems": {"none": {}}}}, (lines(),)),
        ({"not": {"customer": {}}}, (Not((customer(),)),)),
    ],
)
def test_conditions_on_related_rows_mean_what_their_descriptions_say(
    value: dict[str, Any], expected: Conditions
) -> None:
    """An empty object asks for any related row. The price assumes the same conditions."""
    assert parsed(value) == expected
    assert asked_conditions(ORDERS, value) == expected
    # Other tables' columns are none of the orders'.
    assert columns_in(expected) <= {ORDERS["customer_key"], ORDERS["order_key"]}


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (
            {"customer": {"orders": {"some": {"customer": {"orders": {"none": {}}}}}}},
            "`filter.customer.orders.some.customer.orders` is about rows related to related rows, 4 deep",
        ),
        ({"or": [{"customer": {}}] * 11}, "`filter.or[10].customer` is one too many"),
        ({"lineItems": {"none": {"comment": {"contains": "x" * 1_001}}}}, "`filter.lineItems.none.comment.contains`"),
        ({"customer": {"or": [{}, {"name": {"eq": "\0"}}]}}, "`filter.customer.or[1].name.eq` contains a NUL byte"),
        ({"customer": {"customerKey": {"in": [*range(1_001)]}}}, "`filter.customer.customerKey.in` has 1001 values"),
    ],
)
def test_mistakes_on_related_rows_are_named_by_their_places(value: dict[str, Any], place: str) -> None:
    """So are relations that are nested too deep, or are too many."""
    with pytest.raises(InputError) as raised:
        parsed(value)
    assert raised.value.reason in {Reason.TOO_MANY_VALUES, Reason.VALUE_INVALID}
    assert place in raised.value.message


def knows(*indexes: tuple[Column, ...]) -> dict[Table, TableStatistics]:
    """What is known of 1,500,000 orders, and of the customers and lines around them."""
    of_orders = frozenset({(ORDERS["order_key"],), (ORDERS["customer_key"], ORDERS["order_key"]), *indexes})
    customers = frozenset({(CUSTOMERS["customer_key"],), (CUSTOMERS["name"], CUSTOMERS["customer_key"])})
    building = {"BUILDING": 0.2, "MACHINERY": 0.8}
    return {
        ORDERS: TableStatistics(1_500_000, of_orders),
        CUSTOMERS: TableStatistics(
            150_000,
            customers,
            {CUSTOMERS["name"]: Spread(each=1 / 150_000), CUSTOMERS["market_segment"]: Spread(0.0, building)},
        ),
        LINES: TableStatistics(6_000_000, frozenset({(LINES["order_key"], LINES["line_number"])})),
    }


COMMON: Final = customer(Condition(CUSTOMERS["market_segment"], Operator.EQ, "BUILDING"))


@pytest.mark.parametrize(
    ("term", "way", "most"),
    [(customer(SAME), Way.SORTED, 1_000), (COMMON, Way.PASSING, 2_000), (lines(), Way.PASSING, 2_000)],
    ids=["few customers", "many customers", "any line"],
)
def test_a_page_begins_at_few_related_rows_and_passes_many(term: OfRelated, way: Way, most: float) -> None:
    """Either takes a millisecond or two, and the price says so."""
    known = knows()
    found = way_of((term,), ordering_by(ORDERS), 50, known[ORDERS].beside(known.__getitem__))
    assert found.way is way
    assert found.microseconds < most


def test_related_rows_without_an_index_cost_what_reading_all_of_them_takes() -> None:
    """Nor is each order looked up among them: all of those that match are read once."""
    known = knows()
    known[LINES] = replace(known[LINES], indexes=frozenset())
    ordering = ordering_by(ORDERS)
    found = way_of((lines(FIRST),), ordering, 50, known[ORDERS].beside(known.__getitem__))
    assert found.way is Way.SORTED
    assert found.microseconds > 500_000


def test_a_count_by_related_rows_costs_more_than_one_without() -> None:
    """By few customers it is cheap. By many it reads all customers and all orders."""
    known = knows()
    orders = known[ORDERS].beside(known.__getitem__)
    few, many = (time_of_count((term,), orders, statistics=False) for term in (customer(SAME), COMMON))
    assert few < 1_000
    assert many > time_of_count((), orders, statistics=False)
