"""Owns what every mode of authentication gives, and the choice of the one that is set."""

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
    """How a request's principal is found."""

    async def principal(self, connection: HTTPConnection, init: Mapping[str, object] | None = None) -> Principal:
        """Who is calling.

        Args:
            connection: the request, or the upgrade to a WebSocket.
            init: the payload of a WebSocket's `connection_init`, where the mode waits for it.

        Raises:
            UnauthenticatedError: nobody who is known.
            ForbiddenError: nobody who may call in this way.
            UnavailableError: it cannot be told now.
        """


def authentication_of(settings: Settings, groups_of: GroupsOf) -> Authentication:
    """The authentication of the mode that is set."""
    if settings.auth_mode == "databricks-app":
        if not settings.admin_users | settings.admin_groups:
            _log.warning("nobody may administer: ADMIN_USERS and ADMIN_GROUPS name nobody")
        return DatabricksAuthentication(settings, groups_of)
    if settings.auth_mode == "jwt":
        # Its cryptography takes a tenth of a second to import, which the other modes need not wait for.
        authentication: Authentication = importlib.import_module("server.auth.jwt").JwtAuthentication(settings)
        return authentication
    return LocalAuthentication(settings.local_roles)
