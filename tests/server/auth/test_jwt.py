"""AUTH_MODE=jwt, in the process: which tokens are accepted, and for whom."""

from __future__ import annotations

import base64
import hmac
import json
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from starlette.requests import HTTPConnection

from schema.errors import Reason, UnauthenticatedError
from schema.permissions import Role
from server.auth import jwks as keys_module
from server.auth import refreshed_value as kept
from server.auth.jwt import JwtAuthentication
from server.settings import Settings
from tests.servers.issuer import AUDIENCE, ISSUER, Issuer, good_claims, running_issuer
from tests.servers.process import PATIENCE_SECONDS
from tests.support.clock import Still
from tests.support.lookalikes import HIDDEN, LOOKALIKES, USER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import tzinfo

    from schema.permissions import Principal

# The wall clock stands still, so that a token gets no older while a slow machine checks it.
NOW = 1_795_608_000.25


class _StillDatetime(datetime):
    """The clock that PyJWT reads."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> _StillDatetime:
        """Always the same time."""
        return cls.fromtimestamp(NOW, tz)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Still:
    """The clock of the cached keys, which the test moves. Fetching them may take as long as it likes."""
    clock = Still()
    monkeypatch.setattr(time, "time", lambda: NOW)
    monkeypatch.setattr("jwt.api_jwt.datetime", _StillDatetime)
    for module in (kept, keys_module):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(keys_module, "_FETCH_SECONDS", PATIENCE_SECONDS)
    return clock


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """An issuer for this module."""
    with running_issuer() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def authentication(issuer: Issuer) -> JwtAuthentication:
    """The mode with a server's settings."""
    return believing(issuer)


def believing(issuer: Issuer, **settings: Any) -> JwtAuthentication:
    """The mode for an issuer's tokens, with these settings."""
    given = {name.lower(): value for name, value in issuer.settings().items()}
    return JwtAuthentication(Settings(database_url="postgresql://h/db", **{**given, **settings}))


async def principal(
    authentication: JwtAuthentication, *authorizations: str, init: dict[str, object] | None = None
) -> Principal:
    """The principal of a request with these Authorization headers."""
    headers = [(b"authorization", value.encode("latin-1")) for value in authorizations]
    return await authentication.principal(HTTPConnection({"type": "http", "headers": headers}), init)


async def refusal(authentication: JwtAuthentication, *authorizations: str) -> UnauthenticatedError:
    """The error of a request with these Authorization headers."""
    with pytest.raises(UnauthenticatedError) as refused:
        await principal(authentication, *authorizations)
    assert refused.value.reason is Reason.UNAUTHENTICATED
    return refused.value


def segment(value: object) -> str:
    """A segment of a token: bytes and text unchanged, anything else as JSON."""
    text = value if isinstance(value, str | bytes) else json.dumps(value)
    return base64.urlsafe_b64encode(text.encode() if isinstance(text, str) else text).rstrip(b"=").decode()


def unsigned(header: object, claims: object | None = None) -> str:
    """A token with this header and an empty signature."""
    return f"{segment(header)}.{segment(good_claims() if claims is None else claims)}."


def signed_with_the_public_key(issuer: Issuer) -> str:
    """A token signed by HS256 with the public key as its secret: the classic algorithm confusion."""
    signed = f"{segment({'alg': 'HS256', 'kid': 'rsa'})}.{segment(good_claims())}"
    return f"{signed}.{segment(hmac.digest(issuer.public_pem('rsa'), signed.encode(), 'sha256'))}"


def tampered(issuer: Issuer) -> str:
    """A token whose claims were replaced after it was signed."""
    header, _, signature = issuer.token().split(".")
    return f"{header}.{segment(good_claims(roles=['admin']))}.{signature}"


def strangers(_: Issuer) -> str:
    """A token with the id of a known key that was signed with another key."""
    return jwt.encode(good_claims(), rsa.generate_private_key(65537, 2048), "RS256", {"kid": "rsa"})


def raw_claims(issuer: Issuer, text: str) -> str:
    """A properly signed token whose payload is this text."""
    return jwt.PyJWS().encode(text.encode(), issuer.keys["rsa"], "RS256", {"kid": "rsa"})


def with_claim(issuer: Issuer, name: str, value: str) -> str:
    """A properly signed token with a claim whose JSON is this text."""
    claims = json.dumps(good_claims(**{name: 0}))
    return raw_claims(issuer, claims.replace(f'"{name}": 0', f'"{name}": {value}'))


