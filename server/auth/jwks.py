"""The issuer's public keys (JWKS), fetched in a thread of their own and cached.

PyJWT's `PyJWKClient` parses the same sets, but its download has no limit on size or total time, its cache does not
outlive a failing issuer, and a newly rotated key has to wait for its cooldown.
"""

from __future__ import annotations

import asyncio
import io
import json
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any, Final

from jwt import PyJWK

from schema.errors import Reason, UnavailableError
from server.auth.refreshed_value import RefreshedValue

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping
    from http.client import HTTPConnection

# From the first packet to the last byte.
_FETCH_SECONDS: Final = 5.0
# A set has a few keys of a few kilobytes. Reading one of this size holds up the event loop for some milliseconds.
_FETCH_BYTES: Final = 1 << 18
_CHUNK_BYTES: Final = 1 << 16
_MOST_KEYS: Final = 100
# Any client can send tokens with unknown key ids. They must not cause a request to the issuer each time.
_UNKNOWN_KEY_SECONDS: Final = 30.0
# How much longer known keys stay valid while the issuer publishes no others: it may have withdrawn one of them.
_GRACE_SECONDS: Final = 86_400.0
_MISSING: Final = "The keys that verify tokens are not available now. Try again shortly."


class SigningKeys:
    """The issuer's keys by their ids. While they cannot be fetched anew, the known ones stay valid for a day."""

    def __init__(self, url: str, *, ttl_seconds: float) -> None:
        self._url = url
        # An issuer that is slow, or a name server, holds this thread and no other.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="keys")
        self._cached = RefreshedValue(
            "keys", self._load, missing=_MISSING, ttl_seconds=ttl_seconds, grace_seconds=_GRACE_SECONDS
        )
        self._unknown_not_before = 0.0

    async def find(self, key_id: str) -> PyJWK | None:
        """The key with this id, if there is one. An unknown id fetches the keys anew, but not often.

        Raises:
            UnavailableError: AUTHENTICATION_UNAVAILABLE, the keys cannot be fetched, and the known ones are too old or
                do not include this one.
        """
        keys = await self._cached.get()
        if key_id not in keys and (self._cached.fetching or time.monotonic() >= self._unknown_not_before):
            keys = await self._cached.refresh()
            self._unknown_not_before = time.monotonic() + _UNKNOWN_KEY_SECONDS
        return keys.get(key_id)

    async def _load(self) -> Mapping[str, PyJWK]:
        try:
            async with asyncio.timeout(_FETCH_SECONDS):
                return await asyncio.get_running_loop().run_in_executor(self._thread, _fetch, self._url)
        except Exception as error:  # noqa: BLE001 # whatever the issuer sends: no HTTP, no JSON, no keys, too much, too late
            # The message may hold the issuer's own text.
            raise UnavailableError(Reason.AUTHENTICATION_UNAVAILABLE, type(error).__name__) from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Turns redirects into HTTP errors: a redirect could lead from https to http."""

    def redirect_request(self, *_: Any) -> None:
        """Never follow a redirect."""


class _TimelyReads(io.RawIOBase):
    """The bytes that a socket receives until a deadline. A socket's own timeout begins anew with each byte."""

    def __init__(self, connection: socket.socket, source: io.RawIOBase, deadline: float) -> None:
        self._connection = connection
        self._source = source
        self._deadline = deadline

    def readable(self) -> bool:
        """Always, as `io.BufferedReader` asks."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Receive some bytes.

        Raises:
            TimeoutError: the deadline has passed.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._source.readinto(buffer)

    def close(self) -> None:
        """Close the socket too."""
        self._source.close()
        super().close()


class _TimelyResponse(HTTPResponse):
    """A response whose headers and body arrive until a deadline."""

    def __init__(self, sock: socket.socket, *args: Any, deadline: float, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_TimelyReads(sock, self.fp.detach(), deadline))


class _Timely(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Opens URLs whose responses arrive until a deadline, also those of a proxy."""

    def __init__(self, deadline: float) -> None:
        super().__init__()
        self._deadline = deadline

    def do_open(self, http_class: Callable[..., HTTPConnection], *args: Any, **options: Any) -> HTTPResponse:
        """Open a URL with connections that make such responses."""

        def connection_to(*to: Any, **how: Any) -> HTTPConnection:
            connection = http_class(*to, **how)
            connection.response_class = partial(_TimelyResponse, deadline=self._deadline)  # type: ignore[assignment]
            return connection

        return super().do_open(connection_to, *args, **options)


def _open(opener: urllib.request.OpenerDirector, url: str) -> Any:
    try:
        return opener.open(url, timeout=_FETCH_SECONDS)
    except urllib.error.HTTPError as error:
        # The error is also the response, and holds the connection.
        error.close()
        raise


def _fetch(url: str) -> Mapping[str, PyJWK]:
    opener = urllib.request.build_opener(_NoRedirects(), _Timely(time.monotonic() + _FETCH_SECONDS))
    body = b""
    with _open(opener, url) as response:
        while chunk := response.read1(_CHUNK_BYTES):
            body += chunk
            if len(body) > _FETCH_BYTES:
                raise ValueError("the response is too long")
    values = json.loads(body)["keys"]
    if not isinstance(values, list) or len(values) > _MOST_KEYS:
        raise ValueError("not a list of a few keys")
    keys = {key_id: key for value in values for key_id, key in _keys(value)}
    if not keys:
        raise ValueError("no keys")
    return keys


def _keys(value: Any) -> Iterator[tuple[str, PyJWK]]:
    """The key of a member of a set, with its id; none if it cannot be read, is for encryption, or is not public."""
    try:
        key = PyJWK(value)
    except Exception:  # noqa: BLE001 # PyJWT raises any for values of the wrong types, and the other keys may be good
        return
    # Anyone could sign with a secret or a private key that is published.
    verifies = hasattr(key.key, "verify") and key.public_key_use in (None, "sig")
    if verifies and isinstance(key.key_id, str):
        yield key.key_id, key
