"""Owns the paths below /local: what tests switch, look at and count, and the platform itself does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from server.local.platform.instances.instances import shown
from server.local.platform.rest import bodies as requests
from server.local.platform.rest.bodies import parsed

if TYPE_CHECKING:
    from server.local.platform.calls import Call, Handler


async def _inventory(call: Call) -> dict[str, Any]:
    platform = call.platform
    state = platform.store.state
    return {
        "instances": [
            {**shown(i), "suspended": i.suspended, "processes": await platform.life.processes(i)}
            for i in list(state.instances.values())
        ],
        "catalogs": [catalog.model_dump() for catalog in state.catalogs.values()],
        "synced_tables": [
            {"uid": table.uid, **platform.synced_tables.shown(table)} for table in state.synced_tables.values()
        ],
        "pipelines": [pipeline.model_dump() for pipeline in state.pipelines.values()],
    }


def _counters(call: Call) -> dict[str, Any]:
    platform = call.platform
    return {
        "requests": dict(platform.requests),
        **platform.credentials.counted(),
        "mints_at_once": platform.mints.at_once,
        "wakes": platform.life.wakes(),
    }


def _revoke(call: Call) -> dict[str, Any]:
    name = parsed(requests.RevokeBody, call.body).instance
    uid = None if name is None else call.platform.instances.find(name).uid
    return {"revoked": call.platform.credentials.revoke(uid)}


async def _suspend(call: Call) -> None:
    await call.platform.life.suspend(call.platform.instances.find(call["name"]))


async def _replay(call: Call) -> None:
    paused = parsed(requests.ReplayBody, call.body).paused
    await call.platform.life.pause_replay(call.platform.instances.find(call["name"]), paused=paused)


CONTROLS: list[tuple[str, str, Handler]] = [
    ("POST", "/faults", lambda call: call.platform.faults.add(parsed(requests.FaultBody, call.body))),
    ("DELETE", "/faults", lambda call: call.platform.faults.clear()),
    ("GET", "/held", lambda call: {"held": call.platform.faults.held()}),
    ("POST", "/release", lambda call: {"released": call.platform.faults.release()}),
    ("GET", "/inventory", _inventory),
    ("GET", "/counters", _counters),
    ("POST", "/credentials/revoke", _revoke),
    ("POST", "/instances/{name}/suspend", _suspend),
    ("POST", "/instances/{name}/replay", _replay),
]