def with_type(issuer: Issuer, kind: object) -> str:
    """A properly signed token whose header has a `typ` that PyJWT would not write."""
    signed = f"{segment({'alg': 'RS256', 'kid': 'rsa', 'typ': kind})}.{segment(good_claims())}"
    key: Any = issuer.keys["rsa"]
    return f"{signed}.{segment(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


ALGORITHM, MALFORMED, KID = "an algorithm that is not accepted", "is malformed", "kid"
BAD: dict[str, tuple[Callable[[Issuer], str], str]] = {
    "empty": (lambda _: "", MALFORMED),
    "words": (lambda _: "let me in", MALFORMED),
    "one segment": (lambda _: "abc", MALFORMED),
    "four segments": (lambda issuer: issuer.token() + ".x", MALFORMED),
    "not ascii": (lambda issuer: issuer.token() + "é", MALFORMED),
    "header is no json": (lambda _: f"{segment('{')}.{segment({})}.", MALFORMED),
    "header is a list": (lambda _: unsigned([]), MALFORMED),
    "header nested too deeply": (lambda _: f"{segment('[' * 5000)}.{segment({})}.", MALFORMED),
    "alg none": (lambda _: unsigned({"alg": "none", "kid": "rsa"}), ALGORITHM),
    "alg None in capitals": (lambda _: unsigned({"alg": "NONE", "kid": "rsa"}), ALGORITHM),
    "no alg": (lambda _: unsigned({"kid": "rsa"}), ALGORITHM),
    "alg is a list": (lambda _: unsigned({"alg": ["RS256"], "kid": "rsa"}), ALGORITHM),
    "HS256 with the public key": (signed_with_the_public_key, ALGORITHM),
    "alg that is not set": (
        lambda issuer: jwt.encode(good_claims(), issuer.keys["rsa"], "RS512", {"kid": "rsa"}),
        ALGORITHM,
    ),
    "alg of another key": (lambda issuer: issuer.token("rsa", header={"kid": "ec"}), ALGORITHM),
    "no signature": (lambda issuer: issuer.token().rpartition(".")[0] + ".", "signature"),
    "tampered": (tampered, "signature"),
    "a stranger's key": (strangers, "signature"),
    "unknown kid": (lambda issuer: issuer.token(header={"kid": "other"}), "does not publish"),
    "no kid": (lambda issuer: jwt.encode(good_claims(), issuer.keys["rsa"], "RS256"), KID),
    "kid is a number": (lambda _: unsigned({"alg": "RS256", "kid": 1}), MALFORMED),
    "crit of an unknown extension": (lambda issuer: issuer.token(header={"crit": ["exp"], "exp": 1}), MALFORMED),
    "crit is no list": (lambda issuer: issuer.token(header={"crit": "b64"}), MALFORMED),
    **{
        f"typ is {kind!r}": (lambda issuer, kind=kind: issuer.token(header={"typ": kind}), "of another type")  # type: ignore[misc] # the default binds it
        for kind in (
            "rt+jwt",
            "refresh",
            "id_token",
            "dpop+jwt",
            "secevent+jwt",
            "logout+jwt",
            "application/logout+jwt",
            "token-introspection+jwt",
            "JWS",
            "JWE",
            "application/jwt; charset=utf-8",
            "at+jwt ",
            "\uff2a\uff37\uff34",
        )
    },
    **{
        f"typ is {kind!r}": (lambda issuer, kind=kind: with_type(issuer, kind), "of another type")  # type: ignore[misc] # the default binds it
        for kind in ("", None, 1, ["JWT"], {"JWT": "JWT"}, True)
    },
    "payload is a list": (lambda issuer: raw_claims(issuer, "[]"), MALFORMED),
    "payload is no json": (lambda issuer: raw_claims(issuer, "{"), MALFORMED),
    "another issuer": (lambda issuer: issuer.token(iss="https://evil.example"), "another issuer"),
    "issuer with a slash more": (lambda issuer: issuer.token(iss=ISSUER + "/"), "another issuer"),
    "another audience": (lambda issuer: issuer.token(aud="billing"), "another audience"),
    "audience in capitals": (lambda issuer: issuer.token(aud=AUDIENCE.upper()), "another audience"),
    "audience is a number": (lambda issuer: issuer.token(aud=1), "another audience"),
    **{
        f"without {claim}": (lambda issuer, claim=claim: issuer.token(**{claim: None}), f"lacks the claim `{claim}`")  # type: ignore[misc] # the default binds it
        for claim in ("exp", "iat", "iss", "aud", "sub")
    },
    "sub is a number": (lambda issuer: issuer.token(sub=7), MALFORMED),
    "sub is blank": (lambda issuer: issuer.token(sub=" "), "does not hold a valid user name"),
    "sub with a line break": (lambda issuer: issuer.token(sub="ann\nadmin"), "does not hold a valid user name"),
    "sub of a novel": (lambda issuer: issuer.token(sub="a" * 321), "does not hold a valid user name"),
    **{
        f"{claim} is {value}": (lambda issuer, claim=claim, value=value: with_claim(issuer, claim, value), MALFORMED)  # type: ignore[misc] # the defaults bind them
        for claim, value in (
            ("exp", '"soon"'),
            ("exp", '"99999999999"'),
            ("exp", "[1]"),
            ("exp", "NaN"),
            ("exp", "Infinity"),
            ("exp", "1e400"),
            ("iat", '"now"'),
            ("iat", "true"),
            ("iat", "{}"),
            ("nbf", '"1"'),
            ("nbf", "false"),
            ("nbf", "null"),
        )
    },
    "expired for 31 s": (lambda issuer: issuer.token(exp=int(NOW) - 31), "has expired"),
    "expired in 1970": (lambda issuer: issuer.token(exp=0), "has expired"),
    "issued in 40 s": (lambda issuer: issuer.token(iat=int(NOW) + 40), "not valid yet"),
    "valid in 40 s": (lambda issuer: issuer.token(nbf=int(NOW) + 40), "not valid yet"),
    "9 KB": (lambda issuer: issuer.token(padding="x" * 9000), "longer than 8,192 bytes"),
}


