"""The access of operators to what the server reports of itself: its metrics, and the causes in `/readyz`."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any, Final

from schema.permissions import Role

if TYPE_CHECKING:
    from pydantic import SecretStr
    from starlette.requests import Request

    from server.auth.authentication import Authentication

_BEARER: Final = "bearer"


class OperatorAccess:
    """Lets admins in, and clients with the metrics token.

    Args:
        token: METRICS_TOKEN; None if it is not set.
    """

    def __init__(self, token: SecretStr | None) -> None:
        self._token = token.get_secret_value().encode() if token else None

    async def check(self, request: Request[Any]) -> None:
        """Check that an operator has sent this request.

        Raises:
            ApiError: the caller is no operator, or cannot be authenticated now.
        """
        if not self._has_token(request):
            authentication: Authentication = request.state["authentication"]
            (await authentication.principal(request)).demand(Role.ADMIN)

    def _has_token(self, request: Request[Any]) -> bool:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if self._token is None or scheme.lower() != _BEARER:
            return False
        return hmac.compare_digest(given.strip().encode(), self._token)
