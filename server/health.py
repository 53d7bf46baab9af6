"""Owns the answers to those who watch the process: is it alive, can it serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from starlette.requests import Request

    from server.lifespan import State


async def livez(_request: Request[State]) -> JSONResponse:
    """200 as long as the process answers at all."""
    return JSONResponse({"status": "alive"})


async def readyz(request: Request[State]) -> JSONResponse:
    """200 where orders can be served; 503 with what is wrong where not. Opens no connection itself.

    Orders are served also where no changes can be made, and what is missing for them is said beside.
    """
    if request.app.state.draining.begun:
        return JSONResponse({"status": "not ready", "process": "draining: told to stop"}, status_code=503)
    reason, missing = request.state["readiness"].reason, request.state["migrations"].missing
    if reason is None:
        return JSONResponse({"status": "ready", "orders": "ok", "changes": missing or "ok"})
    return JSONResponse({"status": "not ready", "orders": reason, "changes": missing or "ok"}, status_code=503)
