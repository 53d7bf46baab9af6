"""`make hostile`: attacks of all kinds for five minutes beside ordinary callers, and what these notice of them.

The ordinary callers are measured alone first, and once more after the attacks. Latencies count from the scheduled
moment of a request. The attackers are valid callers with a token, where an attack needs one.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import psutil
import uvloop

from server.local.cluster import Cluster
from tests.bench import orders as table
from tests.bench.tables import table as markdown
from tests.load.figures import quantiles
from tests.load.generator import FAILED, LOST, results_of
from tests.load.hostile import attackers, ordinary
from tests.load.hostile.target import Target
from tests.load.processors import give, keep_away
from tests.servers.issuer import running_issuer
from tests.servers.process import running_server

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.bench.contenders import Setup
    from tests.load.generator import PhaseResult
    from tests.load.hostile.ordinary import Sockets
    from tests.servers.issuer import Issuer

_SECONDS: Final = 300.0
_CALM_SECONDS: Final = 20.0
_SCALE: Final = 0.1
_OK: Final = 200
_MEGABYTE: Final = 1 << 20
# The server's answers to what it cannot or does not want to do now.
_REFUSALS: Final = frozenset({429, 503})
_SAMPLE_SECONDS: Final = 1.0
_SHOWN_SAMPLES: Final = 20
# Orders that the attackers change, and those that ordinary callers change.
_ATTACKED: Final = 1_000
_CHANGED: Final = 200
_STARTS: Final = 200
_STRANGER: Final = "eyJhbGciOiJSUzI1NiIsImtpZCI6InVua25vd24ifQ.eyJzdWIiOiJ4In0.AAAA"


@dataclass(frozen=True, slots=True)
class PhaseReport:
    """What ordinary callers noticed in one phase, and the server's memory in bytes, once a second."""

    name: str
    requests: Mapping[str, PhaseResult]
    sockets: Sockets
    resident: Sequence[int]
    processor_share: float


@dataclass(frozen=True, slots=True)
class Report:
    """The phases, and what the attackers got, by the attack."""

    phases: Sequence[PhaseReport]
    attacks: Mapping[str, Mapping[str, int]]

    def __str__(self) -> str:
        """Three tables for reading in a terminal."""
        callers = [
            (phase.name, *row)
            for phase in self.phases
            for row in (*_request_rows(phase.requests), *_rows(phase.sockets))
        ]
        memory = [
            (
                phase.name,
                *(f"{value // _MEGABYTE:,}" for value in (phase.resident[0], max(phase.resident), phase.resident[-1])),
                " ".join(f"{value // _MEGABYTE}" for value in phase.resident[:: _every(phase.resident)]),
                f"{100 * phase.processor_share:.0f} %",
            )
            for phase in self.phases
        ]
        outcomes = [
            (name, ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(got.items(), key=lambda one: -one[1])))
            for name, got in self.attacks.items()
        ]
        head = ("phase", "ordinary callers'", "number", "p50 p99 max", "refused", "errors", "cut off", "unanswered")
        return "\n\n".join(
            [
                markdown(head, callers),
                markdown(("phase", "resident MB at start", "max", "end", "over time", "processor"), memory),
                markdown(("attack", "what came back"), outcomes),
            ]
        )


