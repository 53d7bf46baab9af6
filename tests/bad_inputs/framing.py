"""Bad framing: bytes that are not HTTP, ambiguous HTTP, and misused connections."""

from __future__ import annotations

import json
from typing import Final

from tests.bad_inputs.case import FOUND, GRAPHQL, NEW, ORDER, Case, Expected, Sent, fine, refused, silent

_BODY: Final = json.dumps({"query": ORDER}).encode()
_LENGTH: Final = f"Content-Length: {len(_BODY)}"
_HEAD: Final = (f"POST {GRAPHQL} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", f"Accept: {NEW}")
_CHUNKS: Final = b"%x\r\n%s\r\n0\r\n\r\n" % (len(_BODY), _BODY)
_NO_HTTP: Final = refused(400, "HTTP_INVALID", closed=True)
_LARGE: Final = refused(431, "HEADERS_TOO_LARGE", closed=True)
_SLOW: Final = refused(408, "HEADERS_TOO_SLOW", closed=True)
_ALIVE: Final = {"status": "alive"}
# The upgrade request of Java's and curl's clients.
_HTTP_2: Final = ("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQ")
_PROBE: Final = b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def _lines(*lines: str, body: bytes = b"") -> bytes:
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1") + body


def _with(*headers: str, body: bytes = _BODY) -> Sent:
    """A good request with additional headers."""
    return Sent(_lines(*_HEAD, *headers, body=body))


def _get(target: str, *headers: str, version: str = "HTTP/1.1") -> Sent:
    return Sent(_lines(f"GET {target} {version}", "Host: 127.0.0.1", *headers))


_GOOD: Final = _with(_LENGTH).content

