"""Owns the question who is calling, and from which pages a browser may call."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Protocol

from schema.errors import ForbiddenError, Reason
from schema.permissions import Principal, Role

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.requests import HTTPConnection

_LOCAL_USER = "local"
_LOOPBACK_HOST = re.compile(r"(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]{1,5})?", re.ASCII | re.IGNORECASE)


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
        hosts = connection.headers.getlist("host")
        if len(hosts) != 1 or not _LOOPBACK_HOST.fullmatch(hosts[0]):
            raise ForbiddenError(Reason.HOST_FORBIDDEN, "Ask by a name of loopback: localhost, or 127.0.0.1.")
        return self._principal


def check_origin(connection: HTTPConnection, allowed: Collection[str]) -> None:
    """Let a browser's request through only from a page of our own or of an allowed origin.

    For what a browser sends across origins without asking first: a WebSocket, and an EventSource.

    Raises:
        ForbiddenError: ORIGIN_FORBIDDEN.
    """
    origin = connection.headers.get("origin")
    if origin is None:
        # No browser, or one that asks for an image, say: it tells where such a request comes from in another way.
        forbidden = connection.headers.get("sec-fetch-site") == "cross-site"
    else:
        own = {f"{scheme}://{connection.headers.get('host', '').lower()}" for scheme in ("http", "https")}
        forbidden = origin not in allowed and origin.lower() not in own
    if forbidden:
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
