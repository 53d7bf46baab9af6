"""Owns what tests share: a PostgreSQL of their own, real orders in it, and the real server in front of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from server.local.cluster import Cluster
from server.local.tpch import load_orders
from tests.process import Server, running_server

if TYPE_CHECKING:
    from collections.abc import Iterator

# 15,000 orders: enough that an index pays, loaded in half a second.
SCALE = 0.01
# Nothing of a test's data has to survive a crash.
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what tests have found out besides that they pass: what each has recorded as the property `told`."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, value in getattr(report, "user_properties", ()):
                if name == "told" and report.when == "call":
                    terminalreporter.write_line(str(value))


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
    load_orders(cluster, SCALE, lambda _: None)
    return cluster.url


@pytest.fixture(scope="session")
def server(orders_url: str) -> Iterator[Server]:
    """The real server process in front of the TPC-H orders."""
    with running_server(orders_url) as server:
        yield server
