"""Bad proxy headers: a caller forges the headers that name the user, the address or the host."""

from __future__ import annotations

from typing import Final

from tests.bad_inputs.case import (
    FOUND,
    GRAPHQL,
    OLD,
    ORDER,
    Case,
    Expected,
    Header,
    Sent,
    ask,
    fine,
    get,
    partly,
    refused,
    request,
)

_CHANGE: Final = "mutation { clearOrderStatus(input: {orderKey: 1}) { replayed } }"
_STREAM: Final = f"{GRAPHQL}/stream"
# A Host that is not a host name gets a 400 (RFC 9112, section 3.2).
_NO_HOST: Final = refused(400, "HTTP_INVALID")
_UNKNOWN: Final = refused(401, "UNAUTHENTICATED")
_ANN: Final = ("X-Forwarded-Email", "ann@example.com")
_BOB: Final = ("X-Forwarded-Email", "bob@example.com")


def _ask(*headers: Header, document: str = ORDER) -> Sent:
    return ask(document, None, *headers)


def _stream(*headers: Header) -> Sent:
    return request("GET", f"{_STREAM}?query=%7B__typename%7D", ("Accept", "text/event-stream"), *headers)


def _host(*hosts: str) -> Sent:
    body = b'{"query": "{ order(orderKey: 1) { orderKey } }"}'
    given = [("Host", host) for host in hosts]
    return request("POST", GRAPHQL, *given, ("Content-Type", OLD), body=body, host=None)


def _behind(name: str, sent: Sent, expected: Expected) -> Case:
    return Case(name, sent, expected, server="proxied")


CASES: Final = (
    Case("forged-user-without-authentication", _ask(("X-Forwarded-User", "boss"), _ANN), fine()),
    Case("forged-for", _ask(("X-Forwarded-For", "10.0.0.1, 127.0.0.1, evil")), fine()),
    Case(
        "for-of-500-entries",
        _ask(("X-Forwarded-For", ", ".join(f"10.0.{n // 250}.{n % 250}" for n in range(500)))),
        fine(),
    ),
    Case("proto-of-a-script", _ask(("X-Forwarded-Proto", "javascript")), fine()),
    Case("proto-with-a-line-break", _ask(("X-Forwarded-Proto", "https\\r\\nSet-Cookie: a=b")), fine()),
    Case("forwarded-of-rfc-7239", _ask(("Forwarded", 'for="[::1]";host=evil.example;proto=javascript')), fine()),
    Case("real-ip-of-a-novel", _ask(("X-Real-Ip", "1" * 4_000)), fine()),
    Case("original-url", _ask(("X-Original-Url", "/api/metrics"), ("X-Rewrite-Url", "/api/metrics")), fine()),
    Case("host-of-elsewhere", _host("evil.example"), refused(403, "HOST_FORBIDDEN")),
    Case("host-that-begins-as-ours", _host("127.0.0.1.evil.example"), refused(403, "HOST_FORBIDDEN")),
    Case("host-with-a-user", _host("127.0.0.1@evil.example"), _NO_HOST),
    Case("host-with-a-path", _host("127.0.0.1/evil"), _NO_HOST),
    Case("host-of-digits", _host("2130706433"), refused(403, "HOST_FORBIDDEN")),
    Case("host-empty", _host(""), refused(403, "HOST_FORBIDDEN")),
    Case("host-not-ascii", _host("127.0.0.\xb9"), _NO_HOST),
    Case(
        "forwarded-host-as-ours",
        request(
            "POST", GRAPHQL, ("X-Forwarded-Host", "127.0.0.1"), ("Content-Type", OLD), body=b"{}", host="evil.example"
        ),
        refused(403, "HOST_FORBIDDEN"),
    ),
    Case("stream-of-another-origin", _stream(("Origin", "https://evil.example")), refused(403, "ORIGIN_FORBIDDEN")),
    Case("stream-of-the-origin-null", _stream(("Origin", "null")), refused(403, "ORIGIN_FORBIDDEN")),
    Case(
        "stream-of-a-forged-host",
        _stream(("Origin", "https://evil.example"), ("X-Forwarded-Host", "evil.example")),
        refused(403, "ORIGIN_FORBIDDEN"),
    ),
    _behind("nobody", _ask(), _UNKNOWN),
    _behind("user-empty", _ask(("X-Forwarded-Email", ""), ("X-Forwarded-User", " ")), _UNKNOWN),
    _behind("two-users", _ask(_BOB, _ANN), _UNKNOWN),
    _behind("the-same-user-twice", _ask(_ANN, _ANN), _UNKNOWN),
    _behind("user-with-line-separator", _ask(("X-Forwarded-Email", "ann\xe2\x80\xa8@example.com")), _UNKNOWN),
    _behind("user-of-a-novel", _ask(("X-Forwarded-Email", "a" * 4_000)), _UNKNOWN),
    _behind("preferred-name-instead", _ask(("X-Forwarded-Preferred-Username", "ann@example.com")), _UNKNOWN),
    _behind(
        "token-of-the-platform-instead",
        _ask(("X-Forwarded-Access-Token", "dapi-x"), ("Authorization", "Bearer x")),
        _UNKNOWN,
    ),
    _behind("underscores-for-hyphens", _ask(("X_Forwarded_Email", "ann@example.com")), _UNKNOWN),
    _behind("user-in-the-url", get({"query": ORDER, "x-forwarded-email": "ann@example.com"}), _UNKNOWN),
    _behind("user-without-the-role", _ask(_BOB, document=_CHANGE), partly(None, "ROLE_MISSING")),
    _behind(
        "name-with-a-lookalike-letter",
        _ask(("X-Forwarded-Email", "\xd0\xb0nn@example.com"), document=_CHANGE),
        partly(None, "ROLE_MISSING"),
    ),
    _behind(
        "ann-with-a-comma",
        _ask(("X-Forwarded-Email", "bob@example.com,ann@example.com"), document=_CHANGE),
        partly(None, "ROLE_MISSING"),
    ),
    _behind("bob-may-read", _ask(_BOB), fine(FOUND)),
)
