"""Owns the question from which pages a browser may call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from schema.errors import ForbiddenError, Reason
from server.http.client import header

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.requests import HTTPConnection

# The browser's own word, which no page can set. It holds also where a proxy asks us under another name.
_OWN_SITES: Final = ("same-origin", "none")


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

        For what a browser sends across origins without asking first, a WebSocket and an EventSource; and for whatever
        can change anything, though for that it has to ask first: one fault in a browser, or in what is between, is not
        to be enough.

        Raises:
            ForbiddenError: ORIGIN_FORBIDDEN.
        """
        origin, site = header(connection.scope, b"origin"), header(connection.scope, b"sec-fetch-site")
        if origin is None:
            # No browser, or one that asks for an image, say: it tells where such a request comes from in another way.
            forbidden = site is not None and site not in _OWN_SITES
        else:
            forbidden = (
                site not in _OWN_SITES and origin not in self.allowed and origin.lower() not in self._own(connection)
            )
        if forbidden:
            raise ForbiddenError(
                Reason.ORIGIN_FORBIDDEN, "Pages of this origin may not ask; ALLOWED_ORIGINS names those that may."
            )

    def _own(self, connection: HTTPConnection) -> set[str]:
        names = ("host", "x-forwarded-host") if self.forwarded else ("host",)
        hosts = {connection.headers.get(name, "").lower() for name in names}
        return {f"{scheme}://{host}" for scheme in ("http", "https") for host in hosts}
