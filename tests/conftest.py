"""What tests share: a PostgreSQL of their own, real orders in it, and the real server in front of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from httpx._config import DEFAULT_TIMEOUT_CONFIG  # httpx has no public way to change its default

from server.local.cluster import Cluster
from tests import calibration
from tests.process import PATIENCE_SECONDS, Server, running_server
from tests.tpch import load_orders

if TYPE_CHECKING:
    from collections.abc import Iterator

# 15,000 orders: enough that an index pays, loaded in half a second.
SCALE = 0.01
# Nothing of a test's data has to survive a crash.
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
# 5 s otherwise, which a busy machine may need for any answer.
for _phase in ("connect", "read", "write", "pool"):
    setattr(DEFAULT_TIMEOUT_CONFIG, _phase, PATIENCE_SECONDS)


_began_at = time.monotonic()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell what tests have recorded as the property `told`, what was left out and why, and how long it took."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, value in getattr(report, "user_properties", ()):
                if name == "told" and report.when == "call":
                    terminalreporter.write_line(str(value))
    if calibration.held:
        terminalreporter.section("times that are promised")
    for line in calibration.held:
        terminalreporter.write_line(line)
    terminalreporter.section("left out")
    for report in terminalreporter.getreports("skipped"):
        terminalreporter.write_line(f"skipped: {report.nodeid}: {report.longrepr[2]}")
    if config.option.markexpr == "not long":
        terminalreporter.write_line(
            "left to `make faults`: what takes long, and what promises a time (the mark `long`)"
        )
    minutes, seconds = divmod(round(time.monotonic() - _began_at), 60)
    terminalreporter.write_line(f"It took {minutes} min {seconds} s.")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A real PostgreSQL in a temporary place."""
    cluster = Cluster(tmp_path_factory.mktemp("postgres") / "cluster", options=_FAST)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.destroy()


@pytest.fixture(scope="session")
def orders_url(cluster: Cluster) -> str:
    """The URL of a database that holds TPC-H orders."""
    load_orders(cluster, SCALE)
    return cluster.url


@pytest.fixture(scope="session")
def server(orders_url: str) -> Iterator[Server]:
    """The real server process in front of the TPC-H orders."""
    with running_server(orders_url) as server:
        yield server
