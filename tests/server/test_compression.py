"""Compression: what an Accept-Encoding header takes, from which size on, and that large bodies stop nobody."""

from __future__ import annotations

import asyncio
import gzip

import pytest
from starlette.responses import Response

from schema.errors import RequestError
from server.compression import Compression, Encoding

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
def test_an_encoding_is_chosen_as_rfc_9110_has_it(headers: list[str], accepted: Encoding | None) -> None:
    """By weights, names before the wildcard; identity is taken unless it is refused, and without the header nothing else."""
    scope = {"headers": [(b"accept-encoding", header.encode()) for header in headers]}
    if accepted is REFUSED:
        with pytest.raises(RequestError):
            Compression(0).accepted(scope)
    else:
        assert Compression(0).accepted(scope) is accepted


def test_what_is_small_is_compressed_only_for_those_who_take_nothing_else() -> None:
    """From the size on that is set; never where it is off, and who takes nothing but gzip is refused then."""
    compression = Compression(1000)
    assert [compression.encodes(Encoding.GZIP, size) for size in (0, 999, 1000)] == [False, False, True]
    assert [compression.encodes(Encoding.ONLY_GZIP, size) for size in (0, 1000)] == [True, True]
    assert not compression.encodes(Encoding.IDENTITY, 1 << 30)
    off = Compression("off")
    assert not off.encodes(off.accepted({"headers": [(b"accept-encoding", b"gzip")]}), 1 << 30)
    with pytest.raises(RequestError):
        off.accepted({"headers": [(b"accept-encoding", b"gzip, identity;q=0")]})


async def test_a_large_answer_is_compressed_while_others_are_served() -> None:
    """The event loop goes on turning until it is done."""
    body = b"".join(b'{"orderKey":"%d"},' % key for key in range(1_000_000))
    response = Response(body)
    compressing = asyncio.create_task(Compression(0).apply(response))
    turns = 0
    while not compressing.done():
        await asyncio.sleep(0)  # the others have their turn
        turns += 1
    assert turns > 10, "inline it would be done in the first"
    assert gzip.decompress(response.body) == body
    assert response.headers["content-length"] == str(len(response.body))
