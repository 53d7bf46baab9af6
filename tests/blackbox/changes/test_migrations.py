"""Tests of the server's own tables: who creates them, what the server reports if it cannot, and how they move."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest

from tests.servers.forkserver import fork_server
from tests.servers.process import PATIENCE_SECONDS, environment, running_server

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from server.local.cluster import Cluster
    from tests.servers.process import Server

SET = "mutation($k: BigInt!, $s: OrderStatus!, $n: String) { setOrderStatus(input: {orderKey: $k, status: $s, note: $n}) { change { id version } userErrors { code } } }"
READ = "{ orders(first: 3) { nodes { orderKey status statusVersion syncedStatus } } }"
# A slow machine takes long to create the tables, and so do several processes at once on any machine.
PATIENT = MappingProxyType({"server.db.migrate._PATIENCE_SECONDS": 600})
_HISTORY = "{ orderStatusChanges(first: 1000) { headCursor nodes { id orderKey previousStatus status cleared version changedBy changedAt note } } }"


def ask(server: Server, query: str, **variables: object) -> dict[str, Any]:
    """The response to an operation."""
    answer = httpx.post(server.graphql, json={"query": query, "variables": variables}).json()
    assert isinstance(answer, dict)
    return answer


def command(url: str, name: str, *, given: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m server` with a command."""
    env = environment(DATABASE_URL=url, **settings)
    return fork_server().run("server", name, env=env, given=given, seconds=PATIENCE_SECONDS)


@pytest.fixture
def clerk(cluster: Cluster, orders_url: str) -> Iterator[str]:
    """The URL of a role that may read the orders, and may create nothing."""
    cluster.run_sql("CREATE ROLE clerk LOGIN PASSWORD 'clerk'; GRANT SELECT ON orders_synced TO clerk")
    parts = urlsplit(orders_url)
    yield urlunsplit(parts._replace(netloc=f"clerk:clerk@{parts.hostname}:{parts.port}"))
    cluster.run_sql("DROP SCHEMA IF EXISTS clerks CASCADE; DROP OWNED BY clerk; DROP ROLE clerk")


def test_several_processes_may_start_at_once(cluster: Cluster, orders_url: str) -> None:
    """One of them creates the tables and the others wait for it. All of them serve."""
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        starting = [
            pool.submit(stack.enter_context, running_server(orders_url, altered=PATIENT, APP_SCHEMA="crowd"))
            for _ in range(4)
        ]
        servers = [one.result() for one in starting]
        versions = [
            ask(server, SET, k=1, s=status)["data"]["setOrderStatus"]["change"]["version"]
            for server, status in zip(servers, ["PARTIAL", "FULFILLED", "PARTIAL", "FULFILLED"], strict=True)
        ]
    assert versions == [1, 2, 3, 4]
    assert cluster.run_sql("SELECT count(*) FROM crowd.alembic_version") == "1"


def test_a_role_that_may_not_create_the_tables_reads_and_is_told_the_grant(cluster: Cluster, clerk: str) -> None:
    """Reads work without the tables. A write's error names the GRANT, and after it writes work without a restart."""
    with running_server(clerk, altered=PATIENT, APP_SCHEMA="clerks") as server:
        before = ask(server, READ)
        assert "errors" not in before
        assert {order["statusVersion"] for order in before["data"]["orders"]["nodes"]} == {0}
        empty = ask(
            server, "{ orderStatusChanges { nodes { id } } order(orderKey: 1) { statusChanges { nodes { id } } } }"
        )
        assert empty["data"] == {"orderStatusChanges": {"nodes": []}, "order": {"statusChanges": {"nodes": []}}}
        (error,) = ask(server, SET, k=1, s="PARTIAL")["errors"]
        assert error["extensions"] == {
            "code": "SERVICE_UNAVAILABLE",
            "reason": "CHANGES_UNAVAILABLE",
            "retryable": True,
            "retryAfter": 1,
        }
        grant = re.search(r"GRANT [^;]+", error["message"])
        assert grant is not None
        assert grant[0] == 'GRANT CREATE ON DATABASE "orders" TO "clerk"'
        cluster.run_sql(grant[0])
        assert ask(server, SET, k=1, s="PARTIAL")["data"]["setOrderStatus"]["change"]["version"] == 1
        (order, *_) = ask(server, READ)["data"]["orders"]["nodes"]
        assert order == {"orderKey": "1", "status": "PARTIAL", "statusVersion": 1, "syncedStatus": "OPEN"}


def test_a_role_that_may_not_use_the_tables_is_told_the_grant(cluster: Cluster, orders_url: str, clerk: str) -> None:
    """The tables were created by another role, with `migrate`."""
    assert command(orders_url, "migrate", APP_SCHEMA="clerks").returncode == 0
    with running_server(clerk, altered=PATIENT, APP_SCHEMA="clerks") as server:
        assert "errors" not in ask(server, READ)
        (error,) = ask(server, SET, k=1, s="PARTIAL")["errors"]
        assert error["extensions"]["reason"] == "CHANGES_UNAVAILABLE"
        for grant in re.findall(r"GRANT [^;]+", error["message"]):
            cluster.run_sql(grant)
        assert ask(server, SET, k=1, s="PARTIAL")["data"]["setOrderStatus"]["userErrors"] == []


