"""Health checks: whether the process is alive, and whether it can serve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse

from schema.errors import ApiError
from server.http.caching import NO_STORE
from server.lakebase.database.lineage import NO_COPY, NOT_KNOWN, NOT_LOOKED_UP
from server.lakebase.login.instances import NOT_MINTED_YET
from server.process.served_database import NONE_NEEDED
from server.tables.reading.replicas import NO_REPLICA, UNUSED_REPLICA

if TYPE_CHECKING:
    from starlette.requests import Request

    from server.process.lifespan import State

_HEADERS: Final = {"cache-control": NO_STORE}
_SHORT: Final = "short: new work is refused"
# Any caller may be told these. Any other text is a cause.
_STATES: Final = frozenset({"ok", _SHORT, NONE_NEEDED, NOT_MINTED_YET, NO_REPLICA, UNUSED_REPLICA})
_FAILING: Final = "unavailable"
_A_COPY: Final = "yes"
_CAUSES: Final = "The log has the causes. The role `admin` and the bearer of METRICS_TOKEN are told them here too."


async def livez(request: Request[State]) -> JSONResponse:
    """200 while the process responds; 503 if it is out of memory, and only a new process would take work again."""
    if request.state["memory"].stuck:
        return JSONResponse({"status": "out of memory"}, status_code=503, headers=_HEADERS)
    return JSONResponse({"status": "alive"}, headers=_HEADERS)


async def readyz(request: Request[State]) -> JSONResponse:
    """200 if orders can be served, otherwise 503. Opens no connection to the database.

    The causes name the database's role, schema and tables, and what an owner has to grant, so only operators get them.

    In a copy of the database, `copy` says "yes", and tells operators of what.

    Orders are served even if changes cannot be made, no new token can be minted while the old one lives, or a replica
    is left out: the other parts report that. While memory is short, none are. A sleeping database is ready, because no
    request would ever wake it otherwise.
    """
    state = request.app.state
    reason, draining, short = request.state["readiness"].reason, state.draining.begun, state.admission.short_of_memory
    causes = {
        "orders": reason or "ok",
        "changes": request.state["migrations"].missing or "ok",
        "token": request.state["token_state"](),
        "replica": request.state["replicas"].state,
        **request.state["table_states"](),
        "memory": _SHORT if short else "ok",
    }
    parts = {part: cause if cause in _STATES else _FAILING for part, cause in causes.items()}
    copy = request.state["copy_state"]()
    told = copy in {NO_COPY, NOT_LOOKED_UP}
    operates = (_FAILING in parts.values() or not told) and await _is_operator(request)
    if _FAILING in parts.values():
        parts = causes if operates else {**parts, "causes": _CAUSES}
    parts["copy"] = copy if told or operates else _A_COPY if not copy.startswith(NOT_KNOWN) else NOT_KNOWN
    ready = reason is None and not draining and not short
    return JSONResponse(
        {
            "status": "ready" if ready else "not ready",
            **parts,
            "draining": "the process is stopping" if draining else "no",
        },
        status_code=200 if ready else 503,
        headers=_HEADERS,
    )


async def _is_operator(request: Request[State]) -> bool:
    try:
        await request.app.state.operators.check(request)
    except ApiError:
        return False
    return True
