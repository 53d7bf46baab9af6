"""`export-orders`: an export from a shell, to a file or to standard output, interrupted and continued."""

from __future__ import annotations

import csv
import json
import sys
from typing import TYPE_CHECKING, Final

import pytest

from tests.servers.forkserver import fork_server
from tests.servers.process import PATIENCE_SECONDS, PATIENT, ROOT, environment, wait_for
from tests.support.terminal import in_terminal

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from server.local.cluster import Cluster

ORDERS: Final = 15_000
SLOW: Final = """
CREATE OR REPLACE FUNCTION public.export_slowly(comment text) RETURNS text LANGUAGE plpgsql STABLE COST 1000000 AS
    'BEGIN PERFORM pg_sleep(600); RETURN comment; END';
CREATE OR REPLACE VIEW public.slow_orders AS
SELECT o_orderkey, o_custkey, o_orderstatus, o_totalprice, o_orderdate, o_orderpriority, o_clerk, o_shippriority,
    CASE WHEN o_orderkey > 5000 THEN public.export_slowly(o_comment) ELSE o_comment END AS o_comment
FROM public.orders_synced
"""


def export(url: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """The command, run to its end."""
    env = environment(DATABASE_URL=url, APP_SCHEMA="shell", **settings)
    return fork_server().run("server", "export-orders", *arguments, env=env, seconds=PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def slow_orders(cluster: Cluster, orders_url: str) -> str:
    """The name of a view of orders of which those from the key 5,000 on take minutes."""
    assert orders_url
    cluster.run_sql(SLOW)
    return "public.slow_orders"


def test_all_orders_are_written_with_all_their_own_fields(orders_url: str, tmp_path: Path) -> None:
    """To standard output, and nothing else goes there. A file gets the same."""
    done = export(orders_url, "--format", "csv")
    header, *rows = csv.reader(done.stdout.splitlines())
    assert (done.returncode, len(rows)) == (0, ORDERS)
    assert header[:4] == ["id", "orderKey", "customerKey", "status"]
    assert {"comment", "statusVersion", "syncedStatus"} <= {*header}
    assert "15,000 rows exported." in done.stderr
    assert "--after" not in done.stderr
    file = tmp_path / "orders.ndjson"
    assert export(orders_url, "--output", str(file)).returncode == 0
    found = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["orderKey"] for row in found] == [row[1] for row in rows]
    assert [*found[0]] == header


def test_a_query_of_the_callers_is_exported_with_its_variables(orders_url: str, tmp_path: Path) -> None:
    """The default query has a filter."""
    query = tmp_path / "query.graphql"
    query.write_text(
        "query($keys: [BigInt!]) { orders(filter: {orderKey: {in: $keys}}) { edges { node { orderKey } } } }"
    )
    done = export(orders_url, "--query", str(query), "--variables", '{"keys": ["1", "2", "3"]}', "--first", "2")
    assert done.stdout == '{"node":{"orderKey":"1"}}\n{"node":{"orderKey":"2"}}\n'
    filtered = export(orders_url, "--variables", '{"filter": {"orderKey": {"eq": "7"}}}')
    assert [json.loads(line)["orderKey"] for line in filtered.stdout.splitlines()] == ["7"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("{ orders { nodes { unknown } } }", "Cannot query field 'unknown' on type 'Order'."),
        ("{ databaseInstances { nodes { name } } }", "This needs the role `admin`"),
        ("{ orderCount { count } }", "`orderCount` is no connection."),
        ('{ orders(after: "x") { nodes { orderKey } } }', "The cursor was not issued by this API"),
    ],
)
def test_what_cannot_be_exported_ends_the_command_with_its_reason(
    orders_url: str, tmp_path: Path, query: str, message: str
) -> None:
    """The exit code is 1, and nothing is written."""
    file = tmp_path / "query.graphql"
    file.write_text(query)
    done = export(orders_url, "--query", str(file))
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interrupted_export_is_continued_in_its_file(orders_url: str, slow_orders: str, tmp_path: Path) -> None:
    """The terminal shows a bar, and at the end the cursor. Every order is in the file once."""
    file = tmp_path / "orders.csv"
    env = environment(DATABASE_URL=orders_url, APP_SCHEMA="shell", ORDERS_TABLE=slow_orders, **PATIENT)
    command = [
        sys.executable,
        "-m",
        "server",
        "export-orders",
        "--format",
        "csv",
        "--first",
        "9000",
        "--output",
        str(file),
    ]
    with in_terminal(command, ROOT, env, seconds=PATIENCE_SECONDS) as terminal:
        wait_for(
            lambda: "1,000 rows" in terminal.screen.text,
            what=lambda: f"the first page:\n{terminal.screen.text}",
            given_up=lambda: terminal.process.poll() is not None,
        )
        assert "[#" in terminal.screen.text
        terminal.press_ctrl_c()
        assert terminal.ended(PATIENCE_SECONDS) == 1, terminal.screen.text
        text = terminal.screen.text.replace("\n", "")
    assert "interrupted" in text
    cursor = text.split("--after ")[1].split()[0]
    assert export(orders_url, "--format", "csv", "--output", str(file), "--after", cursor).returncode == 0
    header, *rows = csv.reader(file.read_text().splitlines())
    keys = [int(row[header.index("orderKey")]) for row in rows]
    assert (len(keys), keys) == (ORDERS, sorted({*keys}))