def test_a_role_that_may_not_create_the_functions_is_told_what_their_owner_has_to_run(
    cluster: Cluster, orders_url: str, clerk: str
) -> None:
    """The tables are of the revision before, and the role may use them. After the owner's command writes work."""
    assert command(orders_url, "migrate", APP_SCHEMA="clerks").returncode == 0
    cluster.run_sql("""
        DROP FUNCTION clerks.write_statuses, clerks.status_conflict, clerks.status_name;
        UPDATE clerks.alembic_version SET version_num = '0005';
        GRANT USAGE ON SCHEMA clerks TO clerk; GRANT USAGE, UPDATE ON ALL SEQUENCES IN SCHEMA clerks TO clerk;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA clerks TO clerk
    """)
    with running_server(clerk, altered=PATIENT, APP_SCHEMA="clerks") as server:
        (error,) = ask(server, SET, k=1, s="PARTIAL")["errors"]
        assert error["extensions"]["reason"] == "CHANGES_UNAVAILABLE"
        assert "run: python -m server migrate" in error["message"]
        assert command(orders_url, "migrate", APP_SCHEMA="clerks").returncode == 0
        assert ask(server, SET, k=1, s="PARTIAL")["data"]["setOrderStatus"]["userErrors"] == []


def test_tables_that_were_dropped_are_made_again(cluster: Cluster, orders_url: str) -> None:
    """An operator who drops them under a running server loses the history, and nothing else."""
    with running_server(orders_url, altered=PATIENT, APP_SCHEMA="dropped") as server:
        assert ask(server, SET, k=1, s="PARTIAL")["data"]
        cluster.run_sql("DROP SCHEMA dropped CASCADE")
        assert ask(server, READ)["data"]["orders"]["nodes"][0]["statusVersion"] == 0
        assert ask(server, SET, k=1, s="FULFILLED")["data"]["setOrderStatus"]["change"]["version"] == 1
        assert ask(server, READ)["data"]["orders"]["nodes"][0]["status"] == "FULFILLED"


def test_the_history_is_append_only(cluster: Cluster, orders_url: str) -> None:
    """To rewrite it, one has to drop the table's trigger first."""
    assert command(orders_url, "migrate", APP_SCHEMA="kept").returncode == 0
    cluster.run_sql(
        "INSERT INTO kept.order_status_change (o_orderkey, status, cleared, version, changed_by, changed_at) "
        "VALUES (1, 'P', false, 1, 'test', now())"
    )
    for statement in (
        "UPDATE kept.order_status_change SET note = ''",
        "DELETE FROM kept.order_status_change",
        "TRUNCATE kept.order_status_change",
    ):
        with pytest.raises(Exception, match="append only"):
            cluster.run_sql(statement)


def test_the_history_moves_to_another_database(orders_url: str) -> None:
    """Every change keeps its id, so cursors stay valid. The statuses follow from it, and new changes continue it."""
    with running_server(orders_url, altered=PATIENT, APP_SCHEMA="source") as source:
        for key, status in ((1, "PARTIAL"), (2, "FULFILLED"), (1, "FULFILLED"), (3, "OPEN"), (1, "OPEN")):
            assert ask(source, SET, k=key, s=status, n='Zoë\'s "note"\n2')["data"]
        assert ask(source, "mutation { clearOrderStatus(input: {orderKey: 2}) { change { id } } }")["data"]
        history, orders = ask(source, _HISTORY), ask(source, READ)
    exported = command(orders_url, "export-changes", APP_SCHEMA="source")
    assert exported.returncode == 0
    assert [json.loads(line)["id"] for line in exported.stdout.splitlines()] == [1, 2, 3, 4, 5, 6]
    imported = command(orders_url, "import-changes", given=exported.stdout, APP_SCHEMA="target")
    assert (imported.returncode, imported.stderr.splitlines()[-1]) == (
        0,
        "6 changes and 0 audit entries imported; 0 changes existed already.",
    )
    again = command(orders_url, "import-changes", given=exported.stdout, APP_SCHEMA="target")
    assert (again.returncode, again.stderr.splitlines()[-1]) == (
        0,
        "0 changes and 0 audit entries imported; 6 changes existed already.",
    )
    with running_server(orders_url, altered=PATIENT, APP_SCHEMA="target") as target:
        assert ask(target, _HISTORY) == history
        assert ask(target, READ) == orders
        assert ask(target, SET, k=1, s="PARTIAL")["data"]["setOrderStatus"]["change"]["version"] == 4


def test_a_command_without_a_database_says_so(orders_url: str) -> None:
    """It prints a sentence and returns an exit code."""
    refused = command(orders_url.replace(str(urlsplit(orders_url).port), "1"), "migrate")
    assert refused.returncode == 1
    assert refused.stderr.startswith("migrate: ")
    assert "Traceback" not in refused.stderr
