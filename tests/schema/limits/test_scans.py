"""The price of finding orders: nothing where one index has the page, else by what the database may have to read."""

from __future__ import annotations

from typing import Any, Final

import pytest
from graphql import get_operation_ast, parse, validate

from schema import DocumentLimits, build_schema
from schema.context import PageLimits
from schema.limits.cost import formula_of
from schema.limits.scans import advice_on
from schema.ports.statistics import NO_STATISTICS, OrderStatistics, Spread, place_of
from schema.ports.values import OrderColumn

SCHEMA: Final = build_schema()._schema  # noqa: SLF001 # Strawberry has no public way to it
PAGES: Final = PageLimits(default=50, maximum=1_000)
INDEXES: Final = frozenset(
    {
        (OrderColumn.ORDER_KEY,),
        (OrderColumn.ORDER_DATE, OrderColumn.ORDER_KEY),
        (OrderColumn.TOTAL_PRICE, OrderColumn.ORDER_KEY),
        (OrderColumn.CUSTOMER_KEY, OrderColumn.ORDER_KEY),
    }
)
ROWS: Final = 1_500_000
# The points for reading all of them.
WHOLE: Final = 1_500
LOW, HIGH = (place_of(OrderColumn.ORDER_DATE, day) or 0.0 for day in ("1992-01-01", "1998-08-02"))
SPREADS: Final = {
    OrderColumn.ORDER_KEY: Spread(each=1 / ROWS, bounds=[1, 3_000_000, 6_000_000]),
    OrderColumn.CUSTOMER_KEY: Spread(each=1 / 100_000, bounds=[1, 150_000]),
    OrderColumn.ORDER_DATE: Spread(each=1 / 2_406, bounds=[LOW, HIGH]),
    OrderColumn.TOTAL_PRICE: Spread(each=1 / ROWS, bounds=[800, 500_000]),
}
LARGE: Final = OrderStatistics(ROWS, INDEXES, SPREADS)
SMALL: Final = OrderStatistics(15_000, INDEXES, SPREADS)
UNINDEXED: Final = OrderStatistics(ROWS, frozenset({(OrderColumn.ORDER_KEY,)}), SPREADS)


def cost(document: str, known: OrderStatistics = LARGE, **variables: Any) -> int:
    """What an operation costs."""
    parsed = parse(document)
    assert not validate(SCHEMA, parsed)
    operation = get_operation_ast(parsed)
    assert operation
    return formula_of(SCHEMA, parsed, operation).evaluate(variables, PAGES, lambda: known)


def scan(document: str, known: OrderStatistics = LARGE, **variables: Any) -> int:
    """What an operation costs more because of this table."""
    return cost(document, known, **variables) - cost(document, NO_STATISTICS, **variables)


def orders(arguments: str, selection: str = "nodes { id }") -> str:
    """A page of one order."""
    return f"{{ orders(first: 1, {arguments}) {{ {selection} }} }}"


SERVED: Final = [
    "orderBy: {field: ORDER_KEY}",
    "orderBy: {field: ORDER_DATE, direction: DESC}",
    "filter: {}",
    "filter: null",
    "filter: {status: null, clerk: {}}",
    "filter: {customerKey: {eq: 1}}",
    "filter: {orderKey: {eq: 1}}",
    "filter: {orderKey: {in: [1, 2, 3]}}",
    'filter: {orderKey: {gt: "5000000"}}',
    'filter: {orderDate: {gte: "1995-01-01"}}, orderBy: {field: ORDER_DATE}',
    'filter: {totalPrice: {gte: "400000", lt: 500000}}, orderBy: {field: TOTAL_PRICE, direction: DESC}',
    "filter: {orderKey: {eq: 1}, status: {eq: OPEN}}, orderBy: {field: TOTAL_PRICE}",
    'filter: {orderDate: {gt: "1995-01-02", lt: "1995-01-01"}, clerk: {eq: "nobody"}}',
]
SCANNED: Final = [
    'filter: {clerk: {eq: "nobody"}}',
    'filter: {clerk: {in: ["nobody"]}}',
    "filter: {orderPriority: {eq: LOW}}",
    "filter: {status: {eq: OPEN}}",
    'filter: {status: {in: [OPEN]}}, orderBy: {field: ORDER_DATE, direction: DESC}, after: "x"',
    'filter: {clerk: {eq: "nobody"}, orderDate: {gte: "1900-01-01"}}',
    'filter: {clerk: {eq: "nobody"}, orderKey: {gt: 0}}, orderBy: {field: ORDER_KEY}',
]


