"""The limits of variables, which hold for any document."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from graphql import get_operation_ast, parse

from schema import build_schema
from schema.errors import LimitError, Reason
from schema.limits.variables import MOST_CHARACTERS, MOST_DEPTH, MOST_NAMES, MOST_VALUES, check_variables
from schema.plans.arguments import UnplannedError, Variables
from schema.tables.arguments import MAX_LIST_VALUES
from tests.support.calibration import hold
from tests.support.work import counted, processor_seconds

FILTERED = parse("query($f: OrderFilter) { orders(filter: $f) { totalCount } }")
MANY: dict[str, Any] = {"a": {str(outer): {str(inner): {"b": 1} for inner in range(290)} for outer in range(290)}}


def nested(depth: int) -> list[Any]:
    """A list nested this deep."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "variables",
    [
        None,
        {},
        {"a": None, "b": True, "c": 1.5, "d": 10**30},
        {"a": "x" * MOST_CHARACTERS},
        {"a": ["x" * 1_000] * 1_000},
        {"a": [1] * (MOST_VALUES - 1)},
        {"a": nested(MOST_DEPTH - 2)},
        {f"n{n}": n for n in range(MOST_NAMES)},
        # A thousand changes with all fields of each.
        {"input": {"changes": [{str(n): "n" * 1_000 for n in range(6)}] * 1_000, "mode": "ATOMIC", "key": ""}},
    ],
)
def test_every_legal_request_is_within_the_limits(variables: dict[str, Any] | None) -> None:
    """However deep, and with the longest lists and notes that are allowed."""
    check_variables(variables)


@pytest.mark.parametrize(
    ("variables", "limit", "allowed"),
    [
        ({"a": "x" * (MOST_CHARACTERS + 1)}, "variableCharacters", MOST_CHARACTERS),
        ({"a": ["x" * (MOST_CHARACTERS // 10)] * 11}, "variableCharacters", MOST_CHARACTERS),
        ({"a": nested(MOST_DEPTH - 1)}, "variableDepth", MOST_DEPTH),
        ({"a": nested(5_000)}, "variableDepth", MOST_DEPTH),
        ({"a": [1] * MOST_VALUES}, "variableValues", MOST_VALUES),
        ({"a": [{}] * 5_000, "b": [[]] * 5_000}, "variableValues", MOST_VALUES),
        ({"a": [{str(n): n for n in range(MOST_NAMES)}] * 40}, "variableValues", MOST_VALUES),
        ({"a": {str(n): n for n in range(MOST_NAMES + 1)}}, "variableNames", MOST_NAMES),
        ({"a": {"x" * 1_001: 1}}, "variableNameCharacters", 1_000),
        ({"x" * 1_001: 1}, "variableNameCharacters", 1_000),
    ],
)
def test_variables_above_a_limit_are_refused(variables: dict[str, Any], limit: str, allowed: int) -> None:
    """The error names the limit and its value."""
    with pytest.raises(LimitError) as refused:
        check_variables(variables)
    assert refused.value.reason is Reason.LIMIT_EXCEEDED
    assert refused.value.details["limit"] == limit
    assert refused.value.details["allowed"] == allowed
    assert str(f"{allowed:,}") in refused.value.message


def test_too_many_values_are_refused_before_each_is_visited() -> None:
    """A body can hold a hundred thousand of them, in nested objects."""
    with counted() as work, pytest.raises(LimitError, match="There are 84,391 values"):
        check_variables(MANY)
    # A few calls for each object that holds objects, and none for each value.
    assert work.calls < 10 * 290


@pytest.mark.long
def test_too_many_values_are_refused_quickly() -> None:
    """Visiting each of them would take a second."""

    def work() -> None:
        with contextlib.suppress(LimitError):
            check_variables(MANY)

    hold("84,391 values in `variables`, refused", processor_seconds(work), computing_seconds=0.02)


def test_too_long_a_list_is_not_coerced_for_a_plan() -> None:
    """graphql-core coerces it anyway, and reports it."""
    operation = get_operation_ast(FILTERED)
    assert operation
    variables = Variables(build_schema()._schema, FILTERED, operation)  # noqa: SLF001 # Strawberry has no public way to it
    keys = [*range(MAX_LIST_VALUES)]
    assert variables.coerce({"f": {"orderKey": {"in": keys}}}).by_name == {"f": {"orderKey": {"in": keys}}}
    with pytest.raises(UnplannedError):
        variables.coerce({"f": {"orderKey": {"in": [*keys, 1]}}})
