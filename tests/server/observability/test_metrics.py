"""Metrics and slow statements: labels are bounded, gauges sampled, workers summed, and no value of a client is told."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import logging
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from schema.errors import Reason
from server.db.driver import text_of
from server.observability.exposition import Sampler, exposition
from server.observability.log_setup import configure_logs
from server.observability.metrics import OperationNames, count, outcome_label
from server.observability.observations import TokenMinted, TokenMintFailed
from server.observability.request_record import RequestRecord, current_record
from server.observability.sinks import observe, slow_statements
from server.settings import Settings
from server.tables.reading.read_connection import ReadConnection
from tests.servers.process import PATIENCE_SECONDS, ROOT, environment
from tests.support.exposition import value as read
from tests.support.metrics_table import metrics_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import asyncpg

    from server.db.engine import Engines

# Whether a session sleeps in the database, and has for long enough to make its statement slow.
SLEEPS = """
SELECT count(*) FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND query LIKE '%pg_sleep($1%' AND state = 'active' AND clock_timestamp() - query_start > interval '0.1 s'
"""


def value(name: str, text: str | None = None, **labels: str) -> float:
    """One value of an exposition, by default this process's."""
    count()
    return read(exposition("")[0].decode() if text is None else text, name, **labels)


@pytest.fixture
def log(orders_url: str) -> Iterator[io.StringIO]:
    """The log of a test in which a statement of 50 ms is slow."""
    written = io.StringIO()
    configure_logs(Settings(database_url=orders_url), stream=written)
    slow_statements.from_seconds = 0.05
    yield written
    slow_statements.from_seconds = 0.5
    logging.getLogger("statement").setLevel(logging.NOTSET)
    configure_logs(Settings(database_url=orders_url))


def test_the_metrics_table_stands_in_the_readme() -> None:
    """The table has every metric, with its labels and meaning."""
    assert metrics_table() in (ROOT / "server/observability/README.md").read_text()


def test_names_of_operations_are_bounded() -> None:
    """Only names that succeeded are labels, and no more than a hundred, whatever clients send."""
    names = OperationNames()
    assert names.label(None, succeeded=True) == "anonymous"
    assert names.label("Mistyped", succeeded=False) == "other"
    assert [names.label(f"Name{number}", succeeded=True) for number in range(100)] == [f"Name{n}" for n in range(100)]
    assert names.label("Late", succeeded=True) == "other"
    assert names.label("Name7", succeeded=False) == "Name7"


@pytest.mark.parametrize(
    ("errors", "status", "label"),
    [
        ([], 200, "ok"),
        ([], 404, "HTTP_404"),
        (["DATA_INVALID", "POOL_EXHAUSTED", "CURSOR_INVALID"], 200, "POOL_EXHAUSTED"),
        (["CLIENT_GONE"], 499, "CLIENT_GONE"),
        (["SomeException"], 500, "INTERNAL"),
    ],
)
def test_outcomes_are_bounded(errors: list[str], status: int, label: str) -> None:
    """Of several reasons the worst is the label. An exception's name is never one."""
    assert outcome_label(errors, status) == label


@dataclass
class Pool:
    """A pool as it is now."""

    name: str = "tested"
    size: int = 10
    used: int = 3
    idle: int = 2
    waiting: int = 1


async def test_states_are_sampled() -> None:
    """Each sample sets the gauges to the present state."""
    pool, subscribers = Pool(), 4
    limit: int | None = None
    sampler = Sampler(
        pools=lambda: [pool],
        feed_subscribers=lambda: subscribers,
        operations_at_work=lambda: {"RUNNING": 2, "PENDING": 0},
        memory=lambda: (200, limit),
        ready=lambda: {"orders": True, "changes": False},
    )
    sampler.start()
    assert value("orders_api_pool_connections", pool="tested", state="used") == 3
    assert value("orders_api_pool_connections", pool="tested", state="idle") == 2
    assert value("orders_api_pool_size_connections", pool="tested") == 10
    assert value("orders_api_pool_waiting_requests", pool="tested") == 1
    assert value("orders_api_feed_subscribers") == 4
    assert value("orders_api_operations_at_work", state="RUNNING") == 2
    assert value("orders_api_resident_memory_bytes") == 200
    assert value("orders_api_memory_limit_bytes") == 0
    assert value("orders_api_ready", part="orders") == 1
    assert value("orders_api_ready", part="changes") == 0
    pool.used, subscribers, limit = 0, 0, 300
    sampler.sample()
    assert value("orders_api_memory_limit_bytes") == 300
    assert value("orders_api_pool_connections", pool="tested", state="used") == 0
    assert value("orders_api_feed_subscribers") == 0
    await sampler.close()


