"""Owns AUTH_MODE=local: nobody is asked who they are, and nobody elsewhere can ask."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from schema.errors import ForbiddenError, Reason
from schema.permissions import Principal, Role
from server.headers import headers

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from starlette.requests import HTTPConnection

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
        hosts = headers(connection.scope, b"host")
        if len(hosts) != 1 or not _is_loopback(hosts[0]):
            raise ForbiddenError(Reason.HOST_FORBIDDEN, "Ask by a name of loopback: localhost, or 127.0.0.1.")
        return self._principal
