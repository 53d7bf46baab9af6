"""Compression: what Accept-Encoding accepts, from which size on, and that large bodies do not block the event loop."""

from __future__ import annotations

import asyncio
import gzip
import threading

import pytest
from starlette.responses import Response

from schema.errors import RequestError
from server.http import compression
from server.http.compression import Compression, Encoding
from tests.servers.process import PATIENCE_SECONDS

REFUSED = None


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [
        ([], Encoding.IDENTITY),
        ([""], Encoding.IDENTITY),
        (["identity"], Encoding.IDENTITY),
        (["br, zstd, deflate"], Encoding.IDENTITY),
        (["gzip"], Encoding.GZIP),
        (["x-gzip"], Encoding.GZIP),
        (["GZip ; Q=0.1"], Encoding.GZIP),
        (["gzip, deflate, br, zstd"], Encoding.GZIP),
        (["br", "gzip;q=0.5"], Encoding.GZIP),
        (["*"], Encoding.GZIP),
        (["gzip, identity"], Encoding.GZIP),
        (["gzip;q=0.5, identity;q=0.4"], Encoding.GZIP),
        (["gzip;q=0.5, identity"], Encoding.IDENTITY),
        (["gzip;q=0"], Encoding.IDENTITY),
        (["gzip;q=0.000, *"], Encoding.IDENTITY),
        (["*;q=0.5, identity"], Encoding.IDENTITY),
        (["gzip;q=high"], Encoding.IDENTITY),
        (["gzip, identity;q=high"], Encoding.GZIP),
        (["gzip, identity;q=0"], Encoding.ONLY_GZIP),
        (["gzip;q=0.1, *;q=0"], Encoding.ONLY_GZIP),
        (["*, identity;q=0"], Encoding.ONLY_GZIP),
        (["identity;q=0"], REFUSED),
        (["*;q=0"], REFUSED),
        (["br, identity;q=0"], REFUSED),
        (["gzip;q=0, *;q=0"], REFUSED),
    ],
)
def test_an_encoding_is_chosen_as_rfc_9110_says(headers: list[str], accepted: Encoding | None) -> None:
    """By weights, and names before the wildcard. Identity is accepted unless it is refused; without a header, only it."""
    scope = {"headers": [(b"accept-encoding", header.encode()) for header in headers]}
    if accepted is REFUSED:
        with pytest.raises(RequestError):
            Compression(0).accepted(scope)
    else:
        assert Compression(0).accepted(scope) is accepted


def test_a_small_response_is_compressed_only_for_a_client_that_accepts_nothing_else() -> None:
    """Large ones are for any that accepts gzip. If compression is off, a client that accepts only gzip is refused."""
    on = Compression(1000)
    assert [on.encodes(Encoding.GZIP, size) for size in (0, 999, 1000)] == [False, False, True]
    assert [on.encodes(Encoding.ONLY_GZIP, size) for size in (0, 1000)] == [True, True]
    assert not on.encodes(Encoding.IDENTITY, 1 << 30)
    off = Compression("off")
    assert not off.encodes(off.accepted({"headers": [(b"accept-encoding", b"gzip")]}), 1 << 30)
    with pytest.raises(RequestError):
        off.accepted({"headers": [(b"accept-encoding", b"gzip, identity;q=0")]})


async def test_a_large_response_does_not_block_other_requests_while_it_is_compressed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The event loop goes on while a thread compresses."""
    body = b"".join(b'{"orderKey":"%d"},' % key for key in range(50_000))
    response = Response(body)
    compress, loops_thread = compression._compressed, threading.get_ident()  # noqa: SLF001 # it has no public name
    others_served, beside = threading.Event(), []

    def compressed(given: bytes) -> bytes:
        # Wait until the event loop has served others. Without a thread it could not.
        beside.append(threading.get_ident() != loops_thread and others_served.wait(PATIENCE_SECONDS))
        return compress(given)

    monkeypatch.setattr(compression, "_compressed", compressed)
    compressing = asyncio.create_task(Compression(0).apply(response))
    await asyncio.sleep(0)  # let the other tasks run
    others_served.set()
    await compressing
    assert beside == [True]
    assert gzip.decompress(response.body) == body
    assert response.headers["content-length"] == str(len(response.body))
