"""`make run`, without make: first start, second start, stop, kill and recovery."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from schema.graph import TABLES
from tests.local.runs import (
    PlatformCall,
    launched,
    platform_calls,
    processes_of,
    refused,
    running,
    running_in_terminal,
)
from tests.servers.platform import end_left_behind, platform_directory
from tests.servers.process import PATIENCE_SECONDS, answers, free_port, wait_for
from tests.support.terminal import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SYNCED = "{ lakebase { syncedTables { name sourceTable } } }"
NAMED = "query Newest { orders(first: 1) { nodes { orderKey } } }"
STEPS = ["create_instance", "create_catalog", "create_synced_table", "restore_belongings", "build_indexes"]
# The tables beside the orders, with their numbers of rows at the first scale, and what a person reads of them.
OTHERS = {name: f"{table.source}_synced" for name, table in TABLES.items()}
ROWS = {
    "customers": 150,
    "line_items": 6005,
    "parts": 200,
    "suppliers": 10,
    "nations": 25,
    "regions": 5,
}
GRAPH = """query Page {
  orders(first: 1) { nodes { customer { name nation { name region { name } } }
    lineItems(first: 1) { nodes { lineNumber part { name } } } } }
}"""


@dataclass(frozen=True)
class First:
    """What a first run did, in a terminal and an empty LOCAL_DIR, until Ctrl-C stopped it. `screen` has no empty lines.

    `tables` are the synced tables that there were, and `graph` is the answer to a query of all tables.
    """

    directory: Path
    url: str
    screen: list[str]
    log: str
    calls: set[PlatformCall]
    count: int
    tables: list[Any]
    graph: dict[str, Any]
    processes: int
    code: int
    left: list[psutil.Process]


@pytest.fixture(scope="module")
def first() -> Iterator[First]:
    """A first run."""
    with platform_directory() as place:
        directory = place / ".local"
        with running_in_terminal(directory) as (run, terminal):
            count, processes = run.count(), len(processes_of(directory))
            tables, graph = run.ask(SYNCED)["data"]["lakebase"]["syncedTables"], run.ask(GRAPH)
            httpx.post(f"{run.url}/api/graphql", json={"query": NAMED, "operationName": "Newest"})
            httpx.get(f"{run.url}/nowhere")
            wait_for(lambda: "/nowhere" in run.output(), what=run.output)
            terminal.press_ctrl_c()
            code = terminal.ended(PATIENCE_SECONDS)
            screen = [line for line in terminal.screen.text.splitlines() if line]
            log, calls = (directory / "server.log").read_text(), set(platform_calls(directory))
            left = processes_of(directory)
            yield First(directory, run.url, screen, log, calls, count, tables, graph, processes, code, left)
        end_left_behind(directory / "platform")


@pytest.fixture(scope="module")
def directory(first: First) -> Path:
    """The LOCAL_DIR after the first run. The runs share it, as they do on a laptop."""
    return first.directory


@dataclass(frozen=True)
class Second:
    """What a second run in the directory did until it was killed, and the processes that it left."""

    made: tuple[list[Path], list[Path]]
    started: str
    count: int
    last_sync: str
    calls: set[PlatformCall]
    other: subprocess.CompletedProcess[str]
    left: list[psutil.Process]


@pytest.fixture(scope="module")
def second(directory: Path) -> Second:
    """A run in the directory of an earlier one, ended by kill -9."""
    before = sorted((directory / "platform").glob("instances/*"))
    with running(directory) as run:
        count, other = run.count(), refused(LOCAL_DIR=str(directory))
        table = "{ lakebase { syncedTable { lastSyncFinishedAt } } }"
        found = httpx.post(f"{run.url}/api/graphql", json={"query": table}).json()["data"]["lakebase"]
        change = 'mutation { setOrderStatus(input: {orderKey: "1", status: FULFILLED}) { change { version } } }'
        assert "errors" not in httpx.post(f"{run.url}/api/graphql", json={"query": change}).json()
        made = before, sorted((directory / "platform").glob("instances/*"))
        run.process.kill()
        run.process.wait()
        left, calls = processes_of(directory), set(platform_calls(directory))
        return Second(made, run.started, count, found["syncedTable"]["lastSyncFinishedAt"], calls, other, left)


def test_a_first_run_provisions_and_ctrl_c_stops_all_of_it(first: First) -> None:
    """Ctrl-C leaves no process, and the exit code is 0."""
    assert first.count == 1500
    assert first.processes > 2
    assert first.code == 0
    assert first.left == []
    assert not answers(f"{first.url}/livez")


def test_in_a_terminal_a_person_sees_the_steps_the_addresses_and_a_line_a_request(first: First) -> None:
    """And nothing else. Each line fits into 80 columns."""
    screen = iter(first.screen)
    for name in STEPS:
        assert re.fullmatch(rf"{name} +━+ 100% [a-z ]+", line := next(screen)), line
    assert next(screen) == "Orders      1,500 (TPC-H at scale 0.001; SCALE=1 syncs 1,500,000)"
    assert re.fullmatch(r"Lakebase    http://127\.0\.0\.1:\d+, PostgreSQL 16 at 127\.0\.0\.2", next(screen))
    assert next(screen) == f"GraphiQL    {first.url}/api/graphql"
    assert next(screen) == f"Log         {first.directory}/server.log"
    for name in OTHERS.values():
        assert re.fullmatch(rf"{name} +━+ 100% all indexes exist", line := next(screen)), line
    for name in OTHERS:
        assert next(screen) == f"{name.replace('_', ' ').capitalize():<11} {ROWS[name]:,}"
    assert re.fullmatch(r"Served      orders after \d+ s, all tables after \d+ s", next(screen))
    assert next(screen) == "Press Ctrl-C to stop."
    *rest, last, end = screen
    requests = [line.split() for line in rest]
    assert [words[:3] for words in requests] == [
        ["POST", "/api/graphql", "200"],
        ["POST", "/api/graphql", "200"],
        ["POST", "Page", "200"],
        ["POST", "Newest", "200"],
        ["GET", "/nowhere", "404"],
    ]
    assert requests[-1][5:] == ["PATH_UNKNOWN"]
    assert (last, end) == ("^C", "Stopped.")
    assert all(len(line) < COLUMNS for line in first.screen)


def test_a_first_run_serves_all_tables(first: First) -> None:
    """Each has its synced table, with a source of its own, and a query from order to region finds all of them."""
    sources = {one["name"].rpartition(".")[2]: one["sourceTable"] for one in first.tables}
    assert sources == {
        f"{source}_synced": f"samples.tpch.{source}" for source in ("orders", *(one.source for one in TABLES.values()))
    }
    assert "errors" not in first.graph
    (order,) = first.graph["data"]["orders"]["nodes"]
    assert order["customer"]["nation"]["region"]["name"]
    assert order["lineItems"]["nodes"][0]["part"]["name"]


def test_everything_else_is_in_the_log(first: First) -> None:
    """Each line of the server is JSON. Alembic does not name its parts."""
    events = [json.loads(line)["event"] for line in first.log.splitlines()]
    assert {"listening", "migrated", "ready", "request", "audit"} <= set(events)
    assert "setup plugin" not in first.log


def test_the_postgres_api_alone_is_called(first: First, second: Second) -> None:
    """The first run creates a project, a catalog and a synced table by it, the second run nothing."""
    api = "/api/2.0/postgres"
    created = {PlatformCall("POST", f"{api}/{kind}") for kind in ("projects", "catalogs", "synced_tables")}
    login = PlatformCall("POST", f"{api}/credentials")
    assert {one for one in first.calls if one.method != "GET"} == {login, *created}
    assert {one for one in second.calls if one.method != "GET"} == {login}
    assert not [one for one in first.calls | second.calls if one.path.startswith("/api/2.0/database")]


def test_a_second_run_finds_everything(second: Second) -> None:
    """Nothing is created or synced again. Meanwhile another run in the same directory is refused."""
    before, after = second.made
    assert second.count == 1500
    assert after == before
    assert second.last_sync < second.started
    assert second.other.returncode == 1
    assert "Another `make run`" in second.other.stderr


def test_another_scale_syncs_again_and_a_killed_run_is_recovered(directory: Path, second: Second) -> None:
    """The new scale is served, and statuses are kept. The next run ends the processes that kill -9 has left behind."""
    assert len(second.left) > 2
    with running(directory, scale="0.002") as again:
        # Elsewhere than in a terminal there are no bars.
        steps = {line for line in again.output().splitlines() if line.startswith("sync_table")}
        assert steps == {
            f"sync_table           synced table orders_catalog.public.{name}: the rows are synced"
            for name in ("orders_synced", *OTHERS.values())
        }
        assert "Customers   300\n" in again.output()
        assert "Nations     25\n" in again.output()
        assert "━" not in again.output()
        assert not any(map(runs, second.left))
        assert again.count() == 3000
        query = '{ order(orderKey: "1") { status } }'
        status = httpx.post(f"{again.url}/api/graphql", json={"query": query}).json()
        assert status == {"data": {"order": {"status": "FULFILLED"}}}


def runs(process: psutil.Process) -> bool:
    """Whether the process runs. A zombie does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def generates(run: int) -> bool:
    """Whether a generator of orders is running below this process. Any of its processes may end during the look."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return any("tpchgen" in child.name() for child in psutil.Process(run).children(recursive=True))
    return False


def test_ctrl_c_while_it_starts_leaves_nothing_behind(directory: Path) -> None:
    """However early Ctrl-C comes."""
    process = launched(subprocess.DEVNULL, LOCAL_DIR=str(directory), SCALE="0.002", PORT=str(free_port()))
    wait_for((directory / "platform.pid").exists, what=lambda: "the local Lakebase to begin to start")
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_SECONDS) == 0
    assert processes_of(directory) == []


def test_ctrl_c_while_orders_are_synced_leaves_nothing_behind(directory: Path) -> None:
    """It stops at once. The next run carries on, serves the scale it is given, and does not outlive its server."""
    # No other test generates this size.
    sources = str(directory / "sources")
    process = launched(
        subprocess.DEVNULL, LOCAL_DIR=str(directory), LOCAL_SOURCES=sources, SCALE="3", PORT=str(free_port())
    )
    wait_for(
        lambda: generates(process.pid), what=lambda: "the sync to begin", given_up=lambda: process.poll() is not None
    )
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_SECONDS) == 0
    assert processes_of(directory) == []
    with running(directory) as again:
        assert again.count() == 1500
        server = int((directory / "server.pid").read_text().split()[0])
        os.kill(server, signal.SIGKILL)
        assert again.process.wait(PATIENCE_SECONDS) == 1
        assert "The server has stopped with exit code -9." in again.output()
        assert f"The whole log is {directory}/server.log" in again.output()
        assert processes_of(directory) == []


def test_a_port_that_is_taken_is_named_before_anything_is_done(tmp_path: Path) -> None:
    """Another program on the port is not taken for the server."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = refused(LOCAL_DIR=str(tmp_path / "local"), PORT=str(port))
    assert result.returncode == 1
    assert result.stderr == f"PORT: {port} is taken. Set PORT to another.\n"


