"""Tests of starting, being unavailable, and stopping: the real process with various settings and databases."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import asyncpg
import httpx
import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from server.local.cluster import Cluster
from tests.servers.process import PATIENCE_SECONDS, ROOT, answers, environment, free_port, running_server, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.process import Server

QUERY = "{ order(orderKey: 1) { orderKey } }"


def ask(server: Server, document: str = QUERY) -> httpx.Response:
    """Run a document."""
    return httpx.post(server.graphql, json={"query": document})


def execute(url: str, *statements: str) -> None:
    """Run statements in a database."""

    async def run() -> None:
        connection = await asyncpg.connect(url)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    asyncio.run(run())


def backends(url: str) -> set[int]:
    """The ids of the backends in a database that serve any of our servers."""

    async def run() -> set[int]:
        connection = await asyncpg.connect(url)
        rows = await connection.fetch(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'lakebase-orders-graphql%'"
        )
        await connection.close()
        return {row["pid"] for row in rows}

    return asyncio.run(run())


def start(**settings: str) -> subprocess.CompletedProcess[str]:
    """Run a server that cannot start, and return its output."""
    return subprocess.run(
        [sys.executable, "-m", "server"],
        cwd=ROOT,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def test_every_wrong_setting_is_named_at_once_and_the_exit_code_is_2() -> None:
    """One start lists all mistakes, and repeats no value, which could be a secret."""
    shown = start(
        DATABASE_URL="mysql://user:hunter2@host/db",
        PORT="99999",
        ORDERS_TABLE="a.b.c",
        PAGE_SIZE_MAX="0",
        HIDDEN_FIELDS="Order.comment,Order.clrek",
        LOG_LEVEL="LOUD",
        STATEMENT_TIMEOUT="soon",
    )
    assert shown.returncode == 2
    for name in (
        "DATABASE_URL",
        "PORT",
        "ORDERS_TABLE",
        "PAGE_SIZE_MAX",
        "HIDDEN_FIELDS",
        "LOG_LEVEL",
        "STATEMENT_TIMEOUT",
    ):
        assert f"  {name}: " in shown.stderr
    assert "hunter2" not in shown.stderr + shown.stdout
    assert "Traceback" not in shown.stderr


def test_a_missing_setting_is_named(tmp_path: Path) -> None:
    """Without a database there is nothing to serve."""
    shown = subprocess.run(
        [sys.executable, "-m", "server"],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert shown.returncode == 2
    assert "LAKEBASE_INSTANCE_NAME has to say which database to serve" in shown.stderr


def test_a_port_that_is_taken_stops_the_start(server: Server, orders_url: str) -> None:
    """The server gives the reason and a non-zero exit code."""
    shown = start(DATABASE_URL=orders_url, PORT=server.url.rpartition(":")[2])
    assert shown.returncode not in {0, 2}
    assert "address already in use" in shown.stdout


def on_every_transport(server: Server) -> list[dict[str, Any]]:
    """The answers to one query over HTTP, in an event stream and over a WebSocket."""
    query = {"query": "{ order(orderKey: 1) { orderKey } }"}
    events = httpx.post(f"{server.graphql}/stream", json=query, headers={"accept": "text/event-stream"}).text
    data = next(line for line in events.splitlines() if line.startswith("data:"))
    address = server.graphql.replace("http", "ws", 1)
    with connect(address, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
        socket.send('{"type": "connection_init"}')
        socket.recv(timeout=PATIENCE_SECONDS)
        socket.send(json.dumps({"id": "1", "type": "subscribe", "payload": query}))
        message = json.loads(socket.recv(timeout=PATIENCE_SECONDS))
    return [ask(server).json(), json.loads(data.removeprefix("data:")), message["payload"]]


def told(answer: dict[str, Any]) -> int | None:
    """In how many seconds the only error says to try again."""
    (error,) = answer["errors"]
    assert error["extensions"]["retryable"]
    seconds = error["extensions"]["retryAfter"]
    assert isinstance(seconds, int)
    return seconds


def test_a_missing_table_does_not_stop_the_start(orders_url: str) -> None:
    """The server is not ready and says why, answers retryable 503s, and becomes ready once the table exists."""
    table = "public.not_there_yet"
    with running_server(orders_url, ready=False, ORDERS_TABLE=table) as server:
        wait_for(lambda: table in httpx.get(f"{server.url}/readyz").text, what=lambda: "the reason to be known")
        unready = httpx.get(f"{server.url}/readyz")
        assert unready.status_code == 503
        refused = ask(server)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["data"] == {"order": None}
        assert refused.json()["errors"][0]["extensions"]["reason"] == "ORDERS_UNAVAILABLE"
        assert [told(answer) for answer in on_every_transport(server)] == [1, 1, 1]
        assert answers(f"{server.url}/livez")
        execute(orders_url, f"CREATE TABLE {table} AS SELECT * FROM orders_synced WHERE o_orderkey < 10")
        try:
            wait_for(lambda: answers(f"{server.url}/readyz"), what=lambda: "the server to become ready")
            assert ask(server).json() == {"data": {"order": {"orderKey": "1"}}}
        finally:
            execute(orders_url, f"DROP TABLE {table}")


def test_a_database_that_is_absent_does_not_stop_the_start() -> None:
    """Without a database the server is alive and not ready, answers 503, and still refuses bad requests with 400."""
    with running_server(f"postgresql://u:sesame@127.0.0.1:{free_port()}/db", ready=False) as server:
        refused = ask(server)
        assert refused.status_code == 503
        assert refused.json()["errors"][0]["extensions"]["reason"] == "DATABASE_UNAVAILABLE"
        assert ask(server, "{").json()["errors"][0]["extensions"]["code"] == "GRAPHQL_PARSE_FAILED"
        mixed = ask(server, "{ __typename order(orderKey: 1) { id } }")
        assert (mixed.status_code, mixed.json()["data"]) == (200, {"__typename": "Query", "order": None})
        many = ask(server, 'query { nodes(ids: ["T3JkZXI6MQ==", "T3JkZXI6Mg=="]) { id } }')
        assert (many.status_code, many.json()["data"]) == (503, {"nodes": [None, None]})
        assert [error["path"] for error in many.json()["errors"]] == [["nodes", 0], ["nodes", 1]]
        beside = ask(server, '{ __typename nodes(ids: ["T3JkZXI6MQ==", "x"]) { id } }')
        assert (beside.status_code, beside.json()["data"]) == (200, {"__typename": "Query", "nodes": [None, None]})
        reasons = [error["extensions"]["reason"] for error in beside.json()["errors"]]
        assert reasons == ["DATABASE_UNAVAILABLE", "ID_INVALID"]
        assert "sesame" not in server.log()


def test_a_login_that_is_refused_is_logged_with_its_cause(cluster: Cluster) -> None:
    """The server logs it once, without the password, before any request: the operator finds it there."""
    with running_server(f"postgresql://postgres:hunter2@127.0.0.1:{cluster.port}/orders", ready=False) as server:
        wait_for(lambda: "not ready" in server.log(), what=lambda: "the reason in the log")
        assert "password authentication failed" in server.log()
        assert "hunter2" not in server.log()


def test_a_restart_of_postgresql_is_survived(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Requests get 503 while PostgreSQL is down and orders afterwards, without a restart or a failed request."""
    cluster = Cluster(tmp_path_factory.mktemp("restarted") / "cluster")
    try:
        cluster.start()
        execute(
            cluster.url,
            "CREATE TABLE orders_synced (o_orderkey bigint PRIMARY KEY, o_custkey bigint, o_orderstatus text, "
            "o_totalprice numeric, o_orderdate date, o_orderpriority text, o_clerk text, o_shippriority int, o_comment text)",
            "INSERT INTO orders_synced (o_orderkey) VALUES (1)",
        )
        with running_server(cluster.url) as server:
            assert ask(server).json() == {"data": {"order": {"orderKey": "1"}}}
            execute(cluster.url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name <> ''")
            assert ask(server).json() == {"data": {"order": {"orderKey": "1"}}}
            cluster.stop("immediate")
            assert ask(server).status_code == 503
            cluster.start(cluster.port)
            wait_for(lambda: ask(server).status_code == 200, what=lambda: "orders to come back")
            assert answers(f"{server.url}/readyz")
    finally:
        cluster.destroy()


@pytest.mark.parametrize("host", ["127.0.0.1", "socket"])
def test_libpq_urls_are_understood(cluster: Cluster, orders_url: str, host: str) -> None:
    """Both schemes, sslmode, parameters that only libpq knows, and a directory of Unix sockets as the host."""
    password = orders_url.split(":")[2].partition("@")[0]
    extra = "sslmode=prefer&connect_timeout=5&channel_binding=prefer&keepalives=1"
    urls = {
        "127.0.0.1": [f"postgres://postgres:{password}@127.0.0.1:{cluster.port}/orders?{extra}"],
        "socket": [
            f"postgresql://postgres:{password}@{quote(str(cluster.socket_directory), safe='')}:{cluster.port}/orders",
            f"postgresql://postgres:{password}@/orders?host={cluster.socket_directory}&port={cluster.port}",
        ],
    }[host]
    for url in urls:
        with running_server(url) as server:
            assert ask(server).json() == {"data": {"order": {"orderKey": "1"}}}


def test_an_sslmode_that_the_server_cannot_meet_is_unavailable(orders_url: str) -> None:
    """The server does not fall back to an unencrypted connection if TLS is required."""
    with running_server(f"{orders_url}?sslmode=require", ready=False) as server:
        assert ask(server).json()["errors"][0]["extensions"]["reason"] == "DATABASE_UNAVAILABLE"


def test_a_role_that_may_not_read_the_table_says_so(cluster: Cluster, orders_url: str) -> None:
    """A missing privilege makes the server not ready, with the reason. It is not an internal error."""
    execute(orders_url, "CREATE ROLE stranger LOGIN PASSWORD 'x'")
    try:
        with running_server(f"postgresql://stranger:x@127.0.0.1:{cluster.port}/orders", ready=False) as server:
            error = ask(server).json()["errors"][0]
            assert error["extensions"]["reason"] == "ORDERS_UNAVAILABLE"
            assert "may not read" in error["message"]
    finally:
        execute(orders_url, "DROP ROLE stranger")


def test_a_slow_filter_is_stopped_and_says_why(orders_url: str) -> None:
    """The statement timeout ends it with a 504, and the message lists the filters that have an index."""
    view = (
        "CREATE VIEW slow_orders AS SELECT o_orderkey, o_custkey, o_orderstatus, o_totalprice, o_orderdate, o_orderpriority, "
        "CASE WHEN pg_sleep(0.05) IS NULL THEN '' ELSE o_clerk END AS o_clerk, o_shippriority, o_comment FROM orders_synced"
    )
    execute(orders_url, view)
    try:
        with running_server(orders_url, ORDERS_TABLE="slow_orders", STATEMENT_TIMEOUT="0.5") as server:
            answer = ask(server, '{ orders(filter: {clerk: {eq: "x"}}) { nodes { orderKey } } }')
            assert answer.status_code == 504
            error = answer.json()["errors"][0]
            assert (error["extensions"]["code"], error["extensions"]["reason"]) == (
                "GATEWAY_TIMEOUT",
                "STATEMENT_TIMEOUT",
            )
            assert "orderDate" in error["message"]
    finally:
        execute(orders_url, "DROP VIEW slow_orders")


def test_a_pool_in_full_use_refuses_soon(orders_url: str) -> None:
    """The server answers POOL_EXHAUSTED after the pool timeout, while another request still waits for its lock."""
    document = "{" + " ".join(f"a{n}: orders(first: {n}) {{ nodes {{ clerk }} }}" for n in range(4)) + "}"

    def is_answered(server: Server) -> bool:
        return "errors" not in ask(server, document).json()

    altered = {"server.db.engine._PAGE_WAIT_SECONDS": 0.2}
    with running_server(orders_url, POOL_SIZE="1", LOCK_TIMEOUT="0.5", altered=altered) as server:
        # On a busy machine four statements in turn may take longer than the wait.
        wait_for(lambda: is_answered(server), what=lambda: "an answer")
        blocker = asyncio.new_event_loop()
        connection: Any = blocker.run_until_complete(asyncpg.connect(orders_url))
        blocker.run_until_complete(connection.execute("BEGIN; LOCK orders_synced IN ACCESS EXCLUSIVE MODE"))
        try:
            reasons = {error["extensions"]["reason"] for error in ask(server, document).json()["errors"]}
            assert "POOL_EXHAUSTED" in reasons
            assert answers(f"{server.url}/livez")
        finally:
            blocker.run_until_complete(connection.close())
            blocker.close()
        wait_for(lambda: is_answered(server), what=lambda: "an answer")


def test_hidden_fields_and_page_sizes_are_settings(orders_url: str) -> None:
    """A hidden field is not in the schema, and the table need not have its column."""
    execute(
        orders_url,
        "CREATE VIEW anonymous_orders AS SELECT o_orderkey, o_custkey, o_orderstatus, o_totalprice, o_orderdate, "
        "o_orderpriority, o_shippriority FROM orders_synced",
    )
    try:
        with running_server(
            orders_url,
            ORDERS_TABLE="anonymous_orders",
            HIDDEN_FIELDS="Order.comment, Order.clerk",
            PAGE_SIZE_DEFAULT="3",
            PAGE_SIZE_MAX="5",
        ) as server:
            assert "Cannot query field 'clerk'" in ask(server, "{ orders { nodes { clerk } } }").text
            assert "clerk" in ask(server, '{ orders(filter: {clerk: {eq: "x"}}) { totalCount } }').text
            assert len(ask(server, "{ orders { nodes { id } } }").json()["data"]["orders"]["nodes"]) == 3
            assert "from 0 to 5" in ask(server, "{ orders(first: 6) { nodes { id } } }").text
    finally:
        execute(orders_url, "DROP VIEW anonymous_orders")


@pytest.mark.parametrize("signal_", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(orders_url: str, signal_: signal.Signals) -> None:
    """The exit code is 0, the log has no traceback, and requests in flight are answered."""
    with running_server(orders_url) as server:
        assert ask(server).status_code == 200
        server.process.send_signal(signal_)
        assert server.process.wait(PATIENCE_SECONDS) == 0
        assert "Traceback" not in server.log()


def test_a_stop_leaves_no_backend(orders_url: str) -> None:
    """The pools are closed with the server, and PostgreSQL has no backend left that waits for it."""
    others = backends(orders_url)
    with running_server(orders_url) as server:
        assert ask(server).status_code == 200
        own = backends(orders_url) - others
        assert own
        server.process.terminate()
        assert server.process.wait(PATIENCE_SECONDS) == 0
        # PostgreSQL learns of it at once, but each backend takes a moment to end.
        wait_for(lambda: not own & backends(orders_url), what=lambda: f"{own & backends(orders_url)} to end")


def test_the_databricks_sdk_is_not_loaded_before_it_is_needed() -> None:
    """Loading the SDK costs a second and 57 MB, which a server that only reads orders never needs."""
    program = "import sys, server.__main__, server.process.uvicorn_server; print([name for name in sys.modules if name.startswith('databricks')])"
    shown = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_prometheus_is_not_loaded_before_it_has_its_directory() -> None:
    """prometheus_client looks for the directory only once. Without it, each process would count for itself."""
    program = "import sys, server.__main__; print('prometheus_client' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