@pytest.mark.parametrize("arguments", SERVED)
def test_a_page_that_an_index_serves_costs_nothing_more(arguments: str) -> None:
    """However many orders there are."""
    assert scan(orders(arguments)) == 0


@pytest.mark.parametrize("arguments", SCANNED)
def test_a_page_that_no_index_serves_costs_by_the_size_of_the_table(arguments: str) -> None:
    """On a small table a scan is cheap. One scan of the largest is still allowed, and several are not."""
    most = DocumentLimits().cost
    large, small = scan(orders(arguments)), scan(orders(arguments), SMALL)
    assert large >= WHOLE
    assert small <= 310
    assert large == pytest.approx(min(100 * small, 20_000), rel=0.2)
    huge = OrderStatistics(10**10, INDEXES, SPREADS)
    assert most / 2 < scan(orders(arguments), huge) < most


@pytest.mark.parametrize("selection", ["nodes { id }", "edges { node { id } }", "pageInfo { hasNextPage }"])
def test_any_selection_that_needs_the_page_pays_for_it(selection: str) -> None:
    """What needs no page costs nothing."""
    assert scan(orders('filter: {clerk: {eq: "a"}}', selection)) == WHOLE
    assert scan(orders('filter: {clerk: {eq: "a"}}', "__typename")) == 0


def test_each_alias_pays_for_its_own_scan() -> None:
    """Twenty of them are more than an operation may cost."""
    aliases = " ".join(
        f"a{n}: orders(first: 1, filter: {{status: {{eq: OPEN}}}}) {{ nodes {{ id }} }}" for n in range(20)
    )
    assert cost(f"{{ {aliases} }}") > DocumentLimits().cost


def test_a_narrow_indexed_condition_makes_a_scan_cheap() -> None:
    """The database reads only the orders that it leaves."""
    wide, fortnight, day = (
        scan(orders(f'filter: {{status: {{eq: OPEN}}, orderDate: {{gte: "{since}", lte: "1998-08-02"}}}}'))
        for since in ("1992-01-01", "1998-07-24", "1998-08-01")
    )
    assert wide > fortnight > 5 * day > 0
    assert scan(orders('filter: {customerKey: {eq: 1}, clerk: {eq: "nobody"}}')) <= 1


def test_a_range_in_another_order_costs_what_finding_its_orders_takes() -> None:
    """The fewer of: all orders of the range; and the orders that are read until a page of them is found."""
    half = scan(orders('filter: {orderDate: {gte: "1995-04-01"}}, orderBy: {field: TOTAL_PRICE}'))
    week = scan(orders('filter: {orderDate: {gte: "1998-07-27"}}, orderBy: {field: TOTAL_PRICE}'))
    assert half == 0
    assert 0 < week < 50


@pytest.mark.parametrize("field", ["ORDER_DATE", "TOTAL_PRICE"])
def test_an_order_without_an_index_is_a_scan(field: str) -> None:
    """Also for the filters whose index is missing."""
    assert scan(orders(f"orderBy: {{field: {field}}}"), UNINDEXED) == WHOLE
    assert (
        scan("query($o: OrderOrder) { orders(orderBy: $o) { nodes { id } } }", UNINDEXED, o={"field": field}) == WHOLE
    )
    assert scan(orders("filter: {customerKey: {eq: 1}}"), UNINDEXED) == WHOLE


