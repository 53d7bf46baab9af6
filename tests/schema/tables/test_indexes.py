"""The indexes of the served tables, as their declarations tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schema.graph import TABLES
from schema.ports.columns import Column, Kind, Relation, Table
from schema.tables import indexes
from schema.tables.indexes import indexes_of
from schema.tables.registry import ORDERS_NAME, REGISTERED

if TYPE_CHECKING:
    import pytest

ORDERS = REGISTERED[ORDERS_NAME].table
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
