"""Bad callers: tokens that are forged, expired, issued for another audience or user, or not tokens at all."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import jwt

from tests.bad_inputs.case import ORDER, Case, Expected, Header, Sent, ask, fine, get, partly, refused
from tests.server.auth.test_jwt import (
    raw_claims,
    segment,
    signed_with_the_public_key,
    strangers,
    tampered,
    unsigned,
    with_claim,
)
from tests.servers.issuer import AUDIENCE, ISSUER, Issuer, good_claims

if TYPE_CHECKING:
    from collections.abc import Callable

_MISSING: Final = refused(401, "UNAUTHENTICATED", headers={"www-authenticate": "Bearer"})
_BAD: Final = refused(401, "UNAUTHENTICATED", headers={"www-authenticate": 'Bearer error="invalid_token"'})
_CHANGE: Final = "mutation { setOrderStatus(input: {orderKey: 1, status: OPEN}) { replayed } }"
_NOW: Final = time.time


def _with(*headers: Header) -> Sent:
    return ask(ORDER, None, *headers)


def _bearing(token: str, document: str = ORDER) -> Sent:
    return ask(document, None, ("Authorization", f"Bearer {token}"))


def _case(name: str, forge: Callable[[Issuer], str], expected: Expected, document: str = ORDER) -> Case:
    return Case(name, lambda issuer: _bearing(forge(issuer), document), expected, server="guarded")


_FORGED: Final[dict[str, Callable[[Issuer], str]]] = {
    "alg-none": lambda _: unsigned({"alg": "none", "kid": "rsa"}),
    "alg-none-with-a-signature": lambda issuer: (
        unsigned({"alg": "none", "kid": "rsa"}) + issuer.token().rpartition(".")[2]
    ),
    "alg-missing": lambda _: unsigned({"kid": "rsa"}),
    "alg-is-a-list": lambda _: unsigned({"alg": ["RS256"], "kid": "rsa"}),
    "hs256-with-the-public-key": signed_with_the_public_key,
    "alg-not-allowed": lambda issuer: jwt.encode(good_claims(), issuer.keys["rsa"], "RS512", {"kid": "rsa"}),
    "alg-of-another-key": lambda issuer: issuer.token("rsa", header={"kid": "ec"}),
    "tampered-claims": tampered,
    "signature-missing": lambda issuer: issuer.token().rpartition(".")[0] + ".",
    "a-strangers-key": strangers,
    "kid-unknown": lambda issuer: issuer.token(header={"kid": "other"}),
    "kid-missing": lambda issuer: jwt.encode(good_claims(), issuer.keys["rsa"], "RS256"),
    "kid-is-a-path": lambda issuer: issuer.token(header={"kid": "../../../../dev/null"}),
    "kid-is-sql": lambda issuer: issuer.token(header={"kid": "' UNION SELECT 'x"}),
    "kid-is-a-number": lambda _: unsigned({"alg": "RS256", "kid": 1}),
    "jwk-in-the-header": lambda issuer: issuer.token(
        header={"kid": "mine", "jwk": {"kty": "RSA", "n": "AQAB", "e": "AQAB"}}
    ),
    "jku-in-the-header": lambda issuer: issuer.token(header={"kid": "mine", "jku": "http://127.0.0.1:1/keys"}),
    "crit-in-the-header": lambda issuer: issuer.token(header={"crit": ["exp"], "exp": 1}),
    "another-issuer": lambda issuer: issuer.token(iss="https://evil.example"),
    "another-issuer-by-a-slash": lambda issuer: issuer.token(iss=f"{ISSUER}/"),
    "another-audience": lambda issuer: issuer.token(aud="billing"),
    "another-audience-by-case": lambda issuer: issuer.token(aud=AUDIENCE.upper()),
    "exp-missing": lambda issuer: issuer.token(exp=None),
    "sub-missing": lambda issuer: issuer.token(sub=None),
    "iat-missing": lambda issuer: issuer.token(iat=None),
    "exp-is-a-string": lambda issuer: with_claim(issuer, "exp", '"99999999999"'),
    "exp-is-infinite": lambda issuer: with_claim(issuer, "exp", "1e400"),
    "nbf-is-false": lambda issuer: with_claim(issuer, "nbf", "false"),
    "iat-in-90-seconds": lambda issuer: issuer.token(iat=int(_NOW()) + 90),
    "nbf-in-90-seconds": lambda issuer: issuer.token(nbf=int(_NOW()) + 90),
    "expired-for-31-seconds": lambda issuer: issuer.token(exp=int(_NOW()) - 31),
    "expired-in-1970": lambda issuer: issuer.token(exp=0),
    "sub-with-line-breaks": lambda issuer: issuer.token(sub="ann\r\nadmin"),
    "sub-is-a-number": lambda issuer: issuer.token(sub=7),
    "payload-is-a-list": lambda issuer: raw_claims(issuer, "[]"),
    "payload-is-no-json": lambda issuer: raw_claims(issuer, "{"),
    "payload-nested-deeply": lambda _: f"{segment({'alg': 'RS256', 'kid': 'rsa'})}.{segment('[' * 3_000)}.",
    "one-segment": lambda _: "abc",
    "five-segments": lambda issuer: f"{issuer.token()}.a.b",
    "9-kb": lambda issuer: issuer.token(padding="x" * 9_000),
    "white-space-within": lambda issuer: issuer.token().replace(".", " .", 1),
    "empty": lambda _: "",
}

CASES: Final = (
    *(_case(name, forge, _BAD) for name, forge in _FORGED.items()),
    Case("no-header", _with(), _MISSING, server="guarded"),
    Case("empty-header", _with(("Authorization", "")), _MISSING, server="guarded"),
    Case("basic", _with(("Authorization", "Basic YW5uOnNlY3JldA==")), _MISSING, server="guarded"),
    Case("token-without-bearer", lambda issuer: _with(("Authorization", issuer.token())), _MISSING, server="guarded"),
    Case(
        "two-headers",
        lambda issuer: _with(*[("Authorization", f"Bearer {issuer.token()}")] * 2),
        _BAD,
        server="guarded",
    ),
    Case(
        "token-in-the-url",
        lambda issuer: get({"query": ORDER, "access_token": issuer.token()}),
        _MISSING,
        server="guarded",
    ),
    Case(
        "token-in-a-cookie",
        lambda issuer: _with(("Cookie", f"authorization=Bearer {issuer.token()}")),
        _MISSING,
        server="guarded",
    ),
    Case(
        "forwarded-user-instead",
        _with(("X-Forwarded-User", "ann"), ("X-Forwarded-Email", "ann@example.com")),
        _MISSING,
        server="guarded",
    ),
    _case("expired-for-5-seconds", lambda issuer: issuer.token(exp=int(_NOW()) - 5), fine()),
    _case("bearer-twice", lambda issuer: f"Bearer {issuer.token()}", _BAD),
    _case("role-missing", lambda issuer: issuer.token(roles=["reader"]), partly(None, "ROLE_MISSING"), _CHANGE),
    _case("no-roles", lambda issuer: issuer.token(roles=None), partly({"order": None}, "ROLE_MISSING")),
    _case(
        "role-in-another-case", lambda issuer: issuer.token(roles=["ADMIN"]), partly({"order": None}, "ROLE_MISSING")
    ),
    _case(
        "roles-are-an-object",
        lambda issuer: issuer.token(roles={"admin": True}),
        partly({"order": None}, "ROLE_MISSING"),
    ),
    _case(
        "admin-fields-as-a-writer",
        lambda issuer: issuer.token(),
        partly({"lakebase": None}, "ROLE_MISSING"),
        "{ lakebase { instance { name } } }",
    ),
)
