"""Owns the answers to those who watch the process: is it alive, can it serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

from server.http.caching import NO_STORE

if TYPE_CHECKING:
    from starlette.requests import Request

    from server.lifespan import State

_HEADERS = {"cache-control": NO_STORE}


async def livez(_request: Request[State]) -> JSONResponse:
    """200 as long as the process answers at all."""
    return JSONResponse({"status": "alive"}, headers=_HEADERS)


async def readyz(request: Request[State]) -> JSONResponse:
    """200 where orders can be served; 503 with what is wrong where not. Opens no connection itself.

    Orders are served also where no changes can be made, no new token is to be had while the old one lives, or a
    secondary is left out: that is said beside. A database that sleeps is ready, or nobody would ever wake it.
    """
    reason, draining = request.state["readiness"].reason, request.app.state.draining.begun
    parts = {
        "orders": reason or "ok",
        "changes": request.state["migrations"].missing or "ok",
        "token": request.state["token_state"](),
        "replica": request.state["secondaries"].state,
        "draining": "the process was told to stop" if draining else "no",
    }
    ready = reason is None and not draining
    return JSONResponse(
        {"status": "ready" if ready else "not ready", **parts}, status_code=200 if ready else 503, headers=_HEADERS
    )
