"""Documents from before `orderBy` was a list go on being valid, and no others are changed."""

from __future__ import annotations

from typing import Final

import pytest
from graphql import parse, print_ast, validate

from schema import build_schema
from schema.graph import TABLES
from schema.tables.older_documents import accept_single_orders

SCHEMA: Final = build_schema(tables=TABLES)._schema  # noqa: SLF001 # Strawberry has no public way to it
_PAGE: Final = "orders(orderBy: $by) { nodes { id } }"


@pytest.mark.parametrize(
    ("document", "declared"),
    [
        (f"query($by: OrderOrder) {{ {_PAGE} }}", "$by: [OrderOrder!]"),
        (f"query($by: OrderOrder!) {{ {_PAGE} }}", "$by: [OrderOrder!]!"),
        (f"query($by: OrderOrder = {{field: ORDER_DATE}}) {{ {_PAGE} }}", "$by: [OrderOrder!] = {"),
        (f"query($by: OrderOrder) {{ ...F }} fragment F on Query {{ {_PAGE} }}", "$by: [OrderOrder!]"),
        (
            "query($by: CustomerOrderBy) { nations { customers(orderBy: $by) { nodes { id } } } }",
            "$by: [CustomerOrderBy!]",
        ),
        (f"query($by: [OrderOrder!]) {{ {_PAGE} }}", "$by: [OrderOrder!]"),
        ("query($by: OrderOrder!) { orders(orderBy: [$by]) { nodes { id } } }", "$by: OrderOrder!)"),
        ("query($by: OrderSortField!) { orders(orderBy: {field: $by}) { nodes { id } } }", "$by: OrderSortField!)"),
    ],
)
def test_a_variable_for_one_object_is_one_for_a_list(document: str, declared: str) -> None:
    """A variable that is a part of the argument stays as it is."""
    accepted = accept_single_orders(parse(document))
    assert validate(SCHEMA, accepted) == []
    assert declared in print_ast(accepted)


def test_a_variable_of_both_kinds_is_a_mistake() -> None:
    """It was none before."""
    document = parse(f"query($by: OrderOrder!) {{ {_PAGE} more: orders(orderBy: [$by]) {{ nodes {{ id }} }} }}")
    assert accept_single_orders(document) is document
    assert validate(SCHEMA, document)


def test_a_document_without_such_a_variable_is_not_looked_through() -> None:
    """It is the same object."""
    document = parse("query($first: Int) { orders(first: $first, orderBy: {}) { nodes { id } } }")
    assert accept_single_orders(document) is document
