"""Owns the question who is calling, and from which pages a browser may call."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from schema.errors import ForbiddenError, Reason
from schema.permissions import Principal, Role

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.requests import HTTPConnection

_LOCAL_USER = "local"


class Authentication(Protocol):
    """How a request's principal is found."""

    def principal(self, connection: HTTPConnection) -> Principal:
        """Who is calling.

        Raises:
            ForbiddenError: nobody who may.
        """


class LocalAuthentication:
    """Everybody is `local`. It listens on loopback only (settings), and believes only a `Host` that is loopback's.

    A page of any site can make its visitor's browser ask 127.0.0.1 under a name of its own (DNS rebinding); such a
    request comes from loopback, and its `Host` alone tells.
    """

    def __init__(self, roles: Collection[str]) -> None:
        self._principal = Principal(_LOCAL_USER, frozenset(Role[role.upper()] for role in roles))

    def principal(self, connection: HTTPConnection) -> Principal:
        """The one principal there is.

        Raises:
            ForbiddenError: HOST_FORBIDDEN.
        """
        if not is_loopback(_host_name(connection.headers.get("host", ""))):
            raise ForbiddenError(Reason.HOST_FORBIDDEN, "Ask by a name of loopback: localhost, or 127.0.0.1.")
        return self._principal


def check_origin(connection: HTTPConnection, allowed: Collection[str]) -> None:
    """Let a browser's request through only from a page of our own or of an allowed origin.

    For what a browser sends across origins without asking first: a WebSocket, and an EventSource.

    Raises:
        ForbiddenError: ORIGIN_FORBIDDEN.
    """
    origin = connection.headers.get("origin")
    # Only a browser sends it, and every browser does.
    if origin is None or origin in allowed:
        return
    own = urlsplit(origin).netloc.lower() == connection.headers.get("host", "").lower()
    if not own or origin == "null":
        raise ForbiddenError(
            Reason.ORIGIN_FORBIDDEN, "Pages of this origin may not ask; ALLOWED_ORIGINS names those that may."
        )


def is_loopback(host: str) -> bool:
    """Whether a name or address is that of this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
