"""A remembered price is that of the formula, whatever has changed since it was remembered."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from graphql import get_operation_ast, parse

from schema import build_schema
from schema.context import PageLimits
from schema.limits.cost import formula_of
from schema.limits.remembered import RememberedPrice
from tests.schema.limits.test_scans import LARGE, LARGEST, SMALL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schema.limits.formulas import Formula
    from schema.ports.statistics import TableStatistics

SCHEMA: Final = build_schema()._schema  # noqa: SLF001 # Strawberry has no public way to it
PAGES: Final = PageLimits(default=50, maximum=1_000)
DOCUMENT: Final = """
query($first: Int = 20, $after: String, $filter: OrderFilter, $keys: [BigInt!], $exact: CountPrecision) {
  orders(first: $first, after: $after, filter: $filter) { nodes { orderKey } totalCount(precision: $exact) }
  other: orders(filter: {customerKey: {in: $keys}}, last: 3) { nodes { orderKey } }
}
"""
# Each differs from the one before in one thing. `true` and `1` are equal in Python, and no page has the size `true`.
ASKED: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"after": "a cursor"},
    {"after": "another cursor"},
    {"first": None},
    {"first": 1},
    {"first": True},
    {"first": 1.0},
    {"first": 100},
    {"first": 100, "filter": {}},
    {"first": 100, "filter": {"clerk": {"eq": "Clerk#000000001"}}},
    {"first": 100, "filter": {"clerk": {"eq": "Clerk#000000710"}}},
    {"first": 100, "keys": [1]},
    {"first": 100, "keys": [1, 2]},
    {"first": 100, "exact": "ESTIMATED"},
    {"first": 100, "exact": "EXACT"},
)


@pytest.fixture
def formula() -> Formula:
    """The formula of the document."""
    parsed = parse(DOCUMENT)
    operation = get_operation_ast(parsed)
    assert operation
    return formula_of(SCHEMA, parsed, operation)


def changes() -> Iterator[tuple[dict[str, Any], PageLimits, TableStatistics]]:
    """All variables, then each of the other things in turn."""
    for known in (LARGE, SMALL, LARGEST, replace(LARGE)):
        for pages in (PAGES, PageLimits(default=2, maximum=10)):
            for variables in ASKED:
                yield variables, pages, known


def test_whatever_changes_the_price_is_that_of_the_formula(formula: Formula) -> None:
    """A client may ask for more, and a table may grow."""
    remembered, prices = RememberedPrice(formula), set()
    for variables, pages, known in changes():
        for _ in range(2):
            price = remembered.price(variables, pages, lambda _table, known=known: known)  # type: ignore[misc] # bound
            assert price == formula.price(variables, pages, lambda _table, known=known: known)  # type: ignore[misc] # bound
        prices.add(price)
    assert len(prices) > len(ASKED)


def test_the_next_page_is_not_priced_again() -> None:
    """Only its cursor is another one."""
    parsed = parse("query($first: Int, $after: String) { orders(first: $first, after: $after) { nodes { orderKey } } }")
    operation = get_operation_ast(parsed)
    assert operation
    evaluated: list[Any] = []
    formula = formula_of(SCHEMA, parsed, operation)

    def noting(variables: Any, pages: PageLimits, statistics: Any) -> int:
        evaluated.append(variables)
        return times(variables, pages, statistics)

    (term,) = formula.terms
    times = term.times
    formula.terms = [replace(term, times=noting)]
    remembered = RememberedPrice(formula)
    for cursor in ("one", "two", "three"):
        remembered.price({"first": 10, "after": cursor}, PAGES, lambda _table: LARGE)
    assert len(evaluated) == 1
    remembered.price({"first": 11, "after": "three"}, PAGES, lambda _table: LARGE)
    assert len(evaluated) == 2
