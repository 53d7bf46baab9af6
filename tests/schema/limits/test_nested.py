"""The price of what is nested: sizes multiply, and each parent pays for the rows of it that are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from graphql import get_operation_ast, parse, validate

from schema import DocumentLimits, build_schema
from schema.context import PageLimits
from schema.errors import LimitError, Reason
from schema.graph import TABLES
from schema.limits.cost import check_cost, formula_of
from schema.limits.scans import PageScan, advice_on
from schema.orders.types import ORDERS
from schema.permissions import Role
from schema.ports.statistics import NO_STATISTICS, Spread, TableStatistics
from schema.ports.ways import Way, way_of
from tests.schema.limits.test_scans import LARGE
from tests.schema.recording import RecordingAdministration, context

if TYPE_CHECKING:
    from schema.limits.formulas import Formula, StatisticsSource
    from schema.ports.columns import Table

SCHEMA: Final = build_schema(tables=TABLES)
PAGES: Final = PageLimits(default=50, maximum=1_000)
CUSTOMERS, LINE_ITEMS, NATIONS = TABLES["customers"], TABLES["line_items"], TABLES["nations"]
# The points for a row that another leads to, for a nested page, for a nested count, and for planning a root page.
LOOKUP, PAGE, COUNT, PLANNED = 2, 8, 4, 7
NATION_KEYS: Final = Spread(each=0.0, common={str(key): 0.04 for key in range(25)})


def customers(*indexes: str, rows: int = 150_000) -> TableStatistics:
    """What is known of customers, with an index on their key and on each of these columns before it."""
    key = CUSTOMERS["customer_key"]
    return TableStatistics(
        rows,
        frozenset({(key,), *((CUSTOMERS[name], key) for name in indexes)}),
        {
            key: Spread(each=1 / rows),
            CUSTOMERS["nation_key"]: NATION_KEYS,
            CUSTOMERS["name"]: Spread(each=1 / rows, texts=[f"Customer#{n:09}" for n in range(0, rows, rows // 100)]),
            CUSTOMERS["market_segment"]: Spread(each=0.0, common={"BUILDING": 0.2, "MACHINERY": 0.8}),
        },
    )


LINES: Final = TableStatistics(
    6_000_000,
    frozenset(
        {(LINE_ITEMS["order_key"], LINE_ITEMS["line_number"]), (LINE_ITEMS["part_key"], LINE_ITEMS["order_key"])}
    ),
    {LINE_ITEMS["order_key"]: Spread(each=1 / 1_500_000), LINE_ITEMS["part_key"]: Spread(each=1 / 200_000)},
)
ALL: Final = {
    ORDERS: LARGE,
    CUSTOMERS: customers("nation_key", "name"),
    LINE_ITEMS: LINES,
    NATIONS: TableStatistics(25, frozenset({(NATIONS["nation_key"],)})),
}


def knows(changed: dict[Table, TableStatistics] | None = None) -> StatisticsSource:
    """What is known of all tables, some of which are others than usual."""
    known = {**ALL, **(changed or {})}
    return lambda table: known.get(table, NO_STATISTICS)


def formula(document: str) -> Formula:
    """The formula of a document, which has to be valid."""
    parsed = parse(document)
    schema = SCHEMA._schema  # noqa: SLF001 # Strawberry has no public way to it
    assert not validate(schema, parsed)
    operation = get_operation_ast(parsed)
    assert operation
    return formula_of(schema, parsed, operation)


def cost(document: str, changed: dict[Table, TableStatistics] | None = None, **variables: Any) -> int:
    """What an operation costs."""
    return formula(document).evaluate(variables, PAGES, knows(changed))


def scan(document: str, changed: dict[Table, TableStatistics] | None = None, **variables: Any) -> int:
    """What an operation costs more because of the sizes of its tables."""
    return cost(document, changed, **variables) - formula(document).evaluate(variables, PAGES, lambda _: NO_STATISTICS)


def advice(document: str, changed: dict[Table, TableStatistics] | None = None) -> str:
    """What to do about the cost of an operation."""
    return " ".join(advice_on(formula(document), {}, PAGES, knows(changed)))


def of_nations(arguments: str, selection: str = "nodes { name }") -> str:
    """A page of the customers of each of 25 nations."""
    return f"{{ nations {{ customers(first: 1, {arguments}) {{ {selection} }} }} }}"


@pytest.mark.parametrize(
    ("document", "worked_out"),
    [
        ("{ orders(first: 3) { nodes { lineItems(first: 4) { nodes { lineNumber } } } } }", 2 + 3 * (PAGE + 1 + 4)),
        ("{ orders(first: 3) { nodes { lineItems { nodes { lineNumber tax } } } } }", 2 + 3 * (PAGE + 1 + 20 * 2)),
        ("{ orders(first: 3) { nodes { customer { name } } } }", 2 + 3 * (LOOKUP + 1)),
        ("{ orders(first: 3) { nodes { customer { nation { name } } } } }", 2 + 3 * (2 * LOOKUP + 1)),
        (
            "{ orders(first: 3) { nodes { customer { orders(first: 5) { edges { node { id } } } } } } }",
            2 + 3 * (LOOKUP + PAGE + 1 + 5 * 2),
        ),
        ("{ customer(customerKey: 1) { orders(first: 5) { nodes { id } } } }", 1 + PAGE + 1 + 5),
        ("{ nations { name } }", 1 + 25),
        ("{ orders(first: 3) { nodes { lineItems(first: 0) { totalCount } } } }", 2 + 3 * (PAGE + COUNT)),
        ("{ orders(first: 3) { nodes { lineItems(first: 0) { a: totalCount b: totalCount } } } }", 2 + 3 * (PAGE + 8)),
        (
            "{ orders(first: 3) { nodes { lineItems(first: 0) { totalCount(precision: ESTIMATED) } } } }",
            2 + 3 * (PAGE + COUNT),
        ),
        ("{ customers(first: 3) { totalCount nodes { name } } }", 2 + 1_000 + 3),
        ("{ customers(first: 0) { totalCount(precision: ESTIMATED) } }", 1 + 10),
    ],
)
def test_a_nested_operation_costs_what_was_worked_out(document: str, worked_out: int) -> None:
    """Each page within a page counts as often as the outer one is long."""
    assert cost(document) == worked_out


def test_a_default_size_is_at_most_the_maximum() -> None:
    """A nested page is never longer than the server allows."""
    document = "{ order(orderKey: 1) { lineItems { nodes { lineNumber } } } }"
    few = PageLimits(default=5, maximum=5)
    assert formula(document).evaluate({}, few, knows()) == 1 + PAGE + 1 + 5


TOO_MUCH: Final = [
    "{ orders(first: 1000) { nodes { lineItems(first: 1000) { nodes { lineNumber } } } } }",
    "{ orders(first: 100) { nodes { customer { orders(first: 100) { nodes { lineItems(first: 100) { nodes { id } } } } } } } }",
    f"{{ customers(first: 1000) {{ nodes {{ {' '.join(f'a{n}: orders(first: 9) {{ nodes {{ id }} }}' for n in range(20))} }} }} }}",
]


@pytest.mark.parametrize("document", TOO_MUCH)
async def test_pages_of_pages_that_cost_too_much_are_refused_with_advice(document: str) -> None:
    """Before anything is read."""
    result = await SCHEMA.execute(document, context_value=context(RecordingAdministration(), Role.READER))
    assert result.data is None
    assert result.errors
    (error,) = result.errors
    assert isinstance(error.original_error, LimitError)
    assert error.original_error.reason is Reason.COST_EXCEEDED
    assert "The sizes of nested pages multiply" in error.message


@pytest.mark.parametrize("size", [1, 1_000])
@pytest.mark.parametrize("levels", [6, 16, 60])
async def test_a_deep_cycle_is_refused(levels: int, size: int) -> None:
    """Of customers, their orders and their customers again."""
    selection = "name"
    for _ in range(levels // 2):
        selection = f"orders(first: {size}) {{ nodes {{ customer {{ {selection} }} }} }}"
    document = f"{{ customer(customerKey: 1) {{ {selection} }} }}"
    result = await SCHEMA.execute(document, context_value=context(RecordingAdministration(), Role.READER))
    assert result.errors
    (error,) = result.errors
    if levels == 6 and size == 1:
        # It is shallow enough to be read, which this context cannot do.
        assert not isinstance(error.original_error, LimitError)
        return
    assert isinstance(error.original_error, LimitError)
    assert error.original_error.reason in {Reason.LIMIT_EXCEEDED, Reason.COST_EXCEEDED}


@pytest.mark.parametrize(
    "document",
    [
        "{ orders { nodes { lineItems { nodes { lineNumber } } } } }",
        "{ customers { nodes { orders { nodes { id } } } } }",
        "{ nations { customers { nodes { name } } } }",
        "{ orders(first: 10) { nodes { lineItems(first: 5) { nodes { part { lineItems(first: 5) { nodes { tax } } } } } } } }",
        "{ customers(orderBy: {field: NAME}) { nodes { name } } }",
        "{ customers(filter: {nationKey: {eq: 7}}) { nodes { name } } }",
        '{ customers(filter: {name: {startsWith: "Customer#00001", caseSensitive: true}}, orderBy: {field: NAME}) { nodes { name } } }',
    ],
)
def test_a_page_that_an_index_serves_costs_nothing_more(document: str) -> None:
    """However large the tables are, and also within a page."""
    assert scan(document) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        "orderBy: {field: NAME}",
        "orderBy: {field: ACCOUNT_BALANCE, direction: DESC}",
        "filter: {marketSegment: {eq: BUILDING}}",
        "filter: {marketSegment: {eq: BUILDING}}, orderBy: {field: NAME}",
        "filter: {marketSegment: {in: []}}",
    ],
)
def test_a_nested_page_in_another_order_or_with_a_filter_pays_for_all_rows_of_its_parents(arguments: str) -> None:
    """A nation has 6,000 of 150,000 customers, each of which takes two microseconds."""
    assert scan(of_nations(arguments)) == 25 * 120
    assert scan(of_nations(arguments), {CUSTOMERS: customers("nation_key", "name", rows=1_500)}) == 25 * 1
    assert scan(of_nations(arguments, "__typename")) == 0
    assert advice(of_nations("")) == ""
    assert "read all rows of each parent" in advice(of_nations(arguments))


def test_a_filter_that_an_index_makes_narrow_is_cheap_within_a_page() -> None:
    """Then PostgreSQL need not read all rows of the parent."""
    assert scan(of_nations("filter: {customerKey: {eq: 7}}, orderBy: {field: NAME}")) == 0
    assert scan(of_nations('filter: {name: {startsWith: "Customer#0000123", caseSensitive: true}}')) < 25 * 40


def test_without_an_index_on_the_reference_each_parent_pays_for_the_whole_table() -> None:
    """As before `ensureIndexes`, which the advice names."""
    bare = {CUSTOMERS: customers()}
    assert scan(of_nations(""), bare) == 25 * 150
    assert scan(of_nations("", "totalCount"), bare) == 25 * 150
    assert "`nationKey`: `ensureIndexes` builds one" in advice(of_nations(""), bare)


def test_a_nested_count_costs_by_the_rows_of_a_parent() -> None:
    """An index has them side by side; with a condition they have to be read."""
    assert scan(of_nations("", "totalCount")) == 25 * 18
    assert scan(of_nations("filter: {marketSegment: {eq: BUILDING}}", "totalCount")) == 25 * 120
    assert scan("{ orders(first: 1000) { nodes { lineItems(first: 0) { totalCount } } } }") == 0


def test_orders_within_a_page_pay_for_their_status_too() -> None:
    """Of each order of the parent it is looked up in the overlay."""
    heavy = {ORDERS: TableStatistics(LARGE.rows, LARGE.indexes, {ORDERS["customer_key"]: Spread(each=0.001)})}
    plain, merged = (
        scan(f"{{ customer(customerKey: 1) {{ orders(first: 1, filter: {{{one}}}) {{ nodes {{ id }} }} }} }}", heavy)
        for one in ('clerk: {eq: "x"}', "status: {eq: OPEN}")
    )
    assert 0 < plain < merged


def test_a_condition_in_a_variable_is_seen_within_a_page() -> None:
    """And wrong variables break nothing: they are refused later."""
    document = "query($f: CustomerFilter, $o: [CustomerOrderBy!]) { nations { customers(filter: $f, orderBy: $o) { nodes { name } } } }"
    assert scan(document) == 0
    assert scan(document, f={"marketSegment": {"eq": "BUILDING"}}) == 25 * 120
    assert scan(document, o={"field": "NAME"}) == 25 * 120
    wrongs: list[Any] = [
        None,
        7,
        "x",
        [],
        {"name": 7},
        {"name": {"startsWith": {}}},
        {"field": []},
        {"nationKey": {"in": [{}]}},
    ]
    for wrong in wrongs:
        assert scan(document, f=wrong, o=wrong) >= 0


def test_a_list_of_all_rows_is_as_long_as_its_table() -> None:
    """Up to the bound of a list, and for a parent its share."""
    many = TableStatistics(100_000, frozenset(), {NATIONS["region_key"]: Spread(each=0.2)})
    assert cost("{ nations { name } }", {NATIONS: many}) == 1 + 1_000
    some = TableStatistics(100, frozenset({(NATIONS["region_key"],)}), {NATIONS["region_key"]: Spread(each=0.2)})
    one = formula("{ regions { nations { name } } }")
    assert one.evaluate({}, PAGES, knows({NATIONS: some, TABLES["regions"]: TableStatistics(5)})) == 1 + 5 * (PAGE + 20)


def test_a_root_page_of_any_table_costs_what_orders_do() -> None:
    """By its own statistics: a common value is soon found, a rare one or an order without an index is a scan."""
    common = (
        "{ customers(first: 50, filter: {marketSegment: {eq: MACHINERY}}, orderBy: {field: NAME}) { nodes { name } } }"
    )
    assert scan(common) == pytest.approx(PLANNED, abs=2)
    assert scan("{ customers(first: 1, orderBy: {field: ACCOUNT_BALANCE}) { nodes { name } } }") == 150
    assert scan("{ customers(first: 1, filter: {marketSegment: {eq: AUTOMOBILE}}) { nodes { name } } }") >= 150
    assert scan("{ customers(first: 0, filter: {marketSegment: {eq: MACHINERY}}) { totalCount } }") == 150
    told = advice("{ customers(first: 1, filter: {marketSegment: {eq: AUTOMOBILE}}) { nodes { name } } }")
    assert (
        "condition on `marketSegment`: add a narrow one on `customerKey`, `name`, `nationKey` or `accountBalance`."
        in told
    )


def test_a_prefix_costs_by_the_names_that_have_it() -> None:
    """As PostgreSQL's sample of names shows."""
    wide, narrow, none = (
        scan(
            f'{{ customers(first: 1, filter: {{name: {{startsWith: "{one}", caseSensitive: true}}}}) {{ nodes {{ name }} }} }}'
        )
        for one in ("Customer#", "Customer#00001", "x")
    )
    assert wide >= narrow > none
    any_case = '{ customers(first: 1, filter: {name: {startsWith: "x"}}) { nodes { name } } }'
    assert scan(any_case) > none
    assert "serves `startsWith` on `name` with `caseSensitive: true`" in advice(any_case)
    # A number is no bound.
    assert (
        scan('{ customers(first: 1, filter: {name: {startsWith: "1", caseSensitive: true}}) { nodes { name } } }')
        == none
    )
    assert Spread().of_texts(lambda text: text[0] == "x") == 1.0
    known = Spread(common={"xa": 0.5, "b": 0.25}, texts=["xb", "c", "d"])
    assert known.of_texts(lambda text: text[0] == "x") == 0.5 + 0.25 * 2 / 4


