"""The price of finding orders: nothing where one index has the page, else by what the database is expected to read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from graphql import get_operation_ast, parse, validate

from schema import DocumentLimits, build_schema
from schema.context import PageLimits
from schema.graph import TABLES
from schema.limits.cost import formula_of
from schema.limits.scans import PageScan, advice_on
from schema.orders.types import ORDERS
from schema.ports.statistics import NO_STATISTICS, Spread, TableStatistics, place_of
from schema.ports.ways import Way, way_of

if TYPE_CHECKING:
    from schema.ports.values import Conditions, Ordering

SCHEMA: Final = build_schema()._schema  # noqa: SLF001 # Strawberry has no public way to it
PAGES: Final = PageLimits(default=50, maximum=1_000)
INDEXES: Final = frozenset(
    {
        (ORDERS["order_key"],),
        (ORDERS["order_date"], ORDERS["order_key"]),
        (ORDERS["total_price"], ORDERS["order_key"]),
        (ORDERS["customer_key"], ORDERS["order_key"]),
    }
)
ROWS: Final = 1_500_000
# The points for planning a page for its values, for reading all orders, and for passing them in the order of the keys.
PLANNED, WHOLE, PASSED = 7, 1_500, 2_257
LOW, HIGH = (place_of(ORDERS["order_date"], day) or 0.0 for day in ("1992-01-01", "1998-08-02"))
# A hundred parts of equal size, as PostgreSQL has them.
SPREADS: Final = {
    ORDERS["order_key"]: Spread(each=1 / ROWS, bounds=[60_000 * part for part in range(101)]),
    ORDERS["customer_key"]: Spread(each=1 / 100_000, bounds=[1_500 * part for part in range(101)]),
    ORDERS["order_date"]: Spread(each=1 / 2_406, bounds=[LOW + (HIGH - LOW) * part / 100 for part in range(101)]),
    ORDERS["total_price"]: Spread(each=1 / ROWS, bounds=[800 + 5_000 * part for part in range(101)]),
    ORDERS["status"]: Spread(each=0.0, common={"O": 0.487, "F": 0.487, "P": 0.026}),
    ORDERS["order_priority"]: Spread(each=0.0, common={"1-URGENT": 0.2, "5-LOW": 0.2, "3-MEDIUM": 0.6}),
    ORDERS["clerk"]: Spread(each=1 / 1_000, common={"Clerk#000000710": 0.002}),
}
LARGE: Final = TableStatistics(ROWS, INDEXES, SPREADS)
SMALL: Final = TableStatistics(15_000, INDEXES, SPREADS)
LARGEST: Final = TableStatistics(15_000_000, INDEXES, SPREADS)
UNINDEXED: Final = TableStatistics(ROWS, frozenset({(ORDERS["order_key"],)}), SPREADS)


def cost(document: str, known: TableStatistics = LARGE, **variables: Any) -> int:
    """What an operation costs."""
    parsed = parse(document)
    assert not validate(SCHEMA, parsed)
    operation = get_operation_ast(parsed)
    assert operation
    return formula_of(SCHEMA, parsed, operation).evaluate(variables, PAGES, lambda _table: known)


def scan(document: str, known: TableStatistics = LARGE, **variables: Any) -> int:
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
    "filter: {and: [{customerKey: {eq: 1}}, {}]}",
    'filter: {or: [{clerk: {eq: "nobody"}}, {}]}',
    'filter: {orderDate: {gte: "1995-01-01"}}, orderBy: {field: ORDER_DATE}',
    'filter: {totalPrice: {gte: "400000", lt: 500000}}, orderBy: {field: TOTAL_PRICE, direction: DESC}',
]
FOUND: Final = [
    "filter: {orderKey: {eq: 1}, status: {eq: OPEN}}, orderBy: {field: TOTAL_PRICE}",
    'filter: {orderDate: {gt: "1995-01-02", lt: "1995-01-01"}, clerk: {eq: "nobody"}}',
    'filter: {totalPrice: {gte: "550000"}}, orderBy: {field: ORDER_DATE}',
    "filter: {customerKey: {eq: 1}}, orderBy: {field: ORDER_DATE}",
]
# Pages of 50 that frontends show, and which PostgreSQL finds in a millisecond, however many orders there are.
LISTS: Final = [
    "filter: {status: {eq: OPEN}}",
    "filter: {status: {in: [PARTIAL, FULFILLED]}}, orderBy: {field: ORDER_DATE, direction: DESC}",
    "filter: {status: {eq: OPEN}}, orderBy: {field: TOTAL_PRICE}",
    "filter: {orderPriority: {eq: URGENT}}, orderBy: {field: ORDER_DATE, direction: DESC}",
    'filter: {status: {eq: OPEN}, orderDate: {gte: "1998-01-01"}}, orderBy: {field: ORDER_DATE, direction: DESC}',
    'filter: {totalPrice: {gte: "400000"}}, orderBy: {field: ORDER_DATE, direction: DESC}',
    "filter: {status: {ne: FULFILLED}}",
    "filter: {not: {status: {eq: FULFILLED}}}, orderBy: {field: ORDER_DATE}",
    "filter: {or: [{status: {eq: PARTIAL}}, {orderPriority: {eq: URGENT}}]}",
    'filter: {clerk: {notIn: ["nobody", "Clerk#000000710"]}}',
]
SCANNED: Final = [
    'filter: {clerk: {eq: "nobody"}}',
    'filter: {clerk: {in: ["nobody"]}}',
    "filter: {orderPriority: {eq: HIGH}}",
    "filter: {status: {in: []}}",
    'filter: {or: [{clerk: {eq: "nobody"}}, {orderPriority: {eq: HIGH}}]}',
    'filter: {comment: {contains: "regular"}}',
    'filter: {clerk: {startsWith: "Nobody"}}',
    'filter: {not: {clerk: {ne: "nobody"}}}',
    "filter: {orderPriority: {notIn: [URGENT, LOW, MEDIUM]}}",
    'filter: {clerk: {eq: "nobody"}}, orderBy: {field: ORDER_DATE, direction: DESC}, after: "x"',
    'filter: {clerk: {eq: "nobody"}, orderDate: {gte: "1900-01-01"}}',
    'filter: {clerk: {eq: "nobody"}, orderKey: {gt: 0}}, orderBy: {field: ORDER_KEY}',
]


@pytest.mark.parametrize("arguments", SERVED)
def test_a_page_that_an_index_serves_costs_nothing_more(arguments: str) -> None:
    """However many orders there are."""
    assert scan(orders(arguments)) == 0


@pytest.mark.parametrize("arguments", FOUND)
def test_a_page_of_few_orders_in_another_order_costs_its_plan(arguments: str) -> None:
    """It is planned for its values."""
    assert scan(orders(arguments)) == PLANNED


@pytest.mark.parametrize("arguments", LISTS)
@pytest.mark.parametrize("known", [SMALL, LARGE, LARGEST], ids=["small", "large", "largest"])
def test_a_list_of_common_orders_costs_what_it_takes(arguments: str, known: TableStatistics) -> None:
    """As many orders are passed as the shares of the values let expect."""
    document = f"{{ orders(first: 50, {arguments}) {{ nodes {{ id status totalPrice orderDate }} }} }}"
    assert scan(document, known) < 200
    # With a count, which reads all orders with such a status, it is allowed. So are three lists on a dashboard.
    counted = document.replace("{ nodes", "{ totalCount nodes")
    assert cost(counted, known) < DocumentLimits().cost
    three = " ".join(f"a{n}: {document[1:-1]}" for n in range(3))
    assert cost(f"{{ {three} }}", known) < 1_500


@pytest.mark.parametrize("arguments", SCANNED)
def test_a_page_that_may_find_nothing_costs_by_the_size_of_the_table(arguments: str) -> None:
    """On a small table a scan is cheap. One scan of the largest is still allowed, and two are not."""
    most = DocumentLimits().cost
    large, small = scan(orders(arguments)), scan(orders(arguments), SMALL)
    assert large >= WHOLE
    assert 10 < small <= 310
    huge = TableStatistics(10**10, INDEXES, SPREADS)
    assert most / 2 < scan(orders(arguments), huge) < most


@pytest.mark.parametrize("selection", ["nodes { id }", "edges { node { id } }", "pageInfo { hasNextPage }"])
def test_any_selection_that_needs_the_page_pays_for_it(selection: str) -> None:
    """What needs no page costs nothing."""
    assert scan(orders('filter: {clerk: {eq: "a"}}', selection)) == PASSED
    assert scan(orders('filter: {clerk: {eq: "a"}}', "__typename")) == 0


def test_each_alias_pays_for_its_own_scan() -> None:
    """Twenty of them are more than an operation may cost."""
    aliases = " ".join(
        f'a{n}: orders(first: 1, filter: {{clerk: {{eq: "nobody"}}}}) {{ nodes {{ id }} }}' for n in range(20)
    )
    assert cost(f"{{ {aliases} }}") > DocumentLimits().cost


def test_a_narrow_indexed_condition_makes_a_scan_cheap() -> None:
    """The database reads only the orders that it leaves."""
    wide, fortnight, day = (
        scan(orders(f'filter: {{clerk: {{eq: "nobody"}}, orderDate: {{gte: "{since}", lte: "1998-08-02"}}}}'))
        for since in ("1992-01-01", "1998-07-24", "1998-08-01")
    )
    assert wide > fortnight > 2 * day > PLANNED
    assert scan(orders('filter: {customerKey: {eq: 1}, clerk: {eq: "nobody"}}')) == PLANNED


def test_a_range_in_another_order_costs_what_finding_its_orders_takes() -> None:
    """All orders of a narrow range, and of a wide one those that are passed until a page is full."""
    half, quarter, week = (
        scan(
            f'{{ orders(first: 50, filter: {{orderDate: {{gte: "{since}"}}}}, orderBy: {{field: TOTAL_PRICE}}) {{ nodes {{ id }} }} }}'
        )
        for since in ("1995-04-01", "1997-01-01", "1998-07-27")
    )
    assert PLANNED < half < quarter < 20 < week < 250


@pytest.mark.parametrize(
    ("condition", "sort"),
    [
        ('totalPrice: {gte: "550000"}', "ORDER_DATE"),
        ('totalPrice: {gte: "499000"}', "ORDER_DATE"),
        ('orderDate: {gt: "1998-08-02"}', "TOTAL_PRICE"),
        ('orderDate: {lt: "1992-01-05"}, status: {in: [OPEN]}', "TOTAL_PRICE"),
        ('orderKey: {gt: "6000000"}', "TOTAL_PRICE"),
        ("customerKey: {in: [1, 2, 3]}", "ORDER_DATE"),
    ],
)
def test_a_narrow_range_is_read_and_sorted(condition: str, sort: str) -> None:
    """It may hold no order: a walk along the page's order would then read the whole table."""
    filter_, order = _filter_of(condition, sort)
    for size in (1, 50, 1_000):
        assert way_of(filter_, order, size, LARGE).way is Way.SORTED


