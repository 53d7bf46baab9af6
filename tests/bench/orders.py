"""The table to read: loaded at a scale, with some orders changed, and the keys at which pages begin."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Final

from tests.bench.contenders import Setup
from tests.bench.works import PLACES, POINTS, SIZE, Points
from tests.servers.tpch import ORDERS_AT_SCALE_1, TABLE, load_orders

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from server.local.cluster import Cluster

# The schemas of the status changes and of the peers' view. Each run recreates both, so that all runs begin alike.
_APP_SCHEMA: Final = "bench"
_PEERS_SCHEMA: Final = "bench_peers"
# The same join as the server's (server/orders/sql_merged.py).
_MERGED: Final = f"""
CREATE SCHEMA {_PEERS_SCHEMA};
CREATE VIEW {_PEERS_SCHEMA}.merged_orders AS
SELECT o.*, coalesce(s.status, o.o_orderstatus) AS status
FROM {TABLE} AS o
LEFT JOIN LATERAL (SELECT status FROM {_APP_SCHEMA}.order_status WHERE o_orderkey = o.o_orderkey OFFSET 0) AS s ON true
"""
_LARGEST_PAGE: Final = 1000
_PAGES_AT_A_PLACE: Final = 16


def load(cluster: Cluster, scale: float) -> tuple[int, Setup]:
    """Load the table unless it is there, and return the number of orders and the setup."""
    cluster.run_sql(f"DROP SCHEMA IF EXISTS {_PEERS_SCHEMA} CASCADE; DROP SCHEMA IF EXISTS {_APP_SCHEMA} CASCADE")
    sys.stderr.write(f"Loading {ORDERS_AT_SCALE_1 * scale:,.0f} orders, unless they are there\n")
    orders = load_orders(cluster, scale)
    return orders, Setup(cluster.url, TABLE, _APP_SCHEMA, _PEERS_SCHEMA)


def settle(cluster: Cluster) -> None:
    """After the changes: create the peers' view, and do now what autovacuum would do during a round."""
    cluster.run_sql(_MERGED)
    cluster.run_sql(f"VACUUM (ANALYZE) {_APP_SCHEMA}.order_status")
    cluster.run_sql("CHECKPOINT")


def points(cluster: Cluster, orders: int) -> Points:
    """The keys at which pages begin. Each has a full page of 1,000 after it, and one of 100 before it."""
    usable = orders - SIZE - _LARGEST_PAGE - _PAGES_AT_A_PLACE
    starts = {"start": SIZE, "middle": orders // 2, "end": orders - 2 * SIZE - _PAGES_AT_A_PLACE}
    spread = [SIZE + usable * number // POINTS for number in range(POINTS)]
    at = {place: [starts[place] + number for number in range(_PAGES_AT_A_PLACE)] for place in PLACES}
    keys = keys_at(cluster, {*spread, *(number for numbers in at.values() for number in numbers)})
    return Points([keys[number] for number in spread], {place: [keys[one] for one in at[place]] for place in PLACES})


def every(cluster: Cluster, step: int, remainder: int) -> Sequence[tuple[int, str]]:
    """The keys and synced statuses of orders spread over the whole table."""
    found = cluster.run_sql(
        f"""
        SELECT json_agg(json_build_array(o_orderkey, o_orderstatus))
        FROM (SELECT o_orderkey, o_orderstatus, row_number() OVER (ORDER BY o_orderkey) AS number FROM {TABLE}) AS orders
        WHERE number % {step} = {remainder}
        """
    )
    return [(key, status) for key, status in json.loads(found)]


def keys_at(cluster: Cluster, numbers: set[int]) -> Mapping[int, int]:
    """The keys of the orders with these numbers, counted from 1 in key order."""
    found = cluster.run_sql(
        f"""
        SELECT json_agg(json_build_array(number, o_orderkey))
        FROM (SELECT o_orderkey, row_number() OVER (ORDER BY o_orderkey) AS number FROM {TABLE}) AS orders
        WHERE number = ANY('{{{",".join(map(str, numbers))}}}'::bigint[])
        """
    )
    return dict(json.loads(found))
