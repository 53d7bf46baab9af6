"""Fixtures for all tests: a PostgreSQL, TPC-H orders in it, and the real server in front of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from httpx._config import DEFAULT_TIMEOUT_CONFIG  # httpx has no public way to change its default

from server.local.cluster import Cluster
from tests.servers.process import PATIENCE_SECONDS, Server, running_server
from tests.servers.tpch import load_orders
from tests.support import calibration

if TYPE_CHECKING:
    from collections.abc import Iterator

# 15,000 orders: enough for an index to pay, and loaded in half a second.
SCALE = 0.01
# The tests' data need not survive a crash.
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
# httpx's default is 5 s. On a busy machine any response may take longer.
for _phase in ("connect", "read", "write", "pool"):
    setattr(DEFAULT_TIMEOUT_CONFIG, _phase, PATIENCE_SECONDS)


_began_at = time.monotonic()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the tests' recorded summaries, the skipped tests with the reasons, and the duration."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, value in getattr(report, "user_properties", ()):
                if name == "summary" and report.when == "call":
                    terminalreporter.write_line(str(value))
    if calibration.held:
        terminalreporter.section("promised times")
    for line in calibration.held:
        terminalreporter.write_line(line)
    terminalreporter.section("left out")
    for report in terminalreporter.getreports("skipped"):
        terminalreporter.write_line(f"skipped: {report.nodeid}: {report.longrepr[2]}")
    if config.option.markexpr == "not long":
        terminalreporter.write_line("left to `make faults`: long tests, and tests of promised times (the mark `long`)")
    minutes, seconds = divmod(round(time.monotonic() - _began_at), 60)
    terminalreporter.write_line(f"It took {minutes} min {seconds} s.")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A real PostgreSQL in a temporary directory."""
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