def _filter_of(condition: str, sort: str) -> tuple[Conditions, Ordering]:
    parsed = parse(f"{{ orders(filter: {{{condition}}}, orderBy: {{field: {sort}}}) {{ nodes {{ id }} }} }}")
    operation = get_operation_ast(parsed)
    assert operation
    (page,) = (one for one in formula_of(SCHEMA, parsed, operation).numbers if isinstance(one, PageScan))
    return page.asked({})


@pytest.mark.parametrize("field", ["ORDER_DATE", "TOTAL_PRICE"])
def test_an_order_without_an_index_is_a_scan(field: str) -> None:
    """Also for the filters whose index is missing."""
    assert scan(orders(f"orderBy: {{field: {field}}}"), UNINDEXED) == WHOLE
    assert (
        scan("query($o: [OrderOrder!]) { orders(orderBy: $o) { nodes { id } } }", UNINDEXED, o={"field": field})
        == WHOLE
    )
    assert scan(orders("filter: {customerKey: {eq: 1}}"), UNINDEXED) == PLANNED + WHOLE


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
        {"status": {"in": ["OPEN", 7, None, {}, [[]]]}},
    ],
)
@pytest.mark.parametrize("order", [None, 7, "x", [], {"field": 7}, {"field": []}, {"field": "CLERK"}])
def test_no_wrong_variables_break_the_price(value: object, order: object) -> None:
    """They are refused later."""
    document = "query($f: OrderFilter, $o: [OrderOrder!]) { orders(filter: $f, orderBy: $o) { nodes { id } } }"
    assert scan(document, f=value, o=order) >= 0


