"""The interface that every authentication mode implements, and the choice of the mode."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol

import structlog

from server.auth.databricks import DatabricksAuthentication, GroupsOf
from server.auth.local import LocalAuthentication

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import HTTPConnection

    from schema.permissions import Principal
    from server.settings import Settings

_log = structlog.get_logger(__name__)


class Authentication(Protocol):
    """Finds the principal of a request."""

    async def principal(self, connection: HTTPConnection, init: Mapping[str, object] | None = None) -> Principal:
        """The principal of a request.

        Args:
            connection: the request, or the upgrade to a WebSocket.
            init: the payload of a WebSocket's `connection_init`, in a mode that waits for it.

        Raises:
            UnauthenticatedError: the request does not identify a principal.
            ForbiddenError: the request may not reach the server in this way.
            RateLimitedError: too many requests from the client's address did not identify a principal.
            UnavailableError: the principal cannot be determined now.
        """

    async def renewed(self, principal: Principal) -> Principal:
        """The principal with the roles that it has now, for a connection that stays open.

        Raises:
            UnavailableError: the roles cannot be determined now.
        """


def authentication_of(settings: Settings, groups_of: GroupsOf) -> Authentication:
    """The authentication of the mode in the settings."""
    if settings.auth_mode == "databricks-app":
        if not settings.admin_users | settings.admin_groups:
            _log.warning("no administrators: ADMIN_USERS and ADMIN_GROUPS are empty")
        return DatabricksAuthentication(settings, groups_of)
    if settings.auth_mode == "jwt":
        # Imported only here: its cryptography takes a tenth of a second to load, which the other modes do not need.
        authentication: Authentication = importlib.import_module("server.auth.jwt").JwtAuthentication(settings)
        return authentication
    return LocalAuthentication(settings.local_roles)
