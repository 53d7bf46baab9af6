"""Merged statuses: wherever an order is read, its status is the one that was set through this API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import asyncpg

    from server.db.engine import Engines
    from tests.server.conftest import Execute, OpenStore

SET = "mutation($i: SetOrderStatusesInput!) { setOrderStatuses(input: $i) { results { change { id } userErrors { code } } } }"
FIELDS = "orderKey status statusVersion syncedStatus statusSuperseded statusUpdatedBy"
PLACES = f"""{{
    orders(first: 1) {{ nodes {{ {FIELDS} }} }}
    byPrice: orders(filter: {{orderKey: {{eq: 1}}}}, orderBy: {{field: TOTAL_PRICE}}) {{ edges {{ node {{ {FIELDS} }} }} }}
    ordersPage(pageSize: 1) {{ nodes {{ {FIELDS} }} }}
    order(orderKey: 1) {{ {FIELDS} }}
    node(id: "T3JkZXI6MQ==") {{ ... on Order {{ {FIELDS} }} }}
    nodes(ids: ["T3JkZXI6MQ=="]) {{ ... on Order {{ {FIELDS} }} }}
    orderStatusChanges {{ nodes {{ order {{ {FIELDS} }} }} }}
}}"""


def orders_in(value: object) -> list[dict[str, Any]]:
    """Every order in an answer, at any depth."""
    if isinstance(value, list):
        return [order for item in value for order in orders_in(item)]
    if not isinstance(value, dict):
        return []
    return [value] if "statusVersion" in value else orders_in(list(value.values()))


@pytest.fixture
async def small(database: asyncpg.Connection) -> str:
    """A table of four orders: open, fulfilled, with a status unknown to the schema, and without a status."""
    await database.execute(
        "DROP SCHEMA IF EXISTS merged CASCADE; DROP TABLE IF EXISTS merged_orders;"
        "CREATE TABLE merged_orders (LIKE orders_synced INCLUDING INDEXES);"
        "INSERT INTO merged_orders SELECT * FROM orders_synced WHERE o_orderkey < 5;"
        "ALTER TABLE merged_orders ALTER o_orderstatus DROP NOT NULL, ALTER o_orderstatus TYPE char(3);"
        "UPDATE merged_orders SET o_orderstatus = CASE o_orderkey WHEN 1 THEN 'O' WHEN 2 THEN 'F' WHEN 3 THEN 'X' END"
    )
    return "public.merged_orders"


async def test_a_status_is_merged_wherever_an_order_is_read(
    execute: Execute, open_store: OpenStore, database: asyncpg.Connection, small: str
) -> None:
    """In pages, by key, by id, by page number and in the history. `statusSuperseded` shows when the synced status changes."""
    _, context = open_store(small, app_schema="merged")
    changed = await execute(SET, context=context, i={"changes": [{"orderKey": 1, "status": "PARTIAL"}]})
    assert changed["data"]["setOrderStatuses"]["results"][0]["userErrors"] == []
    expected = {
        "orderKey": "1",
        "status": "PARTIAL",
        "statusVersion": 1,
        "syncedStatus": "OPEN",
        "statusSuperseded": False,
        "statusUpdatedBy": "tester",
    }
    found = orders_in((await execute(PLACES, context=context))["data"])
    assert found == [expected] * 7
    await database.execute("UPDATE merged_orders SET o_orderstatus = 'F' WHERE o_orderkey = 1")
    found = orders_in((await execute(PLACES, context=context))["data"])
    assert found == [expected | {"syncedStatus": "FULFILLED", "statusSuperseded": True}] * 7


async def test_whatever_the_table_says_can_be_changed(execute: Execute, open_store: OpenStore, small: str) -> None:
    """An order with an unknown status or none can be set and cleared. The history shows the unknown status as null."""
    _, context = open_store(small, app_schema="merged")
    for key in (3, 4):
        change = "previousStatus change { previousStatus status cleared syncedStatus version } userErrors { code }"
        done = await execute(
            f"mutation {{ a: setOrderStatus(input: {{orderKey: {key}, status: OPEN}}) {{ order {{ status }} userErrors {{ code }} }}"
            f" b: clearOrderStatus(input: {{orderKey: {key}}}) {{ {change} }} }}",
            context=context,
        )
        assert done["data"]["a"] == {"order": {"status": "OPEN"}, "userErrors": []}
        assert done["data"]["b"] == {
            "previousStatus": "OPEN",
            "change": {"previousStatus": "OPEN", "status": None, "cleared": True, "syncedStatus": None, "version": 2},
            "userErrors": [],
        }
        assert "errors" not in done


@pytest.mark.parametrize("others", ["", ", orderKey: {lte: 30000}", ', totalPrice: {gte: "150000"}'])
async def test_an_estimate_knows_what_was_changed(
    execute: Execute, open_store: OpenStore, database: asyncpg.Connection, others: str
) -> None:
    """It is the planner's estimate for the synced statuses, corrected by the changes; no plan joins the overlay."""
    _, context = open_store(app_schema="estimated")
    await database.execute("ANALYZE orders_synced")
    count = (
        f"query($s: OrderStatus!) {{ orders(filter: {{status: {{eq: $s}}{others}}}) "
        "{ exact: totalCount estimated: totalCount(precision: ESTIMATED) } }"
    )
    keys = [row[0] for row in await database.fetch("SELECT o_orderkey FROM orders_synced WHERE o_orderkey % 3 = 0")]
    for start in range(0, len(keys), 1000):
        changes = [{"orderKey": key, "status": "PARTIAL"} for key in keys[start : start + 1000]]
        assert "errors" not in await execute(SET, context=context, i={"changes": changes})
    for status in ("OPEN", "FULFILLED", "PARTIAL"):
        found = (await execute(count, context=context, s=status))["data"]["orders"]
        assert abs(found["estimated"] - found["exact"]) <= 0.15 * found["exact"] + 50, found


