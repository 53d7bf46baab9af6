"""The test hooks of the local platform: faults, counters, and the paths below /local/ that control and show them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

import asyncpg
from pydantic import BaseModel, ConfigDict

from server.local.platform.compute.lifecycle import AVAILABLE
from server.local.platform.events import Event
from server.local.platform.hooks import Hooks
from server.local.platform.rest.bodies import parsed
from server.local.platform.rest.errors import wrong_state
from server.local.platform.state.tables import Commit
from server.local.platform.state.times import now
from tests.platform_tools.faults import FaultBody, Faults, disconnected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.responses import Response

    from server.local.platform.calls import Call
    from server.local.platform.rest.exchange import Exchange
    from server.local.platform.service import Platform
    from server.local.platform.state.projects import Compute

# The paths that mint credentials.
_MINTS = {"/api/2.0/database/credentials", "/api/2.0/postgres/credentials"}
_MOST_TIMES = 10_000
# How long a standby may take to accept a connection, or to pause its replay, which it does at its next record.
_STANDBY_SECONDS, _LOOK_SECONDS = 10, 0.01


class RevokeBody(BaseModel):
    """Which credentials to revoke: those of the instance, or all."""

    model_config = ConfigDict(strict=True, extra="forbid")

    instance: str | None = None


class ReplayBody(BaseModel):
    """Whether to pause a standby's replay."""

    model_config = ConfigDict(strict=True, extra="forbid")

    paused: bool


class Controls(Hooks):
    """Faults, counters since the start of the process, and the paths below /local/, for the operator's token alone."""

    def __init__(self) -> None:
        self._faults = Faults()
        self._requests: Counter[str] = Counter()
        self._events: Counter[Event] = Counter()
        self._wakes: Counter[str] = Counter()
        self._mint_times: deque[float] = deque(maxlen=_MOST_TIMES)
        self._login_times: deque[float] = deque(maxlen=_MOST_TIMES)
        self._minting: set[Exchange] = set()
        self._mints_at_once = 0
        self.routes = [
            ("POST", "/local/faults", lambda call: self._faults.add(parsed(FaultBody, call.body))),
            ("DELETE", "/local/faults", lambda _: self._faults.clear()),
            ("GET", "/local/held", lambda _: {"held": self._faults.held()}),
            ("POST", "/local/release", lambda _: {"released": self._faults.release()}),
            ("GET", "/local/inventory", _inventory),
            ("GET", "/local/endpoints", _endpoints),
            ("GET", "/local/counters", self._counters),
            ("POST", "/local/credentials/revoke", _revoke),
            ("POST", "/local/sources/{name}/commit", _commit),
            ("POST", "/local/instances/{name}/suspend", _suspend),
            ("POST", "/local/instances/{name}/replay", _replay),
            ("POST", "/local/{endpoint:path}/suspend", _suspend_endpoint),
        ]

    async def answer(self, exchange: Exchange, template: str, respond: Callable[[], Awaitable[Response]]) -> None:
        """Count the request, and answer it with the fault that applies to it, if any."""
        self._requests[f"{exchange.method} {template}"] += 1
        answer = self._faults.answer(exchange, respond)
        await (self._count_mint(exchange, answer) if template in _MINTS else answer)

    def observe(self, event: Event, endpoint: str) -> None:
        """Count the event."""
        self._events[event] += 1
        if event is Event.ENDPOINT_WOKEN:
            self._wakes[endpoint] += 1
        elif event is Event.CREDENTIAL_MINTED:
            self._mint_times.append(time.time())
        elif event is Event.LOGIN_ACCEPTED:
            self._login_times.append(time.time())

    async def _count_mint(self, exchange: Exchange, answer: Awaitable[None]) -> None:
        """Count a request for credentials as in flight until it is answered or its client disconnects."""
        self._minting.add(exchange)
        self._mints_at_once = max(self._mints_at_once, len(self._minting))
        gone = asyncio.create_task(disconnected(exchange))
        gone.add_done_callback(lambda _: self._minting.discard(exchange))
        try:
            await answer
        finally:
            # At once, and not by the callback: the client may already be sending its next request.
            self._minting.discard(exchange)
            gone.cancel()

    def _counters(self, call: Call) -> dict[str, Any]:
        return {
            "requests": dict(self._requests),
            "mints": self._events[Event.CREDENTIAL_MINTED],
            "logins_accepted": self._events[Event.LOGIN_ACCEPTED],
            "logins_refused": self._events[Event.LOGIN_REFUSED],
            "mint_times": list(self._mint_times),
            "login_times": list(self._login_times),
            "mints_at_once": self._mints_at_once,
            "faults_applied": self._faults.applied,
            "wakes": {
                compute.project.id: self._wakes[compute.endpoint.uid] for compute in call.platform.instances.computes()
            },
        }