@pytest.mark.parametrize(
    ("arguments", "indexed", "way"),
    [
        ("", True, Way.SERVED),
        ("filter: {marketSegment: {eq: BUILDING}}", True, Way.SERVED),
        ("orderBy: {field: NAME}", True, Way.SORTED),
        ("orderBy: {field: ACCOUNT_BALANCE}", True, Way.SORTED),
        ("", False, Way.SERVED),
        ("orderBy: {field: NAME}", False, Way.SORTED),
    ],
)
def test_rows_of_a_parent_are_sorted_unless_they_are_in_the_order_of_their_keys(
    arguments: str,
    indexed: bool,  # noqa: FBT001 # pytest gives it by name
    way: Way,
) -> None:
    """An index of the page's order alone would lead past the rows of all other parents."""
    (page,) = (one for one in formula(of_nations(arguments)).numbers if isinstance(one, PageScan))
    conditions, ordering = page.asked({})
    known = customers("nation_key", "name") if indexed else customers("name")
    assert ordering.within is CUSTOMERS["nation_key"]
    assert way_of(conditions, ordering, 10, known).way is way


def test_the_share_of_any_value_is_that_of_all_on_average() -> None:
    """Common and others together."""
    assert NATION_KEYS.of_any == pytest.approx(0.04)
    assert Spread(each=0.001).of_any == pytest.approx(0.001)
    assert Spread(each=0.01, common={"1": 0.5}).of_any == pytest.approx(1 / 51)
    assert Spread().of_any == 1.0


def test_an_ordinary_detail_page_is_far_from_the_limit() -> None:
    """A frontend shows fifty orders with all that is around them."""
    detail = (
        "orderKey status customer { name nation { name } } lineItems(first: 10) { nodes { lineNumber part { name } } }"
    )
    most = DocumentLimits().cost
    document = f"{{ orders(first: 50) {{ nodes {{ {detail} }} }} }}"
    assert cost(document) < most / 4
    check_cost(formula(document), cost(document), most)