async def test_a_resync_with_other_types_of_text_changes_no_answer(
    execute: Execute, open_store: OpenStore, engines: Engines, database: asyncpg.Connection
) -> None:
    """The table is recreated with char(n) instead of text: no value is read, compared or stored with its padding."""
    columns = "o_orderstatus TYPE {0}, ALTER o_orderpriority TYPE {1}, ALTER o_clerk TYPE {2}"
    make = (
        "DROP TABLE IF EXISTS retyped; CREATE TABLE retyped (LIKE orders_synced INCLUDING INDEXES);"
        "INSERT INTO retyped SELECT * FROM orders_synced WHERE o_orderkey < 8; ALTER TABLE retyped ALTER "
    )
    await database.execute(
        f"DROP SCHEMA IF EXISTS retyped_changes CASCADE; {make}{columns.format('text', 'text', 'text')}"
    )
    _, context = open_store("public.retyped", app_schema="retyped_changes")
    read = "{ orders(first: 7) { nodes { orderKey status clerk orderPriority } } orderStats { byStatus { status count } } }"
    # This creates the tables of changes. After that there is no reason to look the orders table up again.
    await execute("mutation { clearOrderStatus(input: {orderKey: 1}) { replayed } }", context=context)
    before = await execute(read, context=context)
    assert "errors" not in before
    await database.execute(f"{make}{columns.format('char(3)', 'char(20)', 'char(40)')}")
    # As recycling does: a connection without prepared statements gets no error about the new table.
    for pool in engines.all:
        pool.discard()
    set_one = (
        "mutation { setOrderStatus(input: {orderKey: 1, status: PARTIAL, expectedStatus: OPEN}) "
        "{ previousStatus change { previousStatus syncedStatus } userErrors { code } } }"
    )
    done = (await execute(set_one, context=context))["data"]["setOrderStatus"]
    change = {"previousStatus": "OPEN", "syncedStatus": "OPEN"}
    assert done == {"previousStatus": "OPEN", "change": change, "userErrors": []}
    kept = await database.fetchrow("SELECT previous_status, synced_status FROM retyped_changes.order_status_change")
    assert tuple(kept) == ("O", "O")
    assert "errors" not in await execute(
        "mutation { clearOrderStatus(input: {orderKey: 1}) { replayed } }", context=context
    )
    assert (await execute(read, context=context))["data"]["orders"] == before["data"]["orders"]
