"""GraphiQL: its page, and the files that the page loads. If they are missing, the page says how to fetch them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from schema.errors import UnauthenticatedError
from server.graphql.graphiql.files import PREFIX, Files
from server.graphql.graphiql.vendor import STATIC, is_complete
from server.graphql.introspection import no_page

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from starlette.requests import Request

    from server.graphql.gateway import Gateway
    from server.http.compression import Compression

# When a dialog or a menu opens, GraphiQL adds a <style> that stops the page behind it from scrolling. Our page has no
# margins and no scroll bars, so the text is always the same, and the policy allows its hash and no other inline style.
_SCROLL_LOCK: Final = "sha256-nzTgYzXYDNe6BAHiiI7NNlfK8n/auuOAhh2t92YvuXo="
_CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; "
    "script-src 'self'; "
    f"style-src 'self' '{_SCROLL_LOCK}'; "
    "img-src data:; "
    "font-src data:; "
    "connect-src 'self'; "
    "base-uri 'none'; "
    "form-action 'none'; "
    "frame-ancestors 'none'"
)
_PAGE_HEADERS: Final = {
    "content-security-policy": _CONTENT_SECURITY_POLICY,
    # No other page may frame this one, hold a reference to its window, or see its address in a referrer.
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    # A client that does not ask for a page gets JSON from the same address.
    "vary": "accept",
}
# A year is the longest that caches keep anything. The bytes at an address never change.
_FILE_HEADERS: Final = {"cache-control": "public, max-age=31536000, immutable", "vary": "accept-encoding"}
# A file that a page loads, by its name in the folder of static files.
_LOADED: Final = re.compile(r'(?<=")/static/([^"]+)(?=")')
# Where the page names the served tables to its script.
_TABLES: Final = 'data-tables=""'
_NOT_FOUND: Final = 404


class GraphiQL:
    """GraphiQL, for callers who may explore the schema.

    Args:
        gateway: authenticates the callers.
        compression: says which encoding a client accepts.
        tables: the names of the tables that are served beside the orders. Examples of others are not shown.
        static: the folder of the page's files.
    """

    def __init__(
        self, gateway: Gateway, compression: Compression, tables: Collection[str] = (), static: Path = STATIC
    ) -> None:
        self._gateway = gateway
        self._compression = compression
        self._tables = f'data-tables="{" ".join(sorted(tables))}"'
        self._static = static
        self._files = Files(static)

    async def page(self, request: Request) -> Response:
        """The page, with all scripts and styles from our own `/static/`; a 503 with instructions if files are missing.

        Raises:
            ApiError: the caller does not get it.
        """
        if not await self._is_shown(request):
            raise no_page()
        complete = is_complete(self._static)
        html = (self._static / ("graphiql.html" if complete else "graphiql-missing.html")).read_text()
        addresses = await self._files.addresses()
        html = html.replace(_TABLES, self._tables)
        html = _LOADED.sub(lambda loaded: addresses.get(loaded[1], loaded[0]), html)
        return HTMLResponse(html, status_code=200 if complete else 503, headers=_PAGE_HEADERS)

    async def file(self, request: Request) -> Response:
        """A file that the page loads.

        Raises:
            HTTPException: 404, for a caller who does not get the page either.
            ApiError: the caller cannot be authenticated now, or accepts no encoding of the file.
        """
        shown = await self._is_shown(request)
        file = await self._files.at(f"{PREFIX}{request.path_params['name']}") if shown else None
        if file is None:
            raise HTTPException(_NOT_FOUND)
        encoded = self._compression.encodes(self._compression.accepted(request.scope), len(file.content))
        return Response(
            file.compressed if encoded else file.content,
            media_type=file.media_type,
            headers={**_FILE_HEADERS, **({"content-encoding": "gzip"} if encoded else {})},
        )

    async def _is_shown(self, request: Request) -> bool:
        """Whether the caller gets GraphiQL. If everyone may explore, so do unauthenticated callers.

        The page contains nobody's data, and it is where a person enters a token.
        """
        try:
            return (await self._gateway.authenticate(request, any_origin=True)).explores
        except UnauthenticatedError:
            return self._gateway.explored_by == "on"
