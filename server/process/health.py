"""Health checks: whether the process is alive, and whether it can serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

from server.http.caching import NO_STORE

if TYPE_CHECKING:
    from starlette.requests import Request

    from server.process.lifespan import State

_HEADERS = {"cache-control": NO_STORE}


async def livez(_request: Request[State]) -> JSONResponse:
    """200 while the process responds at all."""
    return JSONResponse({"status": "alive"}, headers=_HEADERS)


async def readyz(request: Request[State]) -> JSONResponse:
    """200 if orders can be served, otherwise 503 with the reason. Opens no connection.

    Orders are served even if changes cannot be made, no new token can be minted while the old one lives, or a replica
    is left out: the other parts report that. A sleeping database is ready; otherwise no request would ever wake it.
    """
    reason, draining = request.state["readiness"].reason, request.app.state.draining.begun
    parts = {
        "orders": reason or "ok",
        "changes": request.state["migrations"].missing or "ok",
        "token": request.state["token_state"](),
        "replica": request.state["replicas"].state,
        "draining": "the process is stopping" if draining else "no",
    }
    ready = reason is None and not draining
    return JSONResponse(
        {"status": "ready" if ready else "not ready", **parts}, status_code=200 if ready else 503, headers=_HEADERS
    )
