"""Owns the keys that tokens are checked with: the JWKS of who issues them, fetched off the event loop and kept."""

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
# Anybody can send tokens that name unknown keys: they must not send us to the issuer each time.
_UNKNOWN_KEY_SECONDS: Final = 30.0
# For as long as the issuer does not say otherwise.
_FOREVER_SECONDS: Final = float("inf")


class Keys:
    """The keys by their ids. While they cannot be fetched, those from before go on counting."""

    def __init__(self, url: str, *, ttl_seconds: float) -> None:
        self._url = url
        self._kept = RefreshedValue(self._fetched, ttl_seconds=ttl_seconds, grace_seconds=_FOREVER_SECONDS)
        self._unknown_not_before = 0.0

    async def find(self, key_id: str) -> PyJWK | None:
        """The key with this id, if there is one. For one that is unknown the keys are fetched anew, but not often.

        Raises:
            UnavailableError: AUTHENTICATION_UNAVAILABLE, no keys have ever been fetched.
        """
        keys = await self._kept.get()
        if key_id not in keys and (self._kept.fetching or time.monotonic() >= self._unknown_not_before):
            self._unknown_not_before = time.monotonic() + _UNKNOWN_KEY_SECONDS
            keys = await self._kept.renewed()
        return keys.get(key_id)

    async def _fetched(self) -> Mapping[str, PyJWK]:
        try:
            async with asyncio.timeout(_FETCH_SECONDS):
                return await asyncio.to_thread(_fetch, self._url)
        except (OSError, ValueError, TypeError, AttributeError, RecursionError, PyJWTError) as error:
            # Refused, late, too long, no JSON, or JSON of another shape. Its words may be the issuer's own.
            _log.warning("keys not fetched", cause=type(error).__name__)
            raise UnavailableError(
                Reason.AUTHENTICATION_UNAVAILABLE,
                "The keys that tokens are checked with cannot be had now. Try again shortly.",
            ) from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Whoever may redirect us could lead from https to http. What is not redirected is an error of HTTP."""

    def redirect_request(self, *_: Any) -> None:
        """Never."""


def _opened(opener: urllib.request.OpenerDirector, url: str) -> Any:
    try:
        return opener.open(url, timeout=_FETCH_SECONDS)
    except urllib.error.HTTPError as error:
        # It is the answer too, and holds the connection.
        error.close()
        raise


def _fetch(url: str) -> Mapping[str, PyJWK]:
    deadline = time.monotonic() + _FETCH_SECONDS
    opener = urllib.request.build_opener(_NoRedirects())
    body = b""
    with _opened(opener, url) as response:
        # In pieces, because each has the timeout anew.
        while chunk := response.read1(_CHUNK_BYTES):
            body += chunk
            if len(body) > _FETCH_BYTES or time.monotonic() > deadline:
                raise ValueError("too long")
    keys = PyJWKSet.from_dict(json.loads(body))
    return {key.key_id: key for key in keys if isinstance(key.key_id, str) and key.public_key_use in {None, "sig"}}
