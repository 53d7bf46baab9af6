"""The tables of the nested query: the orders, and those around them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tests.bench import orders as table
from tests.servers.tpch_graph import is_loaded, load_graph

if TYPE_CHECKING:
    from server.local.cluster import Cluster
    from tests.bench.contenders import Setup


def load(cluster: Cluster, scale: float) -> tuple[int, Setup]:
    """Load the orders and the tables around them, unless they are there, and return the number of orders and the setup."""
    orders, setup = table.load(cluster, scale)
    if not is_loaded(cluster, scale):
        sys.stderr.write("Loading the tables around the orders\n")
        load_graph(cluster, scale)
    return orders, setup
