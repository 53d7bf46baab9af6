"""HTTP caching of queries by GET: Cache-Control, ETag, and 304 for a response that has not changed."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final, Literal

from starlette.responses import Response

from server.http.client import headers

if TYPE_CHECKING:
    from starlette.types import Scope

NO_STORE: Final = "no-store"
_ENTITY_TAG: Final = re.compile(r'(?:W/)?"([^"]*)"')
_TAG_BYTES: Final = 16
_NOT_MODIFIED: Final = 304
# `authorization`, or the cookie of the platform's proxy, says who the caller is. (The proxy adds its headers behind
# every cache that may keep a private response.) A client that sends the consistency token or cookie of its own change
# gets no response from before the change.
_VARY: Final = "accept, accept-encoding, authorization, cookie, x-consistency-token"


def reuses(seconds: int | Literal["off"]) -> bool:
    """Whether clients may reuse a response without asking, so that it may be older than the client's own change."""
    return seconds not in {0, "off"}


class Caching:
    """Lets a client's own cache keep responses to GET, but never a shared cache, whatever the authentication mode.

    The server computes each response, with the reads that the client's consistency token requires, before it compares
    tags. So a 304 is as fresh as a 200. Responses to POST need no header, because no cache keeps them.

    Args:
        seconds: how long a cache may reuse a response without asking; 0 for never, `off` for not keeping it at all. It
            must not exceed the life of a consistency cookie: without the cookie, the cache could reuse a response from
            before the client's own change.
    """

    def __init__(self, seconds: int | Literal["off"]) -> None:
        kept = f"max-age={seconds}, must-revalidate" if seconds else "no-cache"
        self._control = NO_STORE if seconds == "off" else f"private, {kept}"

    def apply(self, scope: Scope, response: Response, *, encoded: bool) -> Response:
        """Return the response with its caching headers, or a 304 without a body if the client has it already.

        Args:
            scope: the request's scope.
            response: the response to a query by GET, without errors, before it is compressed.
            encoded: whether it will be compressed, which gives it another tag.
        """
        response.headers["cache-control"] = self._control
        if self._control == NO_STORE:
            return response
        tag = _tag(response, encoded=encoded)
        response.headers["etag"] = f'"{tag}"'
        response.headers["vary"] = _VARY
        if not _has(", ".join(headers(scope, b"if-none-match")), tag):
            return response
        kept = {name: response.headers[name] for name in ("cache-control", "etag", "vary")}
        return Response(status_code=_NOT_MODIFIED, headers=kept)


def _tag(response: Response, *, encoded: bool) -> str:
    """Every process gives the same tag to the same bytes in the same media type and encoding."""
    # Processors have instructions for SHA-256: it takes 22 µs for 29 KB, and BLAKE2 31.
    digest = hashlib.sha256(response.body)
    digest.update(response.headers["content-type"].encode())
    return digest.hexdigest()[: 2 * _TAG_BYTES] + ("-gzip" if encoded else "")


def _has(if_none_match: str, tag: str) -> bool:
    return if_none_match.strip() == "*" or tag in _ENTITY_TAG.findall(if_none_match)
