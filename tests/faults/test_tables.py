"""A sync of a table beside the orders, under load: orders never fail, and nothing that was changed is lost."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import httpx
import pytest

from server.local.cluster import Cluster
from tests.blackbox.ledger import Ledger, audit, writing
from tests.faults.rig import DURABLE, rigged
from tests.servers.process import NO_TLS, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.long

ORDERS: Final = 1000
CUSTOMERS: Final = 100
LINES: Final = 3
# All of one caller: they would take every connection of the pool.
READERS: Final = 30
FLAT_READERS: Final = 6
ROUNDS: Final = 3
# A request waits for a connection half as long as a statement waits for a lock, as by default, but both longer: so many
# readers at once may keep a small machine busy for longer than the default.
_SETTINGS: Final = {"LOCK_TIMEOUT": "4", "STATEMENT_TIMEOUT": "16", "REQUEST_TIMEOUT": "20"}
_WAITS: Final = {"server.db.engine._PAGE_WAIT_SECONDS": 2.0, "server.traffic.admission.WAIT_SECONDS": 2.0}
# How many answers of a kind are waited for.
ENOUGH: Final = 60
# What an answer may show of the customers: all of them; none, with an error; or that rows are missing, without one.
WHOLE, UNAVAILABLE, ABSENT = "whole", "unavailable", "absent"
ALONE: Final = "orders alone"
_TABLES: Final = "customers=public.customer_synced,line_items=public.lineitem_synced"
_DOCUMENT: Final = """
query ($from: BigInt!) {
  orders(first: 5, filter: {orderKey: {gte: $from}}) {
    nodes { orderKey totalPrice customer { customerKey name } lineItems(first: 2) { totalCount nodes { lineNumber quantity } } }
  }
}
"""
_FLAT: Final = """
query ($from: BigInt!) { orders(first: 5, filter: {orderKey: {gte: $from}}) { nodes { orderKey totalPrice } } }
"""
_CUSTOMERS: Final = (
    "CREATE TABLE {schema}.customer_synced (c_custkey bigint PRIMARY KEY, c_name text, c_address text, "
    "c_nationkey bigint, c_phone text, c_acctbal numeric(18, 2), c_mktsegment text, c_comment text)"
)
_FILL: Final = (
    "INSERT INTO {schema}.customer_synced SELECT k, 'Customer#' || k, '', 1, '', 1.5, 'BUILDING', '' "
    f"FROM generate_series(1, {CUSTOMERS}) k"
)
_DROP: Final = "DROP TABLE public.customer_synced"
_CREATE: Final = _CUSTOMERS.format(schema="public")
_REFILL: Final = _FILL.format(schema="public")
_MADE: Final = f"""
CREATE TABLE orders_synced AS
SELECT k AS o_orderkey, 1 + k % {CUSTOMERS} AS o_custkey, 'O' AS o_orderstatus, (k * 1.5)::numeric(18, 2) AS o_totalprice,
       DATE '1996-01-02' AS o_orderdate, '5-LOW' AS o_orderpriority, 'Clerk#1' AS o_clerk, 0 AS o_shippriority,
       '' AS o_comment
FROM generate_series(1::bigint, {ORDERS}) k;
ALTER TABLE orders_synced ADD PRIMARY KEY (o_orderkey);
CREATE TABLE lineitem_synced AS
SELECT k AS l_orderkey, n AS l_linenumber, 1::bigint AS l_partkey, 1::bigint AS l_suppkey, n::numeric AS l_quantity,
       1.5::numeric AS l_extendedprice, 0::numeric AS l_discount, 0::numeric AS l_tax, 'N' AS l_returnflag,
       'O' AS l_linestatus, DATE '1996-01-02' AS l_shipdate, DATE '1996-01-02' AS l_commitdate,
       DATE '1996-01-02' AS l_receiptdate, 'NONE' AS l_shipinstruct, 'AIR' AS l_shipmode, '' AS l_comment
FROM generate_series(1::bigint, {ORDERS}) k, generate_series(1, {LINES}) n;
ALTER TABLE lineitem_synced ADD PRIMARY KEY (l_orderkey, l_linenumber);
{_CREATE};
{_REFILL}
"""


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A PostgreSQL that keeps what it acknowledges, with orders, their customers and their lines."""
    cluster = Cluster(tmp_path_factory.mktemp("graph") / "cluster", options=DURABLE)
    try:
        cluster.start()
        cluster.run_sql(_MADE)
        cluster.run_sql("ANALYZE")
        yield cluster
    finally:
        cluster.destroy()