@pytest.mark.parametrize(
    "bound", ["x", "", "NaN", "1e999", -(10**400), 10**400, 1.5, True, "0044-03-15 BC", "99999-01-01"]
)
@pytest.mark.parametrize("name", ["orderDate", "totalPrice", "orderKey"])
def test_no_bound_breaks_the_price(name: str, bound: object) -> None:
    """What is not understood restricts nothing."""
    document = "query($f: OrderFilter) { orders(filter: $f) { nodes { id } } }"
    filter_ = {"clerk": {"eq": "a"}, name: {"gte": bound, "lt": bound}}
    assert 0 <= scan(document, f=filter_) <= PASSED


def numbered(arguments: str, known: TableStatistics = LARGE, **variables: Any) -> int:
    """What a numbered page of one order costs more because of the table."""
    declared = "query($p: Int)" if "$p" in arguments else ""
    document = f"{declared} {{ ordersPage(pageSize: 1, {arguments}) {{ nodes {{ id }} }} }}"
    return scan(document, known, **variables)


def test_a_numbered_page_costs_by_the_orders_before_it() -> None:
    """Near pages cost nothing more. Beyond the end there is nothing to skip."""
    assert numbered("page: 1") == numbered("page: 20") == 0
    assert numbered("page: 149000") == pytest.approx(149_000 * 0.15 / 100, rel=0.1)
    assert numbered("page: $p", p=149_000) == numbered("page: 149000")
    assert numbered("page: 2000000000") == numbered("page: 1500001")
    assert numbered("page: 149000", SMALL) < 120
    for wrong in (0, -1, "x", None, 1.5, True, 10**30):
        assert numbered("page: $p", p=wrong) >= 0
    document = "{ ordersPage(pageSize: 1000, page: 150) { hasNextPage } }"
    assert scan(document) == pytest.approx(numbered("page: 149000"), rel=0.01)