def test_a_server_that_does_not_start_is_told_with_the_end_of_its_log(directory: Path) -> None:
    """The same holds for the local Lakebase. The run itself shows no traceback."""
    for settings, told in (
        ({"LOG_LEVEL": "loud"}, "The server stopped at once.\n  The settings are wrong:\n    LOG_LEVEL"),
        ({"LOCAL_SUSPEND_AFTER": "soon"}, "The local Lakebase stopped at once.\n  LOCAL_SUSPEND_AFTER"),
    ):
        result = refused(LOCAL_DIR=str(directory), PORT=str(free_port()), **settings)
        assert result.returncode == 1
        assert told in result.stderr
        assert result.stderr.endswith(f"The whole log is {directory}/server.log\n")
        assert "Traceback" not in result.stderr
        assert processes_of(directory) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"SCALE": "big"}, "SCALE"), ({"SCALE": "0"}, "SCALE"), ({"SCALE": "nan"}, "SCALE"), ({"PORT": "x"}, "PORT")],
)
def test_a_wrong_setting_is_refused(tmp_path: Path, settings: dict[str, str], message: str) -> None:
    """The exit code is 2, and nothing is created."""
    result = refused(LOCAL_DIR=str(tmp_path / "none"), **settings)
    assert result.returncode == 2
    assert result.stderr.startswith(message)
    assert not (tmp_path / "none").exists()