def _endpoints(call: Call) -> dict[str, Any]:
    """The name of each endpoint, by its addresses."""
    return {
        address: compute.name
        for compute in call.platform.store.state.computes()
        for address in (compute.endpoint.address, compute.endpoint.secondary_address)
    }


async def _inventory(call: Call) -> dict[str, Any]:
    platform = call.platform
    state = platform.store.state
    return {
        "instances": [
            {
                **platform.instances.as_json(compute),
                "suspended": compute.endpoint.suspended,
                "processes": await _processes(platform, compute),
            }
            for compute in platform.instances.computes()
        ],
        "projects": [project.model_dump() for project in state.projects.values()],
        "catalogs": [catalog.model_dump() for catalog in state.catalogs.values()],
        "synced_tables": [
            {"uid": table.uid, **platform.synced_tables.as_json(table)} for table in state.synced_tables.values()
        ],
        "pipelines": [pipeline.model_dump() for pipeline in state.pipelines.values()],
    }


async def _processes(platform: Platform, compute: Compute) -> dict[str, int]:
    """The process ids of the endpoint's running PostgreSQLs, by address."""
    servers = platform.lifecycle.servers.get(compute.endpoint.uid)
    return await servers.processes() if servers else {}


def _revoke(call: Call) -> dict[str, Any]:
    """Make credentials that exist invalid for logins, of one instance or of all. Open sessions live on."""
    name = parsed(RevokeBody, call.body).instance
    endpoint = None if name is None else call.platform.instances.find(name).endpoint.uid
    store = call.platform.store
    revoked = 0
    for token in store.state.credentials.values():
        kept = [uid for uid in token.endpoints if endpoint not in (None, uid)]
        revoked += kept != token.endpoints
        token.endpoints = kept
    store.save()
    return {"revoked": revoked}


def _commit(call: Call) -> dict[str, Any]:
    """Commit a new version of a source table, with the same rows."""
    state, source = call.platform.store.state, call["name"]
    commit = state.commits[source] = Commit(version=state.commits.get(source, Commit()).version + 1, time=now())
    call.platform.store.save()
    return commit.model_dump()


async def _suspend(call: Call) -> None:
    await call.platform.lifecycle.suspend(call.platform.instances.find(call["name"]))


async def _suspend_endpoint(call: Call) -> None:
    _, project, _, branch, _, endpoint = call["endpoint"].split("/")
    await call.platform.lifecycle.suspend(call.platform.lookup.endpoint(project, branch, endpoint))


async def _replay(call: Call) -> None:
    """Pause or resume the replay of an instance's standby, and reply when that has happened.

    A standby replays again when it is restarted.
    """
    paused = parsed(ReplayBody, call.body).paused
    compute = call.platform.instances.find(call["name"])
    endpoint = compute.endpoint
    if endpoint.state != AVAILABLE or endpoint.suspended or not endpoint.readable_secondaries:
        raise wrong_state(f"Database instance '{call['name']}' has no running standby.")
    wanted = "paused" if paused else "not paused"
    async with asyncio.timeout(_STANDBY_SECONDS):
        standby = await _connect_to_standby(call.platform, compute)
        try:
            await standby.execute(f"SELECT pg_wal_replay_{'pause' if paused else 'resume'}()")
            while await standby.fetchval("SELECT pg_get_wal_replay_pause_state()") != wanted:  # noqa: ASYNC110 # the other end is a database
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            standby.terminate()


async def _connect_to_standby(platform: Platform, compute: Compute) -> Any:
    """An asyncpg connection of the superuser. The platform may be restarting the standby, so this tries again."""
    standby = platform.lifecycle.servers[compute.endpoint.uid].standby
    while True:
        with contextlib.suppress(OSError, asyncpg.CannotConnectNowError):
            return await asyncpg.connect(
                host=str(standby.socket_directory),
                port=platform.store.state.pg_port,
                user="postgres",
                password=standby.password,
                database="postgres",
            )
        await asyncio.sleep(_LOOK_SECONDS)
