"""Responses that a connection itself writes, as bytes, for requests that never reach the application."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import orjson

from schema.errors import Reason, RequestError, UnavailableError
from server.http.error_response import present_refusal, refusal_headers
from server.http.negotiation import JSON
from server.http.request_middleware import EVERY_ANSWER

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

_READABLE: Final = ((b"access-control-expose-headers", b"retry-after"), (b"vary", b"origin"))


def answer_of(
    error: RequestError | UnavailableError, others: Iterable[tuple[bytes, bytes]], *, keep: bool = False
) -> bytes:
    """A complete HTTP response for an error.

    Args:
        error: the error.
        others: further headers: the date, and CORS.
        keep: whether the connection serves another request after it.
    """
    head, rest = _parts(isinstance(error, RequestError), error.reason, error.message, keep)
    return b"".join([head, *(b"%s: %s\r\n" % header for header in others), rest])


def readable_by(headers: Iterable[tuple[bytes, bytes]], allowed: Collection[str]) -> tuple[tuple[bytes, bytes], ...]:
    """The CORS headers that let a page of an allowed origin read the response to a request with these headers."""
    if allowed:
        for name, value in headers:
            if name == b"origin" and value.decode("latin-1") in allowed:
                return (b"access-control-allow-origin", value), *_READABLE
    return ()


@cache
def _parts(of_request: bool, reason: Reason, message: str, keep: bool) -> tuple[bytes, bytes]:  # noqa: FBT001 # a key
    """The bytes before and after the headers that vary. The cache has one entry for each refusal that occurs here."""
    error = RequestError(reason, message) if of_request else UnavailableError(reason, message)
    answer, status = present_refusal(error)
    body = orjson.dumps(answer)
    headers: Mapping[str, str] = {
        "content-type": f"{JSON}; charset=utf-8",
        "cache-control": "no-store",
        **EVERY_ANSWER,
        **refusal_headers(error),
        **({} if keep else {"connection": "close"}),
        "content-length": str(len(body)),
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode(), f"{lines}\r\n".encode() + body
