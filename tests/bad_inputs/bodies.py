"""Bad bodies: not JSON, not a JSON object, too long, too slow, or incomplete."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Final

from tests.bad_inputs.case import GRAPHQL, NEW, OLD, ORDER, Case, Sent, fine, post, refused, request, silent

BODY_BYTES: Final = 2_097_152
_GOOD: Final = json.dumps({"query": ORDER}).encode()
_TYPE: Final = ("Content-Type", OLD)
_ACCEPT: Final = ("Accept", NEW)
_NO_JSON: Final = refused(400, "BODY_INVALID")
_TOO_MANY: Final = refused(400, "LIMIT_EXCEEDED", limit="structure")
_TOO_LARGE: Final = refused(413, "BODY_TOO_LARGE", closed=True)


def _with(variables: bytes) -> bytes:
    """A good query with these variables, which it does not use."""
    return _GOOD[:-1] + b', "variables": {"a": ' + variables + b"}}"


def _declared(length: str, body: bytes, *, ended: bool = False) -> Sent:
    head = request("POST", GRAPHQL, _TYPE, _ACCEPT, ("Content-Length", length), length=False)
    return Sent(head.content + body, ended=ended)


def _chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n", ended: bool = False) -> Sent:
    head = request("POST", GRAPHQL, _TYPE, _ACCEPT, ("Transfer-Encoding", "chunked"), length=False)
    parts = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return Sent(head.content + parts + end, ended=ended)


def _encoded(encoding: str, body: bytes) -> Sent:
    return post(body, ("Content-Encoding", encoding))


_BYTES: Final[dict[str, bytes]] = {
    "empty": b"",
    "white-space": b" \r\n\t ",
    "a-number": b"1",
    "null": b"null",
    "a-string": b'"{ __typename }"',
    "true": b"true",
    "open-brackets": b"[" * 20_000,
    "open-braces": b'{"a":' * 20_000,
    "deeper-than-json-is-read": _with(b"[" * 2_000 + b"]" * 2_000),
    "number-of-5000-digits": _with(b"9" * 5_000),
    "number-beyond-doubles": _with(b"1e400"),
    "nan": _with(b"NaN"),
    "infinity": _with(b"-Infinity"),
    "leading-zero": _with(b"01"),
    "plus-sign": _with(b"+1"),
    "hexadecimal": _with(b"0x1f"),
    "no-utf-8": b'{"query": "{ \xff }"}',
    "truncated-utf-8": b'{"query": "\xe2\x82',
    "overlong-utf-8": b'{"query": "{ \xc0\xaf }"}',
    "utf-8-of-a-surrogate": b'{"query": "{ \xed\xa0\x80 }"}',
    "escape-of-half-a-surrogate": _with(b'"\\ud800"'),
    "byte-order-mark": b"\xef\xbb\xbf" + _GOOD,
    "utf-16": _GOOD.decode().encode("utf-16"),
    "utf-16-big-endian": _GOOD.decode().encode("utf-16-be"),
    "utf-32": _GOOD.decode().encode("utf-32-le"),
    "nul-bytes": b"\x00" * 64,
    "nul-after-the-end": _GOOD + b"\x00",
    "raw-line-break-in-a-string": b'{"query": "{ __typename\n}"}',
    "two-objects": _GOOD + _GOOD,
    "trailing-comma": _GOOD[:-1] + b",}",
    "single-quotes": _GOOD.replace(b'"', b"'"),
    "bare-key": b'{query: "{ __typename }"}',
    "a-comment": _GOOD + b" // so it goes",
    "cut-off": _GOOD[:-5],
    "gzip-without-content-encoding": gzip.compress(_GOOD),
    "a-form": b"query=%7B__typename%7D",
    "a-pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07os.path\x94.",
}

CASES: Final = (
    *(Case(name, post(body), _NO_JSON) for name, body in _BYTES.items()),
    Case("more-open-brackets", post(b"[" * 100_000), _TOO_MANY),
    Case("more-open-braces", post(b'{"a":' * 100_000), _TOO_MANY),
    Case("the-same-as-plain-json", post(b"[", accept=OLD), _NO_JSON),
    Case(
        "key-twice-the-last-counts",
        post(b'{"query": "{ nothing }", "query": ' + json.dumps(ORDER).encode() + b"}"),
        fine(),
    ),
    Case("deep-and-not-looked-at", post(_with(b"[" * 90 + b"]" * 90)), fine()),
    Case("too-deep", post(_with(b"[" * 900 + b"]" * 900)), refused(400, "LIMIT_EXCEEDED", limit="variableDepth")),
    Case("a-long-unknown-key", post(_GOOD[:-1] + b', "' + b"k" * 1_000_000 + b'": 1}'), fine()),
    Case("white-space-around", post(b" \n\t" * 1_000 + _GOOD + b"\r\n" * 1_000), fine()),
    Case("as-long-as-may-be", post(_GOOD + b" " * (BODY_BYTES - len(_GOOD))), fine()),
    Case("longer-by-one", post(_GOOD + b" " * (BODY_BYTES + 1 - len(_GOOD))), _TOO_LARGE),
    Case("ten-gigabytes-declared", _declared(str(10 << 30), b"{"), _TOO_LARGE),
    Case("chunks-too-long-together", _chunked(*[b" " * 65_536] * 33), _TOO_LARGE),
    Case("one-chunk-too-long", _chunked(b" " * (BODY_BYTES + 1)), _TOO_LARGE),
    Case("chunk-declared-too-long", _chunked(end=b"7fffffff\r\n" + b" " * 2_200_000), _TOO_LARGE),
    Case("chunks-of-a-byte", _chunked(*(bytes([byte]) for byte in _GOOD)), fine()),
    Case(
        "chunks-with-extension-and-trailer",
        _chunked(end=b"%x;a=b\r\n%s\r\n0\r\nX-After: 1\r\n\r\n" % (len(_GOOD), _GOOD)),
        fine(),
    ),
    Case("chunk-size-is-a-word", _chunked(end=b"size\r\n{}\r\n0\r\n\r\n"), refused(400, "HTTP_INVALID", closed=True)),
    Case("chunk-size-below-zero", _chunked(end=b"-2\r\n{}\r\n0\r\n\r\n"), refused(400, "HTTP_INVALID", closed=True)),
    Case(
        "chunk-size-overflows",
        _chunked(end=b"f" * 17 + b"\r\n{}\r\n0\r\n\r\n"),
        refused(400, "HTTP_INVALID", closed=True),
    ),
    Case(
        "chunk-longer-than-it-says",
        _chunked(end=b"2\r\n" + _GOOD + b"\r\n0\r\n\r\n"),
        refused(400, "HTTP_INVALID", closed=True),
    ),
    Case("chunks-without-an-end", _chunked(_GOOD, end=b"", ended=True), silent()),
    Case("shorter-than-it-says", _declared("999", _GOOD, ended=True), silent()),
    Case("nothing-of-the-declared-body", _declared("999", b"", ended=True), silent()),
    Case("stops-in-the-middle", _declared("999", b"{"), refused(408, "BODY_TOO_SLOW", closed=True), "hasty"),
    Case("gzip", _encoded("gzip", gzip.compress(_GOOD)), refused(415, "CONTENT_ENCODING_UNSUPPORTED")),
    Case("gzip-in-capitals", _encoded("GZIP", gzip.compress(_GOOD)), refused(415, "CONTENT_ENCODING_UNSUPPORTED")),
    Case("deflate", _encoded("deflate", zlib.compress(_GOOD)), refused(415, "CONTENT_ENCODING_UNSUPPORTED")),
    Case("brotli", _encoded("br", _GOOD), refused(415, "CONTENT_ENCODING_UNSUPPORTED")),
    Case(
        "identity-then-gzip",
        _encoded("identity, gzip", gzip.compress(_GOOD)),
        refused(415, "CONTENT_ENCODING_UNSUPPORTED"),
    ),
    Case(
        "a-bomb-in-gzip",
        _encoded("gzip", gzip.compress(b" " * 50_000_000)),
        refused(415, "CONTENT_ENCODING_UNSUPPORTED"),
    ),
    Case("identity", _encoded("identity", _GOOD), fine()),
)