def hostile(
    setup: Setup,
    issuer: Issuer,
    keys: Sequence[int],
    *,
    seconds: float = _SECONDS,
    calm_seconds: float = _CALM_SECONDS,
    names: Sequence[str] = tuple(attackers.ATTACKS),
    processors: set[int] | None = None,
    **settings: str,
) -> Report:
    """Run the server, and attack it beside ordinary callers.

    Args:
        setup: the database.
        issuer: makes the tokens.
        keys: the keys of all orders.
        seconds: how long the attacks go on.
        calm_seconds: how long the ordinary callers are alone, before and after them.
        names: the attacks.
        processors: the server's own processors, if it has any.
        settings: further settings of the server.
    """
    with running_server(
        setup.database_url,
        patient=False,
        APP_ENV="production",
        ORDERS_TABLE=setup.orders_table,
        APP_SCHEMA=setup.app_schema,
        **issuer.settings(**settings),
    ) as server:
        give(server.process.pid, processors or set())
        address = urlsplit(server.url)
        step = len(keys) // (_ATTACKED + _CHANGED)
        spread = keys[:: max(1, step)][: _ATTACKED + _CHANGED]
        changed = spread[:_CHANGED]
        caller = Target(
            address.hostname or "",
            address.port or 0,
            issuer.token(sub="ordinary"),
            forged=(),
            keys=changed,
            orders=len(keys),
        )
        good = issuer.token(sub="attacker")
        attacker = Target(
            caller.host,
            caller.port,
            good,
            # A wrong signature, a key that there is not, and no token at all.
            forged=(good[:-8] + "AAAAAAAA", _STRANGER, "x" * 2_000),
            keys=spread[_CHANGED:],
            orders=len(keys),
        )
        starts = keys[:: max(1, len(keys) // _STARTS)][:_STARTS]
        requests = ordinary.requests_of(caller, starts, changed)
        process = psutil.Process(server.process.pid)
        phases = [_phase("alone", caller, requests, process, calm_seconds)]
        attacking = attackers.attack(attacker, list(names), seconds)
        phases.append(_phase("attacked", caller, requests, process, seconds))
        attacks = attackers.results_of(attacking)
        phases.append(_phase("afterwards", caller, requests, process, calm_seconds))
        return Report(phases, attacks)


def _phase(
    name: str, caller: Target, requests: dict[str, list[bytes]], process: psutil.Process, seconds: float
) -> PhaseReport:
    url = f"http://{caller.host}:{caller.port}"
    used = _processor_seconds(process)
    sent = ordinary.send(url, requests, seconds)
    sockets, resident = uvloop.run(_watch(url, caller, process, seconds))
    results = {kind: results_of(one)[0] for kind, one in sent.items()}
    return PhaseReport(name, results, sockets, resident, (_processor_seconds(process) - used) / seconds)


async def _watch(url: str, caller: Target, process: psutil.Process, seconds: float) -> tuple[Sockets, list[int]]:
    watching = asyncio.create_task(ordinary.sockets(url, caller.token, caller.keys, seconds))
    resident = [int(process.memory_info().rss)]
    while not watching.done():
        await asyncio.wait([watching], timeout=_SAMPLE_SECONDS)
        resident.append(int(process.memory_info().rss))
    return watching.result(), resident


def _processor_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _request_rows(requests: Mapping[str, PhaseResult]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for kind, result in requests.items():
        statuses = result.statuses()
        good, lost = statuses.pop(_OK, 0), statuses.pop(LOST, 0)
        refused = sum(statuses.pop(status, 0) for status in _REFUSALS)
        failed = statuses.pop(FAILED, 0)
        errors = " ".join([f"{failed:,}", *(f"{count} x {status}" for status, count in statuses.items())])
        rows.append(
            (
                kind,
                f"{good:,}",
                quantiles(result.latencies(_OK)),
                f"{refused:,}",
                errors,
                f"{lost:,}",
                f"{result.unanswered:,}",
            )
        )
    return rows


def _rows(sockets: Sockets) -> list[tuple[str, ...]]:
    return [
        ("new sockets", str(len(sockets.opened)), quantiles(sockets.opened), str(sockets.refused), "", "", ""),
        ("events", f"{len(sockets.events):,}", quantiles(sockets.events), "", "", str(sockets.interrupted), ""),
    ]


def _every(samples: Sequence[int]) -> int:
    return max(1, len(samples) // _SHOWN_SAMPLES)


def main() -> int:
    """Attack, report, and return the exit code."""
    parser = argparse.ArgumentParser("python -m tests.load.hostile")
    parser.add_argument("--seconds", type=float, default=_SECONDS, help="seconds of attacks")
    parser.add_argument("--calm", type=float, default=_CALM_SECONDS, help="seconds without them, before and after")
    parser.add_argument("--scale", type=float, default=_SCALE, help="scale factor of TPC-H")
    parser.add_argument("--directory", type=Path, default=Path(".local/load"), help="directory of PostgreSQL's data")
    parser.add_argument("--only", help="attacks by a part of their names, separated by commas")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the server")
    given = parser.parse_args()
    parts = given.only.split(",") if given.only else [""]
    names = [name for name in attackers.ATTACKS if any(part in name for part in parts)]
    if not names:
        parser.error(f"no attack is named so: {', '.join(attackers.ATTACKS)}")
    settings = dict(pair.partition("=")[::2] for pair in given.set)
    processors = keep_away()
    with (
        Cluster(given.directory / "postgres", options={"max_connections": "200"}) as cluster,
        running_issuer() as issuer,
    ):
        _, setup = table.load(cluster, given.scale)
        keys = [key for key, _ in table.every(cluster, 1, 0)]
        report = hostile(
            setup,
            issuer,
            keys,
            seconds=given.seconds,
            calm_seconds=given.calm,
            names=names,
            processors=processors,
            **settings,
        )
    sys.stdout.write(f"{report}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
