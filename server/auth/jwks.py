"""The issuer's public keys (JWKS), fetched in a thread and cached.

PyJWT's `PyJWKClient` parses the same sets, but its download has no limit on size or total time, its cache does not
outlive a failing issuer, and a newly rotated key has to wait for its cooldown.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Final

import structlog
from jwt import PyJWKSet
from jwt.exceptions import PyJWTError

from schema.errors import Reason, UnavailableError
from server.auth.refreshed_value import RefreshedValue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jwt import PyJWK

_log = structlog.get_logger(__name__)
_FETCH_SECONDS: Final = 5.0
# A set has a few keys of a few kilobytes.
_FETCH_BYTES: Final = 1 << 20
_CHUNK_BYTES: Final = 1 << 16
# Any client can send tokens with unknown key ids. They must not cause a request to the issuer each time.
_UNKNOWN_KEY_SECONDS: Final = 30.0
# Known keys stay valid until the issuer publishes others.
_FOREVER_SECONDS: Final = float("inf")


class SigningKeys:
    """The issuer's keys by their ids. While they cannot be fetched, the known ones stay valid."""

    def __init__(self, url: str, *, ttl_seconds: float) -> None:
        self._url = url
        self._cached = RefreshedValue(self._load, ttl_seconds=ttl_seconds, grace_seconds=_FOREVER_SECONDS)
        self._unknown_not_before = 0.0

    async def find(self, key_id: str) -> PyJWK | None:
        """The key with this id, if there is one. An unknown id fetches the keys anew, but not often.

        Raises:
            UnavailableError: AUTHENTICATION_UNAVAILABLE, the keys have never been fetched.
        """
        keys = await self._cached.get()
        if key_id not in keys and (self._cached.fetching or time.monotonic() >= self._unknown_not_before):
            self._unknown_not_before = time.monotonic() + _UNKNOWN_KEY_SECONDS
            keys = await self._cached.refresh()
        return keys.get(key_id)

    async def _load(self) -> Mapping[str, PyJWK]:
        try:
            async with asyncio.timeout(_FETCH_SECONDS):
                return await asyncio.to_thread(_fetch, self._url)
        except (OSError, ValueError, TypeError, AttributeError, RecursionError, PyJWTError) as error:
            # No connection, too late, too long, not JSON, or not a key set. The message may hold the issuer's own text.
            _log.warning("keys not fetched", cause=type(error).__name__)
            raise UnavailableError(
                Reason.AUTHENTICATION_UNAVAILABLE,
                "The keys that verify tokens are not available now. Try again shortly.",
            ) from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Turns redirects into HTTP errors: a redirect could lead from https to http."""

    def redirect_request(self, *_: Any) -> None:
        """Never follow a redirect."""


def _open(opener: urllib.request.OpenerDirector, url: str) -> Any:
    try:
        return opener.open(url, timeout=_FETCH_SECONDS)
    except urllib.error.HTTPError as error:
        # The error is also the response, and holds the connection.
        error.close()
        raise


def _fetch(url: str) -> Mapping[str, PyJWK]:
    deadline = time.monotonic() + _FETCH_SECONDS
    opener = urllib.request.build_opener(_NoRedirects())
    body = b""
    with _open(opener, url) as response:
        # Read in chunks: the timeout of urllib begins anew with each, and the deadline is for all of them.
        while chunk := response.read1(_CHUNK_BYTES):
            body += chunk
            if len(body) > _FETCH_BYTES or time.monotonic() > deadline:
                raise ValueError("the response is too long or too slow")
    keys = PyJWKSet.from_dict(json.loads(body))
    return {key.key_id: key for key in keys if isinstance(key.key_id, str) and key.public_key_use in {None, "sig"}}
