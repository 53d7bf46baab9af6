"""Tests of the hostile traffic: every attack reaches the server, beside ordinary callers that are measured."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.bench.contenders import Setup
from tests.load.hostile.__main__ import hostile
from tests.load.hostile.attackers import ATTACKS
from tests.servers.issuer import running_issuer
from tests.servers.tpch import TABLE

if TYPE_CHECKING:
    from server.local.cluster import Cluster

_SECONDS = 15.0
_CALM_SECONDS = 3.0


@pytest.mark.long
def test_the_server_survives_every_attack_and_answers_ordinary_callers(cluster: Cluster, orders_url: str) -> None:
    """`make hostile` does the same for five minutes. Its figures depend on the machine, so they are not judged here."""
    keys = json.loads(cluster.run_sql(f"SELECT json_agg(o_orderkey ORDER BY o_orderkey) FROM {TABLE}"))
    with running_issuer() as issuer:
        report = hostile(
            Setup(orders_url, TABLE, "hostile", "none"),
            issuer,
            keys,
            seconds=_SECONDS,
            calm_seconds=_CALM_SECONDS,
        )
    assert [name for name in ATTACKS if not report.attacks[name]] == []
    assert [phase.name for phase in report.phases] == ["alone", "attacked", "afterwards"]
    for phase in report.phases:
        for kind, result in phase.requests.items():
            assert result.latencies(200), (phase.name, kind, str(report))
    afterwards = report.phases[-1]
    assert afterwards.sockets.opened
    assert afterwards.sockets.events
