"""Owns what caches may keep of an answer: Cache-Control and ETag of a query by GET, 304 for what has not changed."""

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
# Who calls is said in `authorization`, or in the cookie of the platform's proxy. What that proxy adds comes after all
# caches that may keep a private answer. The token and cookie of one's own change lead past what was kept before it.
_VARY: Final = "accept, accept-encoding, authorization, cookie, x-consistency-token"


def reuses(seconds: int | Literal["off"]) -> bool:
    """Whether answers are used again without asking, so that one may be older than a caller's own change."""
    return seconds not in {0, "off"}


class Caching:
    """Lets a caller's own cache keep what it asked for by GET; no cache that others share, whatever the mode.

    The answer is computed for every request that arrives, from the place in the log that the caller needs, before its
    tag is compared: a 304 is as fresh as a 200. POST needs no header, for nothing keeps its answers without one.

    Args:
        seconds: for how long it may be used again without asking; 0 for never, `off` for not being kept at all. No
            longer than a consistency cookie lives: it leads past what was kept before a change, and if it ended first,
            that would be used again.
    """

    def __init__(self, seconds: int | Literal["off"]) -> None:
        kept = f"max-age={seconds}, must-revalidate" if seconds else "no-cache"
        self._control = NO_STORE if seconds == "off" else f"private, {kept}"

    def told(self, scope: Scope, response: Response, *, encoded: bool) -> Response:
        """The answer with what a cache needs to know; without a body, a 304, where the caller has it already.

        Args:
            scope: of the request.
            response: the answer to a query by GET, without errors, as it is before it is encoded.
            encoded: whether it goes out encoded, which makes its tag another.
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
    """The same from every process for the same bytes in the same media type and encoding."""
    # SHA-256 is what processors have instructions for: 22 µs for 29 KB, where BLAKE2 takes 31.
    digest = hashlib.sha256(response.body)
    digest.update(response.headers["content-type"].encode())
    return digest.hexdigest()[: 2 * _TAG_BYTES] + ("-gzip" if encoded else "")


def _has(if_none_match: str, tag: str) -> bool:
    return if_none_match.strip() == "*" or tag in _ENTITY_TAG.findall(if_none_match)