@pytest.mark.parametrize("bad", BAD)
async def test_a_bad_token_is_refused(authentication: JwtAuthentication, issuer: Issuer, bad: str) -> None:
    """One sentence says what is wrong, and repeats nothing of the token."""
    forge, words = BAD[bad]
    token = forge(issuer)
    refused = await refusal(authentication, f"Bearer {token}")
    assert words in refused.message
    assert refused.challenge == 'Bearer error="invalid_token"'
    assert refused.__cause__ is None
    assert not any(part and part in refused.message for part in token.split(".") if len(part) > 3)


@pytest.mark.parametrize(
    ("authorizations", "words", "challenge"),
    [
        ((), "A token is required", "Bearer"),
        (("",), "has to be `Bearer`", "Bearer"),
        (("Basic YTpi",), "has to be `Bearer`", "Bearer"),
        (("Bearer",), MALFORMED, 'Bearer error="invalid_token"'),
        (("Bearer a.b.c", "Bearer a.b.c"), "more than one", 'Bearer error="invalid_token"'),
    ],
)
async def test_a_header_without_a_token_is_refused(
    authentication: JwtAuthentication, authorizations: tuple[str, ...], words: str, challenge: str
) -> None:
    """The header `WWW-Authenticate` asks for a token."""
    refused = await refusal(authentication, *authorizations)
    assert words in refused.message
    assert refused.challenge == challenge


@pytest.mark.parametrize(
    ("claims", "roles"),
    [
        ({}, {Role.WRITER}),
        ({"roles": None}, set()),
        ({"roles": "reader  admin unknown"}, {Role.READER, Role.ADMIN}),
        ({"roles": ["Admin", 1, None, ["admin"], "reader"]}, {Role.READER}),
        ({"roles": {"admin": True}}, set()),
        ({"roles": 3}, set()),
        (lambda now: {"exp": now - 29}, {Role.WRITER}),
        (lambda now: {"nbf": now + 29, "iat": now + 29}, {Role.WRITER}),
        (lambda now: {"exp": now + 0.5}, {Role.WRITER}),
        ({"exp": 10**300}, {Role.WRITER}),
        ({"aud": ["billing", AUDIENCE]}, {Role.WRITER}),
    ],
)
@pytest.mark.parametrize("key", ["rsa", "ec"])
async def test_a_good_token_gives_the_principal_and_its_roles(
    authentication: JwtAuthentication,
    issuer: Issuer,
    claims: dict[str, Any] | Callable[[float], dict[str, Any]],
    roles: set[Role],
    key: str,
) -> None:
    """Unknown roles are ignored; the user of a token without roles may do nothing."""
    given = claims(int(NOW)) if callable(claims) else claims
    before = time.monotonic()
    found = await principal(authentication, f"bearer {issuer.token(key, **given)}")
    assert (found.user, set(found.roles)) == ("ann", roles)
    assert found.expires_at is not None
    assert found.expires_at > before


