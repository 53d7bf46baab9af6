"""The origins from whose pages a browser may call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from schema.errors import ForbiddenError, Reason
from server.http.client import header
from server.settings.auth import ORIGIN

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.requests import HTTPConnection

# Values of `Sec-Fetch-Site`, which the browser sets and no page can. They hold even if a proxy changes the host.
_OWN_SITES: Final = ("same-origin", "none")
# The longest origin or host that a message or the log repeats: a host name has at most 253 characters.
_CHARACTERS: Final = 280
# An origin does not name its scheme's default port, but a `Host` may.
_DEFAULT_PORTS: Final = (("http", ":80"), ("https", ":443"))
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Origins:
    """The origins whose pages may call, in addition to the server's own.

    Attributes:
        allowed: these origins.
        forwarded: whether the platform's proxy is in front of the server, and sends the host that it was asked for as
            `X-Forwarded-Host`. A page cannot set that header in a request that is checked here.
    """

    allowed: Collection[str]
    forwarded: bool = False

    def check(self, connection: HTTPConnection) -> None:
        """Refuse a browser's request from a page of a foreign origin.

        A browser opens WebSockets and EventSources across origins without a preflight, so they need this check. A
        request that can change something needs a preflight, and is checked nevertheless: a fault in one browser or
        proxy must not be enough.

        Raises:
            ForbiddenError: ORIGIN_FORBIDDEN.
        """
        origin, site = header(connection.scope, b"origin"), header(connection.scope, b"sec-fetch-site")
        if origin is None:
            # Not a browser, or a browser that loads an image or the like: then it sends only `Sec-Fetch-Site`.
            forbidden = site is not None and site not in _OWN_SITES
        else:
            forbidden = (
                site not in _OWN_SITES and origin not in self.allowed and origin.lower() not in self._own(connection)
            )
        if forbidden:
            raise _refusal(origin, connection)

    def _own(self, connection: HTTPConnection) -> set[str]:
        names = ("host", "x-forwarded-host") if self.forwarded else ("host",)
        hosts = {connection.headers.get(name, "").lower() for name in names}
        return {f"{scheme}://{host.removesuffix(port)}" for scheme, port in _DEFAULT_PORTS for host in hosts}


def _refusal(origin: str | None, connection: HTTPConnection) -> ForbiddenError:
    """The error, which says how to allow the origin.

    A browser hides the response to a WebSocket or an EventSource from its page, so the log says it too.
    """
    host = header(connection.scope, b"host") or ""
    _log.info("origin refused", origin=(origin or "")[:_CHARACTERS], host=host[:_CHARACTERS])
    if origin is not None and len(origin) <= _CHARACTERS and ORIGIN.fullmatch(origin):
        allow = f"If that is your frontend, start the server with ALLOWED_ORIGINS={origin}."
        return ForbiddenError(Reason.ORIGIN_FORBIDDEN, f"Pages of {origin} may not call. {allow}")
    message = "Pages of other origins may not call. ALLOWED_ORIGINS names the origins that may."
    return ForbiddenError(Reason.ORIGIN_FORBIDDEN, message)