CASES: Final = (
    Case("length-and-chunks", _with(_LENGTH, "Transfer-Encoding: chunked", body=_CHUNKS), _NO_HTTP),
    Case("chunks-and-length", _with("Transfer-Encoding: chunked", _LENGTH, body=_CHUNKS), _NO_HTTP),
    Case("two-lengths", _with(_LENGTH, "Content-Length: 3"), _NO_HTTP),
    Case("the-same-length-twice", _with(_LENGTH, _LENGTH), _NO_HTTP),
    Case("two-lengths-in-one", _with(f"{_LENGTH}, {len(_BODY)}"), _NO_HTTP),
    Case("length-below-zero", _with("Content-Length: -1"), _NO_HTTP),
    Case("length-with-a-plus", _with(f"Content-Length: +{len(_BODY)}"), _NO_HTTP),
    Case("length-in-hexadecimal", _with("Content-Length: 0x10"), _NO_HTTP),
    Case("length-of-nothing", _with("Content-Length:"), _NO_HTTP),
    Case("length-of-30-digits", _with(f"Content-Length: {'9' * 30}"), _NO_HTTP),
    Case("chunked-twice", _with("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=_CHUNKS), _NO_HTTP),
    Case("chunked-then-identity", _with("Transfer-Encoding: chunked, identity", body=_CHUNKS), _NO_HTTP),
    Case("another-transfer-encoding", _with("Transfer-Encoding: gzip", body=_CHUNKS), _NO_HTTP),
    Case("gzip-then-chunked", _with("Transfer-Encoding: gzip, chunked", body=_CHUNKS), _NO_HTTP),
    Case("chunked-in-another-spelling", _with("Transfer-Encoding: xchunked", body=_CHUNKS), _NO_HTTP),
    Case(
        "chunked-in-http-1.0",
        Sent(_lines(f"POST {GRAPHQL} HTTP/1.0", *_HEAD[1:], "Transfer-Encoding: chunked", body=_CHUNKS)),
        _NO_HTTP,
    ),
    Case("bare-line-feeds", Sent(_PROBE.replace(b"\r\n", b"\n")), _NO_HTTP),
    Case("bare-carriage-returns", Sent(_PROBE.replace(b"\r\n", b"\r")), _NO_HTTP),
    Case(
        "bare-line-feed-in-a-chunk", _with("Transfer-Encoding: chunked", body=_CHUNKS.replace(b"\r\n", b"\n")), _NO_HTTP
    ),
    Case("folded-header", _with("X-Folded: a", " b", _LENGTH), _NO_HTTP),
    Case("space-before-the-colon", _with(f"Content-Length : {len(_BODY)}"), _NO_HTTP),
    Case("header-without-a-colon", _with("Nonsense", _LENGTH), _NO_HTTP),
    Case("header-without-a-name", _with(": nothing", _LENGTH), _NO_HTTP),
    Case("header-name-with-a-space", _with("Two Words: 1", _LENGTH), _NO_HTTP),
    Case("nul-in-a-header", _with("X-Nul: a\0b", _LENGTH), _NO_HTTP),
    Case("carriage-return-in-a-header", _with("X-Cr: a\rb", _LENGTH), _NO_HTTP),
    Case("header-of-17-kb", _with(f"X-Long: {'x' * 17_408}", _LENGTH), _LARGE),
    Case("header-of-a-megabyte", _with(f"X-Long: {'x' * 1_048_576}", _LENGTH), _LARGE),
    Case("header-without-an-end", Sent(_lines(*_HEAD)[:-2] + b"X-Long: " + b"x" * 200_000), _LARGE),
    Case("101-headers", _with(*(f"X-H{n}: {n}" for n in range(101)), _LENGTH), _LARGE),
    Case("10000-headers", _with(*(f"X-H{n}: {n}" for n in range(10_000)), _LENGTH), _LARGE),
    Case("address-of-70-kb", _get(f"{GRAPHQL}?query={'x' * 71_680}"), _LARGE),
    Case("no-host", Sent(_lines("GET /livez HTTP/1.1")), _NO_HTTP),
    Case("two-hosts", Sent(_lines(*_HEAD, "Host: evil.example", _LENGTH, body=_BODY)), _NO_HTTP),
    Case("http-0.9", Sent(b"GET /livez\r\n\r\n"), _NO_HTTP),
    Case("http-2-preface", Sent(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), _NO_HTTP),
    Case("http-7.3", _get("/livez", version="HTTP/7.3"), _NO_HTTP),
    Case("another-protocol", Sent(_lines("GET /livez ICY/1.1", "Host: 127.0.0.1")), _NO_HTTP),
    Case("tls", Sent(bytes.fromhex("16030100c8010000c40303") + bytes(range(200))), _NO_HTTP),
    Case("ssh", Sent(b"SSH-2.0-OpenSSH_9.9\r\n"), _NO_HTTP),
    Case("postgres", Sent(bytes.fromhex("0000000804d2162f")), _NO_HTTP),
    Case("zeros", Sent(bytes(4_096)), _NO_HTTP),
    Case("method-in-lower-case", Sent(_PROBE.replace(b"GET", b"get")), _NO_HTTP),
    Case("an-unknown-method", Sent(_PROBE.replace(b"GET", b"BREW")), _NO_HTTP),
    Case("method-of-a-novel", Sent(b"G" * 100_000), _NO_HTTP),
    Case("bytes-that-are-no-address", _get("/\xff\xfe"), _NO_HTTP),
    Case("nul-in-the-address", _get("/livez\0"), _NO_HTTP),
    Case("white-space-in-the-address", _get("/livez /readyz"), _NO_HTTP),
    Case("connect", Sent(_lines("CONNECT 127.0.0.1:22 HTTP/1.1", "Host: 127.0.0.1:22")), _NO_HTTP),
    Case("a-whole-address", _get("http://127.0.0.1/livez"), fine(_ALIVE)),
    Case("a-path-of-dots", _get("/static/../../../../etc/passwd"), Expected(404)),
    Case("a-path-of-encoded-dots", _get("/static/%2e%2e/%2e%2e/%2e%2e/etc/passwd"), Expected(404)),
    Case("a-path-with-a-nul", _get("/static/%00"), Expected(404)),
    Case("empty-lines-before", Sent(b"\r\n\r\n" + _PROBE), fine(_ALIVE)),
    Case("http-1.0", _get("/livez", version="HTTP/1.0"), fine(_ALIVE, closed=True)),
    Case("http-1.0-without-a-host", Sent(_lines("GET /livez HTTP/1.0")), refused(403, "HOST_FORBIDDEN", closed=True)),
    Case("expect-100-continue", _with("Expect: 100-continue", _LENGTH), fine()),
    Case("expects-the-impossible", _with("Expect: 42-the-answer", _LENGTH), fine()),
    Case("upgrade-to-http-2", _with(*_HTTP_2, _LENGTH), fine()),
    Case("upgrade-to-http-2-of-a-get", _get("/livez", *_HTTP_2), fine(_ALIVE)),
    Case("upgrade-to-http-2-in-chunks", _with(*_HTTP_2, "Transfer-Encoding: chunked", body=_CHUNKS), _NO_HTTP),
    Case(
        "upgrade-to-http-2-that-trickles",
        Sent(_with(*_HTTP_2, _LENGTH).content, trickled_from=_with(*_HTTP_2, _LENGTH).content.index(_BODY) + 1),
        refused(408, "BODY_TOO_SLOW", closed=True),
        "hasty",
    ),
    Case("upgrade-to-an-unknown-protocol", _with("Upgrade: gopher", "Connection: upgrade", _LENGTH), fine()),
    Case("upgrade-to-a-websocket-by-post", _with("Upgrade: websocket", "Connection: upgrade", _LENGTH), _NO_HTTP),
    Case("a-hundred-in-one-go", Sent(_GOOD * 100), fine(FOUND, replies=100)),
    Case("good-then-bad", Sent(_GOOD + b"NONSENSE\r\n\r\n"), refused(400, "HTTP_INVALID", closed=True, replies=2)),
    Case(
        "smuggled-behind-a-length",
        Sent(_GOOD[:-1] + b"}" + b"GET /api/metrics HTTP/9\r\n\r\n"),
        refused(400, "HTTP_INVALID", closed=True, replies=2),
    ),
    Case("nothing-at-all", Sent(b"", ended=True), silent()),
    Case("half-a-request-line", Sent(b"POST /api/gr", ended=True), silent()),
    Case("half-of-the-headers", Sent(_GOOD[:80], ended=True), silent()),
    Case("headers-that-trickle", Sent(_GOOD[:100], trickled_from=0), _SLOW, "hasty"),
    Case("headers-that-stop", Sent(_GOOD[:80]), _SLOW, "hasty"),
    Case(
        "a-body-that-trickles",
        Sent(_GOOD, trickled_from=_GOOD.index(_BODY)),
        refused(408, "BODY_TOO_SLOW", closed=True),
        "hasty",
    ),
)
