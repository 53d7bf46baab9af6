"""Owns AUTH_MODE=local: nobody is asked who they are, and nobody elsewhere can ask."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import orjson
from starlette.responses import Response

from schema.errors import ForbiddenError, Reason
from schema.permissions import Principal, Role
from server.http.client import headers
from server.http.error_response import present_refusal
from server.http.negotiation import JSON

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from starlette.requests import HTTPConnection
    from starlette.types import ASGIApp, Receive, Scope, Send

_LOCAL_USER: Final = "local"
# The names that one port of this machine is asked by.
_REMEMBERED: Final = 16
_LOOPBACK_HOST: Final = re.compile(r"(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?", re.ASCII | re.IGNORECASE)


@lru_cache(maxsize=_REMEMBERED)
def _is_loopback(host: str) -> bool:
    return _LOOPBACK_HOST.fullmatch(host) is not None


class LocalAuthentication:
    """Everybody is `local`. It listens on loopback only (settings), and believes only a `Host` that is loopback's.

    A page of any site can make its visitor's browser ask 127.0.0.1 under a name of its own (DNS rebinding); such a
    request comes from loopback, and its `Host` alone tells.
    """

    def __init__(self, roles: Collection[str]) -> None:
        self._principal = Principal(_LOCAL_USER, frozenset(Role[role.upper()] for role in roles))

    async def principal(
        self,
        connection: HTTPConnection,
        init: Mapping[str, object] | None = None,  # noqa: ARG002 # nothing that is said in it counts here
    ) -> Principal:
        """The one principal there is.

        Raises:
            ForbiddenError: HOST_FORBIDDEN.
        """
        _check_host(connection.scope)
        return self._principal


class LoopbackHosts:
    """Middleware for what is served without asking who calls: with AUTH_MODE=local it too has to be asked by loopback.

    How a process is says something of what stands behind it, and a page of any site could read that.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, unless it is refused; a WebSocket is refused by its endpoint."""
        if scope["type"] == "http":
            try:
                _check_host(scope)
            except ForbiddenError as error:
                answer, status = present_refusal(error)
                response = Response(orjson.dumps(answer), status, media_type=JSON)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _check_host(scope: Scope) -> None:
    hosts = headers(scope, b"host")
    if len(hosts) != 1 or not _is_loopback(hosts[0]):
        raise ForbiddenError(Reason.HOST_FORBIDDEN, "Ask by a name of loopback: localhost, or 127.0.0.1.")