def test_a_filtered_numbered_page_costs_what_it_may_read() -> None:
    """What no index serves is a scan on any page."""
    assert numbered('page: 1, filter: {clerk: {eq: "a"}}') == PASSED
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
    assert scan(document.format(filter="filter: {status: {eq: OPEN}}")) == 2 * WHOLE


def test_an_estimate_and_a_shared_count_read_nothing() -> None:
    """Each exact count of a connection is a scan of its own."""
    filter_ = 'filter: {clerk: {eq: "a"}}'
    assert scan(orders(filter_, "totalCount(precision: ESTIMATED)")) == 0
    assert scan(orders(filter_, "a: totalCount b: totalCount")) == 2 * (WHOLE)
    document = f"query($p: CountPrecision) {{ {orders(filter_, 'totalCount(precision: $p)')[1:]}"
    assert [scan(document, p=precision) for precision in ("ESTIMATED", "EXACT")] == [0, WHOLE]


def test_statistics_take_more_for_each_order_that_matches_than_a_count() -> None:
    """All groups are computed in one scan."""
    filter_ = "filter: {orderPriority: {eq: MEDIUM}}"
    some = scan(f"{{ orderStats({filter_}) {{ count }} }}")
    assert some == scan(f"{{ orderStats({filter_}) {{ byStatus {{ count }} byPriority {{ count }} }} }}") > 4 * WHOLE
    assert WHOLE <= scan('{ orderStats(filter: {clerk: {eq: "nobody"}}) { count } }') < 1.1 * WHOLE
    assert scan("{ orderStats { count byStatus { count } } }") == 0


YEAR: Final = 'filter: {orderDate: {gte: "1996-01-01", lt: "1997-01-01"}}'
MEASURES: Final = "count totalPrice { sum average minimum maximum }"


def grouped(by: str, arguments: str = "", selection: str = MEASURES) -> str:
    """Groups of orders."""
    return f"{{ orderGroups(by: [{by}], {arguments}) {{ groups {{ {selection} }} truncated asOf }} }}"


def test_a_year_by_month_and_status_is_one_field_and_is_allowed() -> None:
    """Twelve statistics cost more than is allowed. Of a larger table, or of all years, groups are allowed as well."""
    document = grouped("ORDER_MONTH, STATUS", YEAR, f"orderMonth status {MEASURES}")
    assert cost(document) < 5_000
    assert cost(document, LARGEST) < DocumentLimits().cost
    assert cost(grouped("ORDER_MONTH, STATUS", "", f"orderMonth status {MEASURES}"), LARGEST) < DocumentLimits().cost
    months = ((f"1996-{month:02}-01", f"1996-{month:02}-28") for month in range(1, 13))
    statistics = (
        f'a{n}: orderStats(filter: {{orderDate: {{gte: "{first}", lte: "{last}"}}}}) {{ byStatus {{ {MEASURES} }} }}'
        for n, (first, last) in enumerate(months)
    )
    assert cost(f"{{ {' '.join(statistics)} }}") > DocumentLimits().cost


