"""The tables beside the orders: which of them cannot be read, and what is served meanwhile, from plans and without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import asyncpg
import httpx

from tests.servers.graph_tables import make_graph, orders_of, served
from tests.servers.process import running_server, wait_for

if TYPE_CHECKING:
    from server.local.cluster import Cluster

SCHEMA: Final = "graph_process"
DOCUMENT: Final = """{
  orders(first: 1) { nodes { orderKey customer { name } lineItems(first: 1) { nodes { lineNumber } } } }
  order(orderKey: 1) { customer { customerKey } }
}"""
_LINES: Final = {"nodes": [{"lineNumber": 1}]}
_WITHOUT: Final = {
    "orders": {"nodes": [{"orderKey": "1", "customer": None, "lineItems": _LINES}]},
    "order": {"customer": None},
}
_WITH: Final = {
    "orders": {"nodes": [{"orderKey": "1", "customer": {"name": "Customer#000000001"}, "lineItems": _LINES}]},
    "order": {"customer": {"customerKey": "1"}},
}


async def test_a_server_without_one_of_its_tables_serves_the_others(cluster: Cluster, orders_url: str) -> None:
    """It is ready, says which table is missing, and has its rows as soon as it is there; and again when it goes."""
    assert cluster.running()
    tables = served(SCHEMA)
    names: dict[str, Any] = {
        "ORDERS_TABLE": orders_of(SCHEMA),
        "TABLES": ",".join(f"{name}={table}" for name, table in tables.items()),
        "APP_SCHEMA": "graph_process_app",
    }
    gone, back = (
        f"ALTER TABLE {tables['customers']} RENAME TO gone",
        f"ALTER TABLE {SCHEMA}.gone RENAME TO customer_synced",
    )
    database = await asyncpg.connect(orders_url)
    try:
        await make_graph(database, SCHEMA)
        await database.execute(gone)
        with running_server(orders_url, **names) as server:

            def ask() -> dict[str, Any]:
                # A document's plan answers from the second request on.
                answers = [httpx.post(server.graphql, json={"query": DOCUMENT}).json() for _ in range(3)]
                found: dict[str, Any] = answers[-1]
                return found

            def health() -> tuple[int, dict[str, str]]:
                response = httpx.get(f"{server.url}/readyz")
                return response.status_code, response.json()

            status, parts = health()
            assert status == 200
            assert tables["customers"] in parts["customers"]
            assert {parts[name] for name in tables.keys() - {"customers"}} == {"ok"}
            assert parts["orders"] == "ok"
            for _ in range(2):
                missing = ask()
                assert missing["data"] == _WITHOUT
                assert {error["extensions"]["reason"] for error in missing["errors"]} == {"TABLE_UNAVAILABLE"}
                assert {error["extensions"]["retryable"] for error in missing["errors"]} == {True}
                await database.execute(back)
                # It is looked for once a second.
                wait_for(lambda: "errors" not in ask(), what=server.log)
                assert ask() == {"data": _WITH}
                assert health() == (200, {**parts, "customers": "ok"})
                await database.execute(gone)
            assert [line for line in server.log().splitlines() if '"fault"' in line or "Traceback" in line] == []
    finally:
        await database.close()
