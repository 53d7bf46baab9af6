"""AUTH_MODE=local: every caller is the user `local`, and only this machine can call."""

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
# A server on loopback is called by a few names only.
_CACHED_HOSTS: Final = 16
_LOOPBACK_HOST: Final = re.compile(r"(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?", re.ASCII | re.IGNORECASE)


@lru_cache(maxsize=_CACHED_HOSTS)
def _is_loopback(host: str) -> bool:
    return _LOOPBACK_HOST.fullmatch(host) is not None


class LocalAuthentication:
    """Every caller is `local`. The server listens on loopback only, and accepts only a `Host` of loopback.

    Any website can make its visitor's browser call 127.0.0.1 under the website's own name (DNS rebinding). Such a
    request comes from loopback; only its `Host` gives it away.
    """

    def __init__(self, roles: Collection[str]) -> None:
        self._principal = Principal(_LOCAL_USER, frozenset(Role[role.upper()] for role in roles))

    async def principal(
        self,
        connection: HTTPConnection,
        init: Mapping[str, object] | None = None,  # noqa: ARG002 # this mode needs nothing from it
    ) -> Principal:
        """The only principal.

        Raises:
            ForbiddenError: HOST_FORBIDDEN, the `Host` is not loopback's.
        """
        _check_host(connection.scope)
        return self._principal

    async def renewed(self, principal: Principal) -> Principal:
        """The same: the settings give the roles."""
        return principal


class LoopbackHosts:
    """Middleware that checks the `Host` of paths without authentication, such as health and metrics.

    Their responses describe the process and its database. Without the check, any website could read them by DNS
    rebinding.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request whose `Host` is loopback's. A WebSocket is checked by its endpoint."""
        if scope["type"] == "http":
            try:
                _check_host(scope)
            except ForbiddenError as error:
                body, status = present_refusal(error)
                response = Response(orjson.dumps(body), status, media_type=JSON)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _check_host(scope: Scope) -> None:
    hosts = headers(scope, b"host")
    if len(hosts) != 1 or not _is_loopback(hosts[0]):
        raise ForbiddenError(Reason.HOST_FORBIDDEN, "Use a loopback host: localhost or 127.0.0.1.")