@pytest.mark.parametrize(
    ("document", "variables"),
    [
        ("query($f: OrderFilter) { orders(first: 1, filter: $f) { nodes { id } } }", {"f": {"clerk": {"eq": "a"}}}),
        ("query($c: ClerkFilter) { orders(first: 1, filter: {clerk: $c}) { nodes { id } } }", {"c": {"eq": "a"}}),
        ("query($e: String) { orders(first: 1, filter: {clerk: {eq: $e}}) { nodes { id } } }", {"e": "a"}),
        ('query($e: String = "a") { orders(first: 1, filter: {clerk: {eq: $e}}) { nodes { id } } }', {}),
    ],
)
def test_a_condition_in_a_variable_is_seen(document: str, variables: dict[str, Any]) -> None:
    """At any depth, and as a default."""
    assert scan(document, **variables) == scan(orders('filter: {clerk: {eq: "a"}}'))


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "x",
        [],
        {"clerk": 7},
        {"clerk": []},
        {"clerk": {"eq": None}},
        {"orderDate": {"gt": {}}},
        {"x": {"eq": 1}},
    ],
)
@pytest.mark.parametrize("order", [None, 7, "x", [], {"field": 7}, {"field": []}, {"field": "CLERK"}])
def test_no_wrong_variables_break_the_price(value: object, order: object) -> None:
    """They are refused later."""
    document = "query($f: OrderFilter, $o: OrderOrder) { orders(filter: $f, orderBy: $o) { nodes { id } } }"
    assert scan(document, f=value, o=order) >= 0


@pytest.mark.parametrize(
    "bound", ["x", "", "NaN", "1e999", -(10**400), 10**400, 1.5, True, "0044-03-15 BC", "99999-01-01"]
)
@pytest.mark.parametrize("name", ["orderDate", "totalPrice", "orderKey"])
def test_no_bound_breaks_the_price(name: str, bound: object) -> None:
    """What is not understood restricts nothing."""
    document = "query($f: OrderFilter) { orders(filter: $f) { nodes { id } } }"
    filter_ = {"clerk": {"eq": "a"}, name: {"gte": bound, "lt": bound}}
    assert 0 <= scan(document, f=filter_) <= WHOLE


def numbered(arguments: str, known: OrderStatistics = LARGE, **variables: Any) -> int:
    """What a numbered page of one order costs more because of the table."""
    declared = "query($p: Int)" if "$p" in arguments else ""
    document = f"{declared} {{ ordersPage(pageSize: 1, {arguments}) {{ nodes {{ id }} }} }}"
    return scan(document, known, **variables)


def test_a_numbered_page_costs_by_the_orders_before_it() -> None:
    """Near pages cost nothing more. Beyond the end there is nothing to skip."""
    assert numbered("page: 1") == numbered("page: 20") == 0
    assert numbered("page: 149000") == pytest.approx(149_000 / 200, rel=0.1)
    assert numbered("page: $p", p=149_000) == numbered("page: 149000")
    assert numbered("page: 2000000000") == numbered("page: 1500001")
    assert numbered("page: 149000", SMALL) < 120
    for wrong in (0, -1, "x", None, 1.5, True, 10**30):
        assert numbered("page: $p", p=wrong) >= 0
    document = "{ ordersPage(pageSize: 1000, page: 150) { hasNextPage } }"
    assert scan(document) == pytest.approx(numbered("page: 149000"), rel=0.01)


def test_a_filtered_numbered_page_costs_what_it_may_read() -> None:
    """What no index serves is a scan on any page."""
    assert numbered('page: 1, filter: {clerk: {eq: "a"}}') == WHOLE
    assert numbered("page: 1, filter: {customerKey: {eq: 1}}") == 0