@pytest.mark.parametrize("kind", ["JWT", "jwt", "Jwt", "at+jwt", "AT+JWT", "application/at+jwt", "Application/At+JWT"])
async def test_an_access_token_may_say_that_it_is_one(
    authentication: JwtAuthentication, issuer: Issuer, kind: str
) -> None:
    """In any case, as media types are compared."""
    assert (await principal(authentication, f"Bearer {issuer.token(header={'typ': kind})}")).user == "ann"


async def test_a_token_need_not_have_a_type(authentication: JwtAuthentication, issuer: Issuer) -> None:
    """RFC 7519 leaves it to the issuer."""
    signed = f"{segment({'alg': 'RS256', 'kid': 'rsa'})}.{segment(good_claims())}"
    key: Any = issuer.keys["rsa"]
    token = f"{signed}.{segment(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"
    assert (await principal(authentication, f"Bearer {token}")).user == "ann"


@pytest.mark.parametrize("other", LOOKALIKES)
async def test_the_tokens_user_is_spelled_as_in_the_token(
    authentication: JwtAuthentication, issuer: Issuer, other: str
) -> None:
    """Nothing is folded: `sub` is case-sensitive, and so are roles."""
    for name in (USER, USER.upper(), f"{USER} ", f" {USER}", LOOKALIKES[other]):
        token = issuer.token(sub=name, roles="ADMIN wr\u0131ter reader")
        found = await principal(authentication, f"Bearer {token}")
        assert (found.user, set(found.roles)) == (name, {Role.READER})
    for separator in ("\u00a0", "\u2003", "\t"):
        assert (
            await principal(authentication, f"Bearer {issuer.token(roles=f'reader{separator}admin')}")
        ).roles == set()


@pytest.mark.parametrize("hidden", HIDDEN)
async def test_a_user_with_a_character_that_nobody_sees_is_refused(
    authentication: JwtAuthentication, issuer: Issuer, hidden: str
) -> None:
    """It would look the same in the audit."""
    refused = await refusal(authentication, f"Bearer {issuer.token(sub=HIDDEN[hidden])}")
    assert "does not hold a valid user name" in refused.message


async def test_a_tokens_roles_last_as_long_as_the_token(authentication: JwtAuthentication, issuer: Issuer) -> None:
    """There is nobody to ask again."""
    found = await principal(authentication, f"Bearer {issuer.token()}")
    assert await authentication.renewed(found) == found


@pytest.mark.parametrize(
    ("settings", "claims", "expected"),
    [
        (
            {"jwt_roles_claim": "realm_access.roles", "jwt_user_claim": "email"},
            {"realm_access": {"roles": ["admin"]}, "email": "ann@example.com"},
            ("ann@example.com", {Role.ADMIN}),
        ),
        (
            {"jwt_roles_claim": "https://orders.example/roles"},
            {"https://orders.example/roles": ["reader"]},
            ("ann", {Role.READER}),
        ),
        ({"jwt_roles_claim": "roles.admin"}, {}, ("ann", set())),
    ],
)
async def test_the_claims_are_settings(
    issuer: Issuer, settings: dict[str, str], claims: dict[str, Any], expected: tuple[str, set[Role]]
) -> None:
    """A setting is a path into objects, or the whole name of a claim that contains dots."""
    found = await principal(believing(issuer, **settings), f"Bearer {issuer.token(**claims)}")
    assert (found.user, set(found.roles)) == expected


async def test_the_token_of_an_init_takes_precedence_over_that_of_the_upgrade(
    authentication: JwtAuthentication, issuer: Issuer
) -> None:
    """Its key is not case-sensitive, and there may be only one."""
    init: dict[str, object] = {"Authorization": f"Bearer {issuer.token(sub='bob')}", "other": 1}
    assert (await principal(authentication, "Bearer no", init=init)).user == "bob"
    assert (await principal(authentication, f"Bearer {issuer.token()}", init={"other": 1})).user == "ann"
    wrong: list[dict[str, object]] = [
        {**init, "authorization": "Bearer no"},
        {"authorization": None},
        {"authorization": ["Bearer"]},
    ]
    for bad in wrong:
        with pytest.raises(UnauthenticatedError):
            await principal(authentication, f"Bearer {issuer.token()}", init=bad)
