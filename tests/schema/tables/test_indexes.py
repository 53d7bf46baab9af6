"""The indexes of the served tables, as their declarations tell."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from schema.graph import TABLES
from schema.ports.columns import Column, Kind, Relation, Table
from schema.ports.statistics import Spread, TableStatistics
from schema.ports.values import Condition, Operator
from schema.ports.ways import time_of_count
from schema.tables import indexes
from schema.tables.indexes import indexes_of, text_indexes_of
from schema.tables.registry import ORDERS_NAME, REGISTERED

if TYPE_CHECKING:
    import pytest

ORDERS = REGISTERED[ORDERS_NAME].table
# A thousand clerks, of which a hundred are known.
RARE = Spread(each=0.001, texts=[f"Clerk#{number:09}" for number in range(0, 1_000, 10)])
OF_ORDERS = {
    "by_key": ["o_orderkey"],
    "by_date": ["o_orderdate", "o_orderkey"],
    "by_price": ["o_totalprice", "o_orderkey"],
    "by_customer": ["o_custkey", "o_orderkey"],
}


def needed(*served: Table) -> dict[str, dict[str, list[str | None]]]:
    """The columns of the indexes of each served table, by the ends of their names."""
    found: dict[str, dict[str, list[str | None]]] = {}
    for index in indexes_of(served):
        found.setdefault(index.table.name, {})[index.suffix] = [column.stored for column in index.columns]
    return found


def test_orders_have_the_indexes_that_earlier_releases_built() -> None:
    """By the same names, whatever else is served: an existing deployment builds nothing anew."""
    assert needed(ORDERS) == {"orders": OF_ORDERS}
    assert needed(ORDERS, *TABLES.values())["orders"] == OF_ORDERS


def test_each_table_has_an_index_for_its_key_each_of_its_sorts_and_each_lookup_of_many() -> None:
    """All end in the key. A lookup by the beginning of the key needs none of its own."""
    found = needed(ORDERS, *TABLES.values())
    assert found["customers"] == {
        "by_key": ["c_custkey"],
        "by_name": ["c_name", "c_custkey"],
        "by_balance": ["c_acctbal", "c_custkey"],
        "by_nation": ["c_nationkey", "c_custkey"],
    }
    assert found["line_items"] == {
        "by_key": ["l_orderkey", "l_linenumber"],
        "by_part": ["l_partkey", "l_orderkey", "l_linenumber"],
    }
    assert found["nations"] == {"by_key": ["n_nationkey"], "by_region": ["n_regionkey", "n_nationkey"]}
    assert found.keys() == {"orders", *TABLES}


def test_a_lookup_that_no_served_table_makes_needs_no_index_unless_a_filter_makes_it() -> None:
    """Without parts nobody looks line items up by part. Customers can be filtered by nation without nations."""
    found = needed(ORDERS, TABLES["customers"], TABLES["line_items"])
    assert found["line_items"].keys() == {"by_key"}
    assert "by_nation" in found["customers"]


def test_two_columns_with_the_same_last_word_have_indexes_of_different_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one has the short name."""
    monkeypatch.setattr(indexes, "REGISTERED", {})
    key, first, second = (Column(name, f"x_{name}", Kind.DATE) for name in ("visit_key", "start_date", "end_date"))
    relations: dict[str, Relation] = {}
    visits = Table(
        "visits", "Visit", dict, (key, first, second), (key,), "visit", relations, {}, (key, first, second), ()
    )
    assert needed(visits)["visits"].keys() == {"by_key", "by_date", "by_end_date"}


def test_texts_of_filters_have_indexes_of_their_trigrams_if_they_are_asked_for() -> None:
    """Of what is stored, and is not one of a few values. No page needs them, so `indexes_of` has none."""
    found = {
        (one.table.name, column.name) for one in text_indexes_of([ORDERS, *TABLES.values()]) for column in one.columns
    }
    assert {("orders", "clerk"), ("orders", "comment"), ("customers", "name")} <= found
    assert not {name for _, name in found} & {"status", "order_priority", "market_segment", "status_updated_by"}
    assert not any(one.of_trigrams for one in indexes_of([ORDERS, *TABLES.values()]))


def test_an_index_of_trigrams_makes_a_search_for_three_letters_cheap() -> None:
    """Two letters are looked for in all rows, and so are capital letters as they are."""
    indexed = TableStatistics(1_500_000, texts=frozenset({ORDERS["clerk"]}), spreads={ORDERS["clerk"]: RARE})
    plain = replace(indexed, texts=frozenset())

    def time(operator: Operator, text: str, known: TableStatistics) -> float:
        return time_of_count((Condition(ORDERS["clerk"], operator, text),), known, statistics=False)

    whole = time(Operator.CONTAINS_IN_ANY_CASE, "000123", plain)
    assert time(Operator.CONTAINS_IN_ANY_CASE, "000123", indexed) < whole / 4
    assert time(Operator.CONTAINS_IN_ANY_CASE, "#1", indexed) == whole
    assert time(Operator.CONTAINS, "000123", indexed) == whole
