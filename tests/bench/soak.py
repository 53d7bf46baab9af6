"""The memory soak: some hundred thousand pages from one server, and its memory after each tenth of them."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx
import uvloop

from tests.bench import wrk
from tests.bench.answers import Truth, volley_of
from tests.bench.contenders import running_ours
from tests.bench.load import CLIENTS
from tests.bench.measuring import BenchError, Memory
from tests.bench.works import WORKS
from tests.servers.process import NO_TLS, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from server.local.cluster import Cluster
    from tests.bench.contenders import Running, Setup
    from tests.bench.works import Points

REQUESTS: Final = 300_000
_TENTHS: Final = 10
_WORK: Final = next(work for work in WORKS if work.name == "page100")
# Any question for the platform makes the server load the SDK. Nothing listens on the port of the platform here.
_LOADS_SDK: Final = '{ databaseInstance(name: "orders") { name } }'
_LOADING_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Soak:
    """The process's memory before the requests, and after each tenth of them."""

    requests: int
    with_sdk: bool
    before: Memory
    tenths: Sequence[Memory]


def soak(cluster: Cluster, setup: Setup, points: Points) -> list[Soak]:
    """Measure the server as it is without administration, and with the SDK loaded.

    Raises:
        BenchError: wrk is missing, or a response was an error.
    """
    if not wrk.available():
        raise BenchError(f"the memory soak needs wrk: {wrk.HOW_TO_GET_IT}")
    requests = int(os.environ.get("BENCH_REQUESTS", REQUESTS))
    truth = Truth(setup.orders_table, cluster.run_sql)
    found = []
    for with_sdk in (False, True):
        with _running(setup, with_sdk=with_sdk) as running:
            volley = uvloop.run(volley_of(running, _WORK.name, _WORK.asks(points), truth))
            if volley is None:
                raise TypeError(running)
            found.append(_soak(volley, requests, cluster.process_id(), with_sdk=with_sdk))
    return found


@contextlib.contextmanager
def _running(setup: Setup, *, with_sdk: bool) -> Iterator[Running]:
    platform = {"DATABRICKS_HOST": f"http://127.0.0.1:{free_port()}", "DATABRICKS_TOKEN": "none"} if with_sdk else {}
    with running_ours(setup, altered={"server.lakebase.platform.sdk_client._RETRY_SECONDS": 1}, **platform) as running:
        if with_sdk:
            url = f"{running.url}/api/graphql"
            answer = httpx.post(url, json={"query": _LOADS_SDK}, timeout=_LOADING_SECONDS, verify=NO_TLS).json()
            if "data" not in answer:
                raise BenchError(f"The SDK was not loaded: {answer}")
        yield running


def _soak(volley: wrk.Volley, requests: int, postmaster: int, *, with_sdk: bool) -> Soak:
    before = Memory.of(volley.process_id)
    tenths: list[Memory] = []
    done = 0.0
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "soak.lua"
        volley.write_script(script)
        seconds = 1.0
        while len(tenths) < _TENTHS:
            load = wrk.drive(volley, script, connections=CLIENTS, seconds=seconds, postmaster=postmaster)
            done += load.rate * max(1, round(seconds))
            while len(tenths) < min(_TENTHS, int(done * _TENTHS / requests)):
                tenths.append(Memory.of(volley.process_id))
                sys.stderr.write(f"memory soak: {done:,.0f} of {requests:,} requests, {tenths[-1].resident:.0f} MB\n")
            left = (len(tenths) + 1) * requests / _TENTHS - done
            seconds = max(1.0, left / load.rate)
    return Soak(int(done), with_sdk, before, tenths)