class Pages:
    """Readers of pages of orders with their customers and lines, and of orders alone, who check every answer.

    Attributes:
        seen: how many answers there were, by what they showed of the customers, or of orders alone.
        wrong: answers in which something else than customers was missing, or anything was not true.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._random = random.Random(1)  # noqa: S311 # not for cryptography
        self.seen: Counter[str] = Counter()
        self.wrong: list[str] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read inside the block."""
        stop = asyncio.Event()
        async with (
            httpx.AsyncClient(base_url=self._url, verify=NO_TLS, timeout=30) as client,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(READERS):
                group.create_task(self._read(client, stop, _DOCUMENT, _shown))
            for _ in range(FLAT_READERS):
                group.create_task(self._read(client, stop, _FLAT, _shown_alone))
            try:
                yield
            finally:
                stop.set()

    async def shows(self, what: str) -> None:
        """Wait until enough answers to requests from now on show this of the customers."""
        goal = self.seen[what] + ENOUGH
        await until(lambda: self.seen[what] >= goal or bool(self.wrong))

    async def _read(
        self, client: httpx.AsyncClient, stop: asyncio.Event, document: str, shown: Callable[[httpx.Response, int], str]
    ) -> None:
        while not stop.is_set():
            start = self._random.randint(1, ORDERS - 5)
            body = {"query": document, "variables": {"from": str(start)}}
            answer = await client.post("/api/graphql", json=body)
            try:
                self.seen[shown(answer, start)] += 1
            except (AssertionError, KeyError, TypeError, ValueError) as error:
                self.wrong.append(f"{answer.status_code} {answer.text[:600]}: {error!r}")
                return


def _shown(answer: httpx.Response, start: int) -> str:
    """What an answer shows of the customers. All else has to be there, and right."""
    assert answer.status_code == 200
    said = answer.json()
    nodes = said["data"]["orders"]["nodes"]
    assert [
        (int(node["orderKey"]), node["totalPrice"], node["lineItems"]["totalCount"], _lines(node)) for node in nodes
    ] == [(key, f"{key * 1.5:.2f}", LINES, [(1, "1"), (2, "2")]) for key in range(start, start + 5)]
    failed = set()
    for error in said.get("errors", []):
        *place, index, name = error["path"]
        assert (place, name) == (["orders", "nodes"], "customer")
        assert (error["extensions"]["reason"], error["extensions"]["retryable"]) == ("TABLE_UNAVAILABLE", True)
        failed.add(index)
    missing = {index for index, node in enumerate(nodes) if node["customer"] is None}
    for index, node in enumerate(nodes):
        if index not in missing:
            key = 1 + (start + index) % CUSTOMERS
            assert node["customer"] == {"customerKey": str(key), "name": f"Customer#{key}"}
    assert failed <= missing
    return UNAVAILABLE if failed else ABSENT if missing else WHOLE


def _shown_alone(answer: httpx.Response, start: int) -> str:
    """What an answer without customers shows: all orders, and no error."""
    assert answer.status_code == 200
    said = answer.json()
    assert said.keys() == {"data"}
    assert said["data"]["orders"]["nodes"] == [
        {"orderKey": str(key), "totalPrice": f"{key * 1.5:.2f}"} for key in range(start, start + 5)
    ]
    return ALONE


def _lines(node: Any) -> list[tuple[int, str]]:
    return [(line["lineNumber"], line["quantity"]) for line in node["lineItems"]["nodes"]]


async def test_a_sync_of_customers_fails_no_order(graph: Cluster, tmp_path: Path) -> None:
    """The table is dropped and loaded anew in every way that a sync may. Meanwhile orders and lines are read and changed.

    Customers are right, or null with TABLE_UNAVAILABLE, or null while the new table lacks them; and right as soon as the
    sync has ended, without a restart. Each change that was acknowledged is there once.
    """
    ledger = Ledger(tmp_path / "ledger.jsonl")
    connection = await asyncpg.connect(graph.url)
    try:
        with rigged(graph.url, schema="tables", settings={"TABLES": _TABLES, **_SETTINGS}, altered=_WAITS) as rig:
            pages = Pages(rig.server.url)
            async with writing(rig.server.url, ledger), pages.running():
                for _ in range(ROUNDS):
                    await pages.shows(WHOLE)
                    await connection.execute(_DROP)
                    await pages.shows(UNAVAILABLE)
                    await connection.execute(_CREATE)
                    await pages.shows(ABSENT)
                    await connection.execute(_REFILL)
                    await pages.shows(WHOLE)
                    # In a long transaction, for which every reader of the table waits.
                    await connection.execute(f"BEGIN; {_DROP}; {_CREATE}; {_REFILL}")
                    await pages.shows(UNAVAILABLE)
                    await connection.execute("COMMIT")
                    await pages.shows(WHOLE)
                    # The new table beside the old one, and then in its place.
                    staged = (_CUSTOMERS.format(schema="staging"), _FILL.format(schema="staging"))
                    await connection.execute(f"CREATE SCHEMA staging; {'; '.join(staged)}")
                    await connection.execute(
                        f"{_DROP}; ALTER TABLE staging.customer_synced SET SCHEMA public; DROP SCHEMA staging"
                    )
                    await pages.shows(WHOLE)
                calm = pages.seen.copy()
                await pages.shows(WHOLE)
                calm.subtract(pages.seen)
            assert pages.wrong == []
            assert (calm[UNAVAILABLE], calm[ABSENT]) == (0, 0)
            assert ledger.reasons.keys() <= {"STATUS_CONFLICT"}
            assert await audit(ledger, graph.url, rig.schema)
    finally:
        ledger.close()
        await connection.close()
