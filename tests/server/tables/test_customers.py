"""Filters and orders of customers, against what Python makes of the same rows."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from tests.server.tables.conftest import reasons
from tests.servers.graph_rows import graph_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from schema.context import Context
    from tests.server.conftest import Execute

ROWS = graph_rows()["customers"]
NAMES = {int(row[0] or 0): row[1] for row in ROWS}
PAGE = "query($f: CustomerFilter) { customers(filter: $f) { nodes { customerKey } totalCount } }"


async def found(execute: Execute, context: Context, **given: Any) -> list[int]:
    """The keys of the customers that a filter finds, which are as many as it counts."""
    answer = await execute(PAGE, context=context, f=given)
    assert "errors" not in answer
    page = answer["data"]["customers"]
    assert page["totalCount"] == len(page["nodes"])
    return [int(node["customerKey"]) for node in page["nodes"]]


@pytest.mark.parametrize(
    "prefix",
    [
        *(
            "",
            "C",
            "c",
            "Customer#0",
            "Customer#000000001",
            "Customer#000000001x",
            "Same",
            "same",
            "a",
            "a ",
            "ab",
            "a\t",
        ),
        *(
            "100%",
            "100",
            "%",
            "_",
            "10_",
            "100%_x",
            "\\",
            "C\\",
            'C"',
            "'",
            "O'",
            'O\'Brien "the" \\',
            "Ł",
            "Łukasz 🦀",
        ),
        *(
            "Zo",
            "Zoë",
            "Zoe",
            "\U0010ffff",
            "\U0010ffff\U0010ffff",
            "\ud7ff",
            "\ue000",
            "\x01",
            "\x01\x02",
            "\x7f",
            " ",
        ),
        "n" * 1_000,
    ],
    ids=lambda prefix: ascii(prefix)[:20],
)
async def test_a_prefix_finds_the_names_that_start_with_it(execute: Execute, context: Context, prefix: str) -> None:
    """No character in it means anything else than itself, whatever the collation of the database is."""
    expected = sorted(key for key, name in NAMES.items() if name is not None and name.startswith(prefix))
    assert await found(execute, context, name={"startsWith": prefix, "caseSensitive": True}) == expected


@pytest.mark.parametrize(
    "name", [*dict.fromkeys(name for name in NAMES.values() if name is not None), "customer#000000001", "%", "n"]
)
async def test_a_name_finds_its_customers(execute: Execute, context: Context, name: str) -> None:
    """By the whole name."""
    assert await found(execute, context, name={"eq": name}) == sorted(key for key, one in NAMES.items() if one == name)


@pytest.mark.parametrize(
    ("given", "matches"),
    [
        ({}, lambda _: True),
        ({"name": {}}, lambda _: True),
        ({"name": None}, lambda _: True),
        ({"name": {"eq": "Same", "startsWith": "Sa"}}, lambda row: row[1] == "Same"),
        ({"name": {"eq": "Same", "startsWith": "C"}}, lambda _: False),
        ({"customerKey": {"eq": 5}}, lambda row: row[0] == "5"),
        ({"customerKey": {"in": [5, 7, 7, 41, 2**63 - 1, -(2**63)]}}, lambda row: row[0] in {"5", "7"}),
        ({"customerKey": {"eq": 2**40}}, lambda _: False),
        ({"customerKey": {"in": []}}, lambda _: False),
        ({"marketSegment": {"eq": "BUILDING"}}, lambda row: row[6] == "BUILDING"),
        ({"marketSegment": {"in": ["MACHINERY", "HOUSEHOLD"]}}, lambda row: row[6] in {"MACHINERY", "HOUSEHOLD"}),
        ({"nationKey": {"eq": 77}}, lambda row: row[3] == "77"),
        ({"nationKey": {"in": [1, 3, 2**31 - 1, -(2**31)]}}, lambda row: row[3] in {"1", "3"}),
        ({"name": {"contains": "SAM"}}, lambda row: row[1] is not None and "sam" in row[1].lower()),
        ({"name": {"contains": "SAM", "caseSensitive": True}}, lambda _: False),
        ({"name": {"startsWith": "sA"}}, lambda row: row[1] is not None and row[1].lower().startswith("sa")),
        ({"name": {"contains": "%"}}, lambda row: row[1] is not None and "%" in row[1]),
        ({"name": {"contains": "\\"}}, lambda row: row[1] is not None and "\\" in row[1]),
        ({"name": {"ne": "Same"}}, lambda row: row[1] not in {None, "Same"}),
        ({"not": {"name": {"eq": "Same"}}}, lambda row: row[1] != "Same"),
        ({"name": {"notIn": []}}, lambda row: row[1] is not None),
        ({"name": {"gte": "Same", "lt": "Sb"}}, lambda row: row[1] is not None and "Same" <= row[1] < "Sb"),
        (
            {
                "or": [
                    {"nationKey": {"eq": 77}},
                    {"and": [{"marketSegment": {"ne": "BUILDING"}}, {"customerKey": {"lt": 9}}]},
                ]
            },
            lambda row: row[3] == "77" or (row[6] not in {None, "BUILDING"} and int(row[0] or 0) < 9),
        ),
        (
            {"nationKey": {"eq": 1}, "marketSegment": {"eq": "BUILDING"}, "name": {"startsWith": "a"}},
            lambda row: row[0] == "54",
        ),
    ],
)
async def test_a_filter_finds_the_rows_that_satisfy_it(
    execute: Execute, context: Context, given: dict[str, Any], matches: Callable[[tuple[str | None, ...]], bool]
) -> None:
    """All conditions must hold; one that is absent restricts nothing."""
    assert await found(execute, context, **given) == sorted(int(row[0] or 0) for row in ROWS if matches(row))


@pytest.mark.parametrize("conditions", ["{}", '{name: {startsWith: "a"}}', "{marketSegment: {eq: BUILDING}}"])
async def test_the_customers_of_a_nation_are_filtered_for_each(
    execute: Execute, context: Context, conditions: str
) -> None:
    """What a nation's page finds is what the root finds in that nation."""
    page = "{ nodes { customerKey } totalCount }"
    answer = await execute(
        f"{{ nations {{ nationKey customers(filter: {conditions}, orderBy: {{field: NAME}}) {page} }} }}",
        context=context,
    )
    assert reasons(answer) == []
    for nation in answer["data"]["nations"]:
        given = conditions[1:-1] and f", {conditions[1:-1]}"
        alone = await execute(
            f"{{ customers(filter: {{nationKey: {{eq: {nation['nationKey']}}}{given}}}, orderBy: {{field: NAME}}) {page} }}",
            context=context,
        )
        assert nation["customers"] == alone["data"]["customers"]