@pytest.mark.parametrize(
    "document",
    [
        "{{ orders(first: 0, {filter}) {{ totalCount }} }}",
        "{{ orders(first: 0, {filter}) {{ totalCount(precision: EXACT) }} }}",
        "{{ ordersPage({filter}) {{ totalCount }} }}",
        "{{ ordersPage({filter}) {{ totalPages }} }}",
        "{{ ordersPage({filter}) {{ totalCount totalPages a: totalCount }} }}",
        "{{ orderCount({filter}) {{ count }} }}",
    ],
)
def test_a_count_costs_by_the_orders_that_it_counts(document: str) -> None:
    """Without a filter all callers share one. An estimate reads nothing."""
    assert scan(document.format(filter='filter: {clerk: {eq: "a"}}')) == WHOLE
    assert scan(document.format(filter="filter: {}")) == 0
    assert scan(document.format(filter='filter: {orderDate: {gte: "1998-08-01"}}')) < 90
    assert scan(document.format(filter="filter: {status: {eq: OPEN}}")) > 2_000


def test_an_estimate_and_a_shared_count_read_nothing() -> None:
    """Each exact count of a connection is a scan of its own."""
    filter_ = 'filter: {clerk: {eq: "a"}}'
    assert scan(orders(filter_, "totalCount(precision: ESTIMATED)")) == 0
    assert scan(orders(filter_, "a: totalCount b: totalCount")) == 2 * (WHOLE)
    document = f"query($p: CountPrecision) {{ {orders(filter_, 'totalCount(precision: $p)')[1:]}"
    assert [scan(document, p=precision) for precision in ("ESTIMATED", "EXACT")] == [0, WHOLE]


def test_statistics_take_more_for_each_order_than_a_count() -> None:
    """All groups are computed in one scan."""
    filter_ = 'filter: {clerk: {eq: "a"}}'
    some = scan(f"{{ orderStats({filter_}) {{ count }} }}")
    assert some == scan(f"{{ orderStats({filter_}) {{ byStatus {{ count }} byPriority {{ count }} }} }}") == 4 * WHOLE
    assert scan("{ orderStats { count byStatus { count } } }") == 0


def test_a_sample_of_a_view_or_of_partitions_sorts_all_orders() -> None:
    """A plain table is sampled at random places."""
    assert scan("{ orderSample(size: 1) { id } }") == 0
    assert scan("{ orderSample(size: 1) { id } }", OrderStatistics(ROWS, INDEXES, SPREADS, plain=False)) > 5_000


def test_a_long_list_of_texts_costs_more() -> None:
    """Each order is compared with all of them."""
    few, many = (
        scan("query($f: OrderFilter) { orders(filter: $f) { nodes { id } } }", f={"clerk": {"in": ["a"] * number}})
        for number in (1, 1_000)
    )
    assert many > 10 * few


def advice(document: str, known: OrderStatistics = LARGE) -> str:
    """What to do about the cost of an operation."""
    parsed = parse(document)
    operation = get_operation_ast(parsed)
    assert operation
    return " ".join(advice_on(formula_of(SCHEMA, parsed, operation), {}, PAGES, lambda: known))


def test_the_advice_says_what_to_do() -> None:
    """A filter to add, an index to build, or cursors instead of page numbers."""
    status = advice(orders('filter: {status: {eq: OPEN}, clerk: {eq: "a"}}'))
    assert "`status` and `clerk`" in status
    assert "`orderDate`" in status
    assert "`ensureOrderIndexes`" in advice(orders("orderBy: {field: ORDER_DATE}"), UNINDEXED)
    assert "cursors" in advice("{ ordersPage(page: 1000000) { nodes { id } } }")
    assert "`clerk`" in advice('{ orderCount(filter: {clerk: {eq: "a"}}) { count } }')
    assert advice("{ orders { nodes { id } } }") == ""


def test_common_values_count_in_a_range() -> None:
    """Half of the orders are of one day, and the bounds leave it out."""
    day = place_of(OrderColumn.ORDER_DATE, "1995-01-01")
    assert day
    spread = Spread(each=0.5, common=[(day, 0.5)], bounds=[LOW, HIGH])
    assert spread.between(day, day) >= 0.5
    assert Spread(each=0.001, common=[(day, 0.5)], bounds=[LOW, HIGH]).between(day + 1, day + 2) < 0.01
    assert Spread().between(day, day) == 1.0