def test_groups_cost_by_the_orders_that_they_hold_and_by_their_number() -> None:
    """A joined table and a merged status take more of each order, and many groups are sorted on disk."""
    whole = scan(grouped("PRIORITY"))
    assert 7 * WHOLE <= whole < scan(grouped("STATUS")) < scan(grouped("CLERK, ORDER_MONTH"))
    assert scan(grouped("CLERK, ORDER_MONTH")) < scan(grouped("CLERK, ORDER_DAY"))
    assert scan(grouped("ORDER_YEAR")) < scan(grouped("ORDER_DAY"))
    assert scan(grouped("PRIORITY", YEAR)) < whole / 3
    assert scan(grouped("PRIORITY", "filter: {customerKey: {eq: 1}}")) == 0
    assert scan(grouped("PRIORITY", "filter: {}")) == whole
    each = cost(grouped("PRIORITY", "first: 11")) - cost(grouped("PRIORITY", "first: 10"))
    assert each == 6
    assert cost(grouped("PRIORITY", "first: 100")) == cost(grouped("PRIORITY"))


@pytest.mark.parametrize("by", ["STATUS", ["STATUS"], ["STATUS", "STATUS"], ["STATUS", "PRIORITY", "CLERK"]])
def test_the_keys_of_groups_may_be_in_a_variable(by: object) -> None:
    """A single one is a list of one. What is wrong in it is refused elsewhere."""
    document = f"query($by: [OrderGroupBy!]!) {grouped('STATUS').replace('[STATUS]', '$by')}"
    assert scan(document, by=by) == pytest.approx(scan(grouped("STATUS")), rel=0.01)
    wrongs: tuple[Any, ...] = (None, 5, {}, [None, {}], ["NOTHING"])
    for wrong in wrongs:
        assert scan(document, by=wrong) <= scan(grouped("STATUS"))


def test_customers_take_a_look_of_each_order() -> None:
    """Whether their segments or their nations are wanted."""
    schema = build_schema(tables=TABLES)._schema  # noqa: SLF001 # as above
    for by in ("NATION", "MARKET_SEGMENT"):
        parsed = parse(grouped(by))
        assert not validate(schema, parsed)
        operation = get_operation_ast(parsed)
        assert operation
        formula = formula_of(schema, parsed, operation)
        found = formula.evaluate({}, PAGES, lambda _table: LARGE)
        assert found - cost(grouped("PRIORITY")) > 6 * WHOLE // 2


def test_a_sample_of_a_view_or_of_partitions_sorts_all_orders() -> None:
    """A plain table is sampled at random places."""
    assert scan("{ orderSample(size: 1) { id } }") == 0
    assert scan("{ orderSample(size: 1) { id } }", TableStatistics(ROWS, INDEXES, SPREADS, plain=False)) > 5_000


def advice(document: str, known: TableStatistics = LARGE) -> str:
    """What to do about the cost of an operation."""
    parsed = parse(document)
    operation = get_operation_ast(parsed)
    assert operation
    return " ".join(advice_on(formula_of(SCHEMA, parsed, operation), {}, PAGES, lambda _table: known))


def test_the_advice_says_what_to_do() -> None:
    """A filter to add, an index to build, or cursors instead of page numbers."""
    status = advice(orders('filter: {status: {eq: OPEN}, clerk: {eq: "a"}}'))
    assert "`status` and `clerk`" in status
    assert "`orderDate`" in status
    assert "`ensureIndexes`" in advice(orders("orderBy: {field: ORDER_DATE}"), UNINDEXED)
    assert "cursors" in advice("{ ordersPage(page: 1000000) { nodes { id } } }")
    assert "`clerk`" in advice('{ orderCount(filter: {clerk: {eq: "a"}}) { count } }')
    assert advice("{ orders { nodes { id } } }") == ""


def test_common_values_count_in_a_range() -> None:
    """Half of the orders are of one day, and the bounds leave it out."""
    day = place_of(ORDERS["order_date"], "1995-01-01")
    assert day
    spread = Spread(each=0.5, places=[(day, 0.5)], bounds=[LOW, HIGH])
    assert spread.between(day, day) >= 0.5
    assert Spread(each=0.001, places=[(day, 0.5)], bounds=[LOW, HIGH]).between(day + 1, day + 2) < 0.01
    assert Spread().between(day, day) == 1.0
