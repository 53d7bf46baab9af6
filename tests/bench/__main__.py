"""Owns `make bench`: a PostgreSQL of its own with fsync on, the server as shipped, the floor, and the report."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import platform
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop

from server.local.cluster import Cluster, ClusterError
from server.local.tpch import ORDERS_AT_SCALE_1, TABLE, LoadError, load_orders
from server.settings import Settings
from tests.bench.load import CLIENTS, BenchError, Plan
from tests.bench.pages import CHANGED, SIZE, change_orders, measure_pages
from tests.bench.report import report
from tests.bench.writes import measure_writes, running_floor
from tests.process import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

# Both the server's and the floor's changes go here; made anew by each run, so that each begins alike.
_APP_SCHEMA: Final = "bench"
# Below it there are not enough orders beside those that are changed beforehand.
_MIN_SCALE: Final = 0.1
_WRONG_SETTINGS: Final = 2


def main() -> int:
    """Measure and report; the exit code."""
    try:
        directory = Path(os.environ.get("LOCAL_DIR", ".local/bench"))
        scale = _number("SCALE", "1", least=_MIN_SCALE)
        rounds, seconds = int(_number("BENCH_ROUNDS", "10", least=1)), _number("BENCH_SECONDS", "1", least=0.5)
    except BenchError as error:
        sys.stderr.write(f"{error}\n")
        return _WRONG_SETTINGS
    # SIGINT too: a shell that starts it in the background has it ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        with _only_one(directory), Cluster(directory / "postgres") as cluster:
            text = _bench(cluster, scale, Plan(rounds, seconds, cluster.process_id()))
    except KeyboardInterrupt:
        return 1
    except FileNotFoundError as error:
        sys.stderr.write(f"{error.filename} is missing: run `make setup`.\n")
        return 1
    except (BenchError, ClusterError, LoadError, TimeoutError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    (directory / "report.md").write_text(text)
    sys.stdout.write(f"{text}\nWritten to {directory / 'report.md'}.\n")
    return 0


def _number(name: str, default: str, *, least: float) -> float:
    text = os.environ.get(name, default)
    with contextlib.suppress(ValueError):
        if math.isfinite(number := float(text)) and number >= least:
            return number
    raise BenchError(f"{name}: {text!r} is not a number from {least:g}")


@contextlib.contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    """Hold the directory against another run, which would stop our PostgreSQL.

    Raises:
        BenchError: another run holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BenchError(f"Another run uses {directory}. Wait for it, or set LOCAL_DIR.") from None
        yield


def _bench(cluster: Cluster, scale: float, plan: Plan) -> str:
    sys.stderr.write(f"Loading {ORDERS_AT_SCALE_1 * scale:,.0f} orders, unless they are there\n")
    orders = load_orders(cluster, scale, lambda _: None)
    cluster.run_sql(f"DROP SCHEMA IF EXISTS {_APP_SCHEMA} CASCADE")
    settings = Settings(database_url=cluster.url, orders_table=TABLE, app_schema=_APP_SCHEMA, write_pool_size=CLIENTS)
    before = os.getloadavg()[0]
    with running_server(cluster.url, ORDERS_TABLE=TABLE, APP_SCHEMA=_APP_SCHEMA) as server:
        step = orders // CHANGED
        uvloop.run(change_orders(server, [key for key, _ in _every(cluster, step, 0)][:CHANGED]))
        # What autovacuum would do in a while, some time between two rounds.
        cluster.run_sql(f"VACUUM (ANALYZE) {_APP_SCHEMA}.order_status")
        cluster.run_sql("CHECKPOINT")
        places = {"near": 0, "middle": orders // 2, "far": orders - 2 * SIZE}
        keys = {place: _key_at(cluster, offset) for place, offset in places.items()}
        page_loads = uvloop.run(measure_pages(server, keys, plan))
        with running_floor(cluster.url, ORDERS_TABLE=TABLE, APP_SCHEMA=_APP_SCHEMA) as (url, process_id):
            unchanged = _every(cluster, step, step // 2)
            write_loads = uvloop.run(measure_writes(server, url, process_id, settings, unchanged, plan))
    flushing = ", ".join(f"{name} {cluster.run_sql(f'SHOW {name}')}" for name in ("fsync", "synchronous_commit"))
    about = (
        f"- {orders:,} orders, {CHANGED:,} of them changed; PostgreSQL {cluster.version}, {flushing}\n"
        f"- {CLIENTS} clients; {plan.rounds} rounds of {plan.seconds:g} s each; Python {platform.python_version()}\n"
        f"- {os.cpu_count()} processors, which the load generator (tests/bench/load.py: asyncio and uvloop, since every "
        f"body is another), the server and PostgreSQL share; load average {before:.1f} before\n"
    )
    return report(about, page_loads, write_loads)


def _every(cluster: Cluster, step: int, remainder: int) -> list[tuple[int, str]]:
    """Keys and synced statuses of orders that are spread over the whole table."""
    found = cluster.run_sql(
        f"""
        SELECT json_agg(json_build_array(o_orderkey, o_orderstatus))
        FROM (SELECT o_orderkey, o_orderstatus, row_number() OVER (ORDER BY o_orderkey) AS number FROM {TABLE}) AS orders
        WHERE number % {step} = {remainder}
        """
    )
    return [(key, status) for key, status in json.loads(found)]


def _key_at(cluster: Cluster, offset: int) -> int:
    return int(cluster.run_sql(f"SELECT o_orderkey FROM {TABLE} ORDER BY o_orderkey OFFSET {offset} LIMIT 1"))


if __name__ == "__main__":
    sys.exit(main())