async def test_customers_of_one_value_are_in_the_order_of_their_keys(execute: Execute, context: Context) -> None:
    """Names go by code points, and nulls come last, or first if descending."""
    document = "query($by: CustomerOrderBy) { customers(orderBy: $by) { nodes { customerKey } } }"
    for descending in (False, True):
        answer = await execute(
            document, context=context, by={"field": "NAME", "direction": "DESC" if descending else "ASC"}
        )
        expected = sorted(NAMES, key=lambda key: (NAMES[key] is None, NAMES[key] or "", key), reverse=descending)
        assert [int(node["customerKey"]) for node in answer["data"]["customers"]["nodes"]] == expected


async def test_balances_go_from_the_least_to_the_greatest(execute: Execute, context: Context) -> None:
    """Infinity is greater than any number, NaN is greater than that, and null comes last."""
    document = "{ customers(orderBy: {field: ACCOUNT_BALANCE}) { nodes { customerKey } } }"
    answer = await execute(document, context=context)
    keys = [int(node["customerKey"]) for node in answer["data"]["customers"]["nodes"]]
    balances = {int(row[0] or 0): Decimal(row[5]) if row[5] else None for row in ROWS}
    finite = [balance for key in keys if (balance := balances[key]) is not None and balance.is_finite()]
    assert finite == sorted(finite)
    odd = [key for key in keys if (balance := balances[key]) is None or not balance.is_finite()]
    # Columns with a precision hold no infinity: these are null there.
    assert odd == ([53, 52, 51, 54] if keys[0] == 53 else [51, 52, 53, 54])
    assert keys[-1] == 54


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"name": {"startsWith": "a\0b"}}, "VALUE_INVALID"),
        ({"name": {"eq": "\0"}}, "VALUE_INVALID"),
        ({"name": {"startsWith": "\ud800"}}, "VALUE_INVALID"),
        ({"customerKey": {"in": [*range(1001)]}}, "TOO_MANY_VALUES"),
        ({"nationKey": {"in": [*range(1001)]}}, "TOO_MANY_VALUES"),
    ],
)
async def test_a_value_that_no_customer_can_have_is_refused(
    execute: Execute, context: Context, given: dict[str, Any], reason: str
) -> None:
    """With a reason, and the field beside it is answered."""
    document = "query($f: CustomerFilter) { customers(filter: $f) { nodes { id } } customer(customerKey: 5) { name } }"
    answer = await execute(document, context=context, f=given)
    assert answer["data"] == {"customers": None, "customer": {"name": "Same"}}
    assert reasons(answer) == [(reason, ["customers"])]
