"""Owns what scenarios share: a PostgreSQL that keeps what it acknowledges, and the scorecard at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from server.local.cluster import Cluster
from tests.faults import scorecard
from tests.faults.rig import DURABLE
from tests.faults.scenario import reports
from tests.tpch import load_orders

if TYPE_CHECKING:
    from collections.abc import Iterator

SCALE = 0.14


@pytest.fixture(scope="session")
def durable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A PostgreSQL with orders in it, on a port that it keeps.

    It is killed, but the machine is not: what is shown is that it recovers, not what a loss of power leaves.
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
    """Show the scorecard, and write it down."""
    if reports:
        text = scorecard.written(reports, terminalreporter.stats)
        terminalreporter.write_line("")
        terminalreporter.write(text)
