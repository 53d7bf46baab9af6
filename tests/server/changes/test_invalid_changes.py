"""Changes whose input is wrong, beside others in a list, and with idempotency keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

import pytest

from schema.ports.changes import WantedStatus, WriteRequest
from server.changes.idempotency import hash_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from schema.context import Context
    from tests.server.conftest import Execute, OpenStore

TABLE = "public.checked_orders"
APP_SCHEMA = "checked_changes"
ORDER_5: Final = "T3JkZXI6NQ=="
CHANGE_5: Final = "T3JkZXJTdGF0dXNDaGFuZ2U6NQ=="
LONG: Final = "n" * 1001
SET_MANY = """
mutation($input: SetOrderStatusesInput!) { setOrderStatuses(input: $input) {
  results { change { orderKey status } order { orderKey } userErrors { code field } } replayed userErrors { code field }
} }
"""
SET_ONE = """
mutation($input: SetOrderStatusInput!) { setOrderStatus(input: $input) {
  change { status } order { orderKey } replayed userErrors { code field message currentVersion }
} }
"""


@pytest.fixture
async def context(execute: Execute, open_store: OpenStore, database: asyncpg.Connection) -> AsyncIterator[Context]:
    """Twenty orders, all OPEN, and a store with our own tables."""
    await database.execute(
        f"CREATE TABLE {TABLE} (LIKE public.orders_synced INCLUDING INDEXES); "
        f"INSERT INTO {TABLE} SELECT n, 1, 'O', 9.99, '1995-06-17', '5-LOW', 'Clerk#1', 0, '' "
        f"FROM generate_series(1, 20) n"
    )
    _, context = open_store(TABLE, app_schema=APP_SCHEMA)
    await execute('mutation { clearOrderStatus(input: {orderKey: "1"}) { replayed } }', context=context)
    yield context
    await database.execute(f"DROP TABLE {TABLE}; DROP SCHEMA {APP_SCHEMA} CASCADE")


# Changes of a list: the input, and the user errors of an INDEPENDENT change, by field.
CHANGES: Final[list[tuple[dict[str, Any], dict[str | None, str]]]] = [
    ({"orderKey": "1"}, {}),
    ({"id": "nonsense"}, {"id": "ID_INVALID"}),
    ({}, {None: "ORDER_UNDETERMINED"}),
    ({"id": ORDER_5, "orderKey": "5"}, {None: "ORDER_UNDETERMINED"}),
    ({"orderKey": "0"}, {"orderKey": "VALUE_INVALID"}),
    ({"orderKey": "2", "note": LONG}, {"note": "VALUE_INVALID"}),
    ({"orderKey": "3", "note": "a\0b"}, {"note": "VALUE_INVALID"}),
    ({"id": CHANGE_5}, {"id": "ID_INVALID"}),
    ({"id": CHANGE_5, "note": LONG}, {"id": "ID_INVALID", "note": "VALUE_INVALID"}),
    ({"id": ORDER_5}, {}),
    ({"orderKey": "5"}, {"orderKey": "ORDER_REPEATED"}),
    ({"orderKey": "999"}, {"orderKey": "ORDER_NOT_FOUND"}),
    (
        {"orderKey": "6", "expectedVersion": 4, "expectedStatus": "FULFILLED"},
        {"expectedVersion": "STATUS_CONFLICT", "expectedStatus": "STATUS_CONFLICT"},
    ),
    ({"orderKey": "7"}, {}),
]


def results_of(payload: dict[str, Any]) -> list[dict[str | None, str]]:
    """The user errors of each result by field, after a check of their paths."""
    found = []
    for index, result in enumerate(payload["results"]):
        errors: dict[str | None, str] = {}
        for error in result["userErrors"]:
            path, rest = error["field"][:3], error["field"][3:]
            assert path == ["input", "changes", str(index)]
            errors[rest[0] if rest else None] = error["code"]
        assert bool(errors) is (result["change"] is None)
        found.append(errors)
    return found


async def set_many(
    execute: Execute,
    context: Context,
    changes: list[dict[str, Any]],
    key: UUID | None = None,
    mode: str = "INDEPENDENT",
) -> dict[str, Any]:
    """Set the statuses of a list, each to PARTIAL."""
    input_ = {
        "changes": [{"status": "PARTIAL", **change} for change in changes],
        "mode": mode,
        "idempotencyKey": key and str(key),
    }
    answer = await execute(SET_MANY, context=context, input=input_)
    assert "errors" not in answer
    payload: dict[str, Any] = answer["data"]["setOrderStatuses"]
    return payload


async def set_one(execute: Execute, context: Context, key: UUID | None = None, **change: object) -> dict[str, Any]:
    """Set the status of one order to PARTIAL."""
    input_ = {"status": "PARTIAL", "idempotencyKey": key and str(key), **change}
    answer = await execute(SET_ONE, context=context, input=input_)
    assert "errors" not in answer
    payload: dict[str, Any] = answer["data"]["setOrderStatus"]
    return payload


async def history(execute: Execute, context: Context) -> list[str]:
    """The orders that were changed."""
    answer = await execute("{ orderStatusChanges { nodes { orderKey } } }", context=context)
    return [node["orderKey"] for node in answer["data"]["orderStatusChanges"]["nodes"]]


@pytest.mark.parametrize("key", [None, uuid4()], ids=["", "keyed"])
async def test_an_independent_change_fails_alone(execute: Execute, context: Context, key: UUID | None) -> None:
    """The others are made, whatever is wrong with its input. A repetition with the key has the same results."""
    changes = [change for change, _ in CHANGES]
    payload = await set_many(execute, context, changes, key)
    assert results_of(payload) == [errors for _, errors in CHANGES]
    assert (payload["userErrors"], payload["replayed"]) == ([], False)
    assert await history(execute, context) == ["1", "5", "7"]
    # The order is there for a change that names one.
    assert payload["results"][5]["order"] == {"orderKey": "2"}
    assert payload["results"][1]["order"] is None
    if key:
        assert await set_many(execute, context, changes, key) == payload | {"replayed": True}
        assert await history(execute, context) == ["1", "5", "7"]


@pytest.mark.parametrize("index", [index for index, (_, errors) in enumerate(CHANGES) if errors])
async def test_in_an_atomic_list_the_error_names_its_index_and_field(
    execute: Execute, context: Context, index: int
) -> None:
    """And none of the changes is made."""
    change, errors = CHANGES[index]
    listed = [{"orderKey": "5"}, change, {"orderKey": "9"}]
    payload = await set_many(execute, context, listed, mode="ATOMIC")
    assert results_of(payload) == [{None: "CHANGE_NOT_APPLIED"}, errors, {None: "CHANGE_NOT_APPLIED"}]
    assert await history(execute, context) == []


async def test_a_change_that_was_refused_is_part_of_what_a_key_stands_for(execute: Execute, context: Context) -> None:
    """With another invalid change the input is another one, although the same changes would be made."""
    key = uuid4()
    valid, invalid = {"orderKey": "1"}, {"orderKey": "2", "note": LONG}
    first = await set_many(execute, context, [valid, invalid], key)
    for other in ([invalid, valid], [valid], [valid, {"orderKey": "2"}], [valid, {"orderKey": "3", "note": LONG}]):
        reused = await set_many(execute, context, other, key)
        assert reused == {
            "results": [],
            "replayed": False,
            "userErrors": [{"code": "IDEMPOTENCY_KEY_REUSED", "field": ["input", "idempotencyKey"]}],
        }
    assert await set_many(execute, context, [valid, invalid], key) == first | {"replayed": True}


@pytest.mark.parametrize("mode", ["ATOMIC", "INDEPENDENT"])
async def test_an_input_of_which_nothing_is_tried_does_not_use_up_its_key(
    execute: Execute, context: Context, mode: str
) -> None:
    """A form whose note was too long is sent again with the same key, and the change is made."""
    key, other = uuid4(), uuid4()
    refused = await set_one(execute, context, key, orderKey="1", note=LONG)
    assert [(error["code"], error["field"]) for error in refused["userErrors"]] == [
        ("VALUE_INVALID", ["input", "note"])
    ]
    assert (refused["change"], refused["order"]) == (None, {"orderKey": "1"})
    assert (await set_one(execute, context, key, orderKey="1"))["change"] == {"status": "PARTIAL"}
    await set_many(execute, context, [{"orderKey": "2", "note": LONG}], other, mode)
    made = await set_many(execute, context, [{"orderKey": "2"}], other, mode)
    assert made["results"][0]["change"] == {"orderKey": "2", "status": "PARTIAL"}


async def test_each_expectation_that_does_not_hold_is_an_error(execute: Execute, context: Context) -> None:
    """The messages say what was expected and what is there, also in a replay."""
    key = uuid4()
    refused = await set_one(
        execute, context, key, orderKey="1", expectedVersion=3, expectedStatus="FULFILLED", status="PARTIAL"
    )
    assert refused["userErrors"] == [
        {
            "code": "STATUS_CONFLICT",
            "field": ["input", field],
            "message": f"Order 1 does not have {expected}: it has OPEN and version 0. Nothing was written.",
            "currentVersion": 0,
        }
        for field, expected in (("expectedVersion", "version 3"), ("expectedStatus", "FULFILLED"))
    ]
    again = await set_one(
        execute, context, key, orderKey="1", expectedVersion=3, expectedStatus="FULFILLED", status="PARTIAL"
    )
    assert again == refused | {"replayed": True}


async def test_an_unknown_or_missing_status_is_told_in_plain_words(
    execute: Execute, context: Context, database: asyncpg.Connection
) -> None:
    """The synced table may hold anything."""
    for stored, told in (("'X'", 'the unknown status "X"'), ("NULL", "no status")):
        await database.execute(f"UPDATE {TABLE} SET o_orderstatus = {stored} WHERE o_orderkey = 1")
        refused = await set_one(execute, context, orderKey="1", expectedStatus="OPEN")
        assert refused["userErrors"][0]["message"] == (
            f"Order 1 does not have OPEN: it has {told} and version 0. Nothing was written."
        )


def test_thehash_of_a_valid_input_stays_the_same_between_versions() -> None:
    """Otherwise a repetition after a deployment would be refused as another input."""
    wanted = (WantedStatus(1, "P", "O", 3, "note"), WantedStatus(2, None))
    request = WriteRequest("setOrderStatuses", wanted, atomic=True, idempotency_key=uuid4())
    assert hash_of(request).hex() == "67dfb158da79c8f8ed0bd30421b5651da847360720eb8cb703af414ede441e4b"
