"""Owns the question from which pages a browser may call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from schema.errors import ForbiddenError, Reason

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.requests import HTTPConnection


@dataclass(frozen=True, slots=True)
class Origins:
    """The origins whose pages may call, beside our own.

    `forwarded`: the platform's proxy stands before us and says in `X-Forwarded-Host` which host it was asked for. A
    page cannot set that header in what is checked here.
    """

    allowed: Collection[str]
    forwarded: bool = False

    def check(self, connection: HTTPConnection) -> None:
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
            forbidden = origin not in self.allowed and origin.lower() not in self._own(connection)
        if forbidden:
            raise ForbiddenError(
                Reason.ORIGIN_FORBIDDEN, "Pages of this origin may not ask; ALLOWED_ORIGINS names those that may."
            )

    def _own(self, connection: HTTPConnection) -> set[str]:
        names = ("host", "x-forwarded-host") if self.forwarded else ("host",)
        hosts = {connection.headers.get(name, "").lower() for name in names}
        return {f"{scheme}://{host}" for scheme in ("http", "https") for host in hosts}