def test_several_workers_are_told_as_one(tmp_path: Path) -> None:
    """Counters and gauges are summed, and the token's age is the latest one's. A dead worker's gauges go, its counters stay.

    Of a sync and of the instance, the worker that asked the platform last is believed.
    """
    work = (
        "import os, sys, time; from server.observability import metrics as m; from server.observability.exposition import exposition\n"
        "from server.observability.observations import InstanceSeen, OperationServed, SyncSeen, TokenMinted\n"
        "from server.observability.request_record import RequestRecord\n"
        "m.count_operation(OperationServed(RequestRecord('its-request', operation='Orders'), events=1, seconds=0.004))\n"
        "m.count(); m.count_mint(TokenMinted()); m.set_feed_subscribers(3)\n"
        "m.set_sync(SyncSeen('orders', sys.argv[1], time.time())); m.set_instance(InstanceSeen(sys.argv[2]))\n"
        "print(os.getpid(), flush=True); sys.stdin.readline(); print(exposition('')[0].decode())"
    )
    given = environment(PROMETHEUS_MULTIPROC_DIR=str(tmp_path))
    began = time.time()
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", work, *seen],
            cwd=ROOT,
            env=given,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for seen in (("ONLINE_NO_PENDING_UPDATE", "ACTIVE"), ("ONLINE_PIPELINE_FAILED", "IDLE"))
    ]
    for worker in workers:
        assert worker.stdout
        assert int(worker.stdout.readline()) == worker.pid
    told, _ = workers[0].communicate("\n")
    labels = {"transport": "http", "operation": "Orders"}
    assert value("orders_api_requests_total", told, outcome="ok", **labels) == 2
    assert value("orders_api_request_duration_seconds_bucket", told, le="0.005", **labels) == 2
    assert value("orders_api_feed_subscribers", told) == 6
    for age in ("token", "sync"):
        assert 0 <= value(f"orders_api_{age}_age_seconds", told) <= time.time() - began
    assert value("orders_api_sync_state", told, table="orders") == value("orders_api_instance_state", told) == 1
    assert value("process_resident_memory_bytes", told) > 0
    forget = f"from server.observability import multiprocess; multiprocess.forget({workers[0].pid})"
    subprocess.run([sys.executable, "-c", forget], check=True, cwd=ROOT, env=given)
    told, _ = workers[1].communicate("\n")
    assert value("orders_api_feed_subscribers", told) == 3
    assert value("orders_api_requests_total", told, outcome="ok", **labels) == 2


def test_a_mint_that_fails_is_counted_and_ages_the_token() -> None:
    """The time of the latest token stays."""
    failed = value("orders_api_token_mints_total", outcome="failed")
    observe(TokenMinted())
    minted = value("orders_api_token_minted_timestamp_seconds")
    observe(TokenMintFailed(Reason.CONTROL_PLANE_TIMEOUT, "slow", old_token_lives=True, repeated=False))
    assert value("orders_api_token_mints_total", outcome="failed") == failed + 1
    assert value("orders_api_token_minted_timestamp_seconds") == minted > 0


async def test_a_slow_statement_is_logged_once_without_values(engines: Engines, log: io.StringIO) -> None:
    """The line has the operation and a fingerprint, but neither text nor values. A quick statement leaves no line."""
    record = RequestRecord("its-request")
    record.operation = "Slow"
    token = current_record.set(record)
    counted = value("orders_api_slow_statements_total")
    statement = sa.select(sa.func.pg_sleep(sa.bindparam("s", 0.1)), sa.bindparam("canary", "value-canary"))
    async with engines.pages.checkout() as raw:
        reading: ReadConnection[None] = ReadConnection(engines.pages, raw)
        await reading.rows(statement)
        # Quick on a busy machine too.
        slow_statements.from_seconds = 3600
        await reading.rows(sa.select(sa.bindparam("canary", "value-canary")))
    current_record.reset(token)
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    (line,) = [line for line in lines if line["event"] == "slow statement"]
    assert line["operation"] == "Slow"
    assert line["request_id"] == "its-request"
    assert line["level"] == "warning"
    assert line["rows"] == 1
    assert line["duration_ms"] >= 100
    assert line["fingerprint"] == hashlib.sha256(text_of(statement).encode()).hexdigest()[:16]
    assert "canary" not in log.getvalue()
    assert "pg_sleep" not in log.getvalue()
    assert value("orders_api_slow_statements_total") == counted + 1


async def test_at_debug_the_text_goes_with_it(engines: Engines, log: io.StringIO) -> None:
    """The text has placeholders, and still no values."""
    logging.getLogger("statement").setLevel(logging.DEBUG)
    async with engines.pages.checkout() as raw:
        reading: ReadConnection[None] = ReadConnection(engines.pages, raw)
        await reading.rows(sa.select(sa.func.pg_sleep(sa.bindparam("s", 0.1)), sa.bindparam("c", "value-canary")))
    (line,) = [json.loads(line) for line in log.getvalue().splitlines() if "slow statement" in line]
    assert "pg_sleep($1" in line["text"]
    assert "canary" not in log.getvalue()


async def test_a_statement_that_is_cancelled_was_slow_too(
    engines: Engines, database: asyncpg.Connection, log: io.StringIO
) -> None:
    """A statement that times out is logged like any slow one."""
    async with engines.pages.checkout() as raw:
        reading: ReadConnection[None] = ReadConnection(engines.pages, raw)
        statement = reading.rows(sa.select(sa.func.pg_sleep(sa.bindparam("s", PATIENCE_SECONDS))))
        clock = asyncio.timeout(PATIENCE_SECONDS)

        async def cancelled() -> None:
            async with clock:
                await statement

        asking = asyncio.create_task(cancelled())
        while not await database.fetchval(SLEEPS):
            assert not asking.done(), "timed out: the statement has not been seen"
            await asyncio.sleep(0.01)  # between two looks
        clock.reschedule(asyncio.get_running_loop().time())
        with pytest.raises(TimeoutError):
            await asking
    assert "slow statement" in log.getvalue()
