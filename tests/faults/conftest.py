"""Fixtures of the fault scenarios: a PostgreSQL that keeps what it acknowledges, and the scorecard of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from server.local.cluster import Cluster
from tests.faults import scorecard
from tests.faults.rig import DURABLE
from tests.faults.scenario import reports
from tests.servers.tpch import load_orders

if TYPE_CHECKING:
    from collections.abc import Iterator

SCALE = 0.14


@pytest.fixture(scope="session")
def durable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A PostgreSQL with orders in it, on a fixed port.

    The scenarios kill PostgreSQL, not the machine. They show that it recovers, not what a power failure leaves.
    """
    cluster = Cluster(tmp_path_factory.mktemp("durable") / "cluster", options=DURABLE)
    try:
        cluster.start()
        load_orders(cluster, SCALE)
        for guarantee in DURABLE:
            assert cluster.run_sql(f"SHOW {guarantee}") == "on"
        yield cluster
    finally:
        cluster.destroy()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the scorecard and write it to its file."""
    if reports:
        text = scorecard.written(reports, terminalreporter.stats)
        terminalreporter.write_line("")
        terminalreporter.write(text)
