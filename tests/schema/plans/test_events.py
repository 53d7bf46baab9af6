"""What a subscription selects of an event: which variables keep selections apart, and what an event costs."""

from __future__ import annotations

from typing import Any, Final

import pytest
from graphql import parse, validate

from schema import build_schema
from schema.context import PageLimits
from schema.plans.documents import Document
from schema.ports.statistics import NO_STATISTICS

SCHEMA: Final = build_schema()._schema  # noqa: SLF001 # Strawberry has no public way to it
PAGES: Final = PageLimits(default=50, maximum=1_000)


def selection(text: str, **variables: Any) -> object:
    """What is equal for subscriptions with equal events."""
    return _terms(text, variables).selection


def _terms(text: str, variables: dict[str, Any]) -> Any:
    document = Document(text, parse(text))
    assert not validate(SCHEMA, document.ast)
    events = document.events(SCHEMA, None)
    assert events
    return events.terms(variables, PAGES, lambda _table: NO_STATISTICS)


@pytest.mark.parametrize(
    ("declared", "selected"),
    [
        ("$v: Int", "{ orderStatusChanged { order { statusChanges(first: $v) { nodes { id } } } } }"),
        ("$v: Boolean!", "{ orderStatusChanged { id @skip(if: $v) } }"),
        ("$v: Boolean!", "{ orderStatusChanged { ... @include(if: $v) { id } } }"),
        (
            "$v: Boolean!",
            "{ orderStatusChanged { id ...F @include(if: $v) } } fragment F on OrderStatusChange { note }",
        ),
        ("$v: Boolean!", "{ ...F } fragment F on Subscription { orderStatusChanged { id note @skip(if: $v) } }"),
        (
            "$v: Int",
            (
                "{ ...F } fragment F on Subscription { orderStatusChanged { order { ...G } } } "
                "fragment G on Order { statusChanges(first: $v) { nodes { id } } }"
            ),
        ),
    ],
)
def test_a_variable_of_the_selection_keeps_selections_apart(declared: str, selected: str) -> None:
    """Wherever it is used."""
    text = f"subscription({declared}) {selected}"
    assert selection(text, v=True) == selection(text, v=True)
    assert selection(text, v=True) != selection(text, v=False)
    assert selection(text, v=True) != selection(text, v=1)
    assert selection(text, v=True) != selection(text)


@pytest.mark.parametrize(
    "selected",
    [
        "{ orderStatusChanged(after: $a, orderKeys: [$k]) { id } }",
        "{ ... { orderStatusChanged(after: $a, orderKeys: [1, $k]) { id } } }",
        "{ ...F } fragment F on Subscription { orderStatusChanged(after: $a, orderKeys: [$k]) { id } }",
    ],
)
def test_a_variable_of_the_subscription_itself_does_not(selected: str) -> None:
    """It decides which events there are."""
    text = f"subscription($a: String, $k: BigInt!) {selected}"
    assert selection(text, a="x", k=1) == selection(text, a="y", k=2)


def test_the_order_of_variables_does_not_matter() -> None:
    """Clients send them as their maps are."""
    text = "subscription($v: Boolean!, $w: Boolean!) { orderStatusChanged { id @skip(if: $v) note @skip(if: $w) } }"
    assert selection(text, v=True, w=False) == selection(text, w=False, v=True)
    assert selection(text, v=True, w=False) != selection(text, w=True, v=False)


@pytest.mark.parametrize(
    ("text", "variables", "points"),
    [
        ("subscription { orderStatusChanged { id } }", {}, 6),
        ("subscription($k: [BigInt!]) { orderStatusChanged(orderKeys: $k) { id } }", {"k": [1, 2, 3]}, 6),
        (
            "subscription { orderStatusChanged(orderKeys: [1, 2, 3]) { a: id b: id order { clerk } } }",
            {},
            6,
        ),
        (
            "subscription($n: Int) { orderStatusChanged { order { statusChanges(first: $n) { nodes { id } } } } }",
            {"n": 7},
            1 + 1 + 20 + 1 + 7,
        ),
        ('subscription { operationProgress(id: "x") { steps { name } } }', {}, 1 + 1 + 10),
    ],
)
def test_an_event_costs_what_is_selected_of_it(text: str, variables: dict[str, Any], points: int) -> None:
    """But at least 6 points. The subscription and its list of keys are paid for at the start."""
    assert _terms(text, variables).cost == points


def test_only_a_subscription_has_events() -> None:
    """A query has none, and neither has an operation that does not exist."""
    document = Document(text := "query A { __typename }", parse(text))
    assert document.events(SCHEMA, "A") is document.events(SCHEMA, "B") is None
