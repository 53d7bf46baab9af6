"""The platform's secrets: access tokens for the REST API, and credentials with which a user logs in at an endpoint."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.local.platform.events import Event
from server.local.platform.state.store import Token
from server.local.platform.state.times import stamp

if TYPE_CHECKING:
    from server.local.platform.events import Observer
    from server.local.platform.options import Options
    from server.local.platform.state.store import Store


@dataclass(frozen=True)
class Identity:
    """A caller: a user by e-mail, or a service principal by its client id."""

    name: str
    is_user: bool


class Credentials:
    """All tokens. Only their digests are stored. `last_login` is in Unix time, by the endpoint's uid."""

    def __init__(self, store: Store, options: Options, observer: Observer) -> None:
        self._store = store
        self._options = options
        self._observer = observer
        self.last_login: dict[str, float] = {}

    def identity(self, bearer: str) -> Identity | None:
        """The owner of an access token; None if the token is unknown or has expired."""
        state = self._store.state
        if _same(bearer, state.operator_token):
            return Identity(self._options.user_name, is_user=True)
        token = state.access_tokens.get(_digest(bearer))
        if token is None or token.expires <= time.time():
            return None
        return Identity(token.user, is_user=False)

    def exchange(self, client_id: str, client_secret: str) -> str | None:
        """An access token for the service principal; None if its id or secret is wrong."""
        state = self._store.state
        if not (client_id == state.client_id and _same(client_secret, state.client_secret)):
            return None
        return self._issue(state.access_tokens, "eyJ", Token(user=client_id, expires=self._expiry()))

    def mint(self, identity: Identity, endpoints: list[str], *, seconds: float | None = None) -> tuple[str, str]:
        """Mint a credential.

        Args:
            identity: the user or service principal that may log in with it.
            endpoints: the uids of the endpoints it is valid for.
            seconds: its lifetime, if that is shorter than the platform's `token_lifetime`.

        Returns:
            The credential, and its expiry as RFC 3339.
        """
        self._observer(Event.CREDENTIAL_MINTED, "")
        expires = self._expiry() if seconds is None else min(self._expiry(), time.time() + seconds)
        token = Token(user=identity.name, expires=expires, endpoints=endpoints)
        # Short, because RADIUS carries passwords of up to 128 bytes.
        return self._issue(self._store.state.credentials, "lb", token), stamp(expires)

    def check(self, user: str, password: str, endpoint: str) -> bool:
        """Whether the password is a valid credential of the user for the endpoint with this uid."""
        token = self._store.state.credentials.get(_digest(password))
        now = time.time()
        valid = token is not None and token.user == user and endpoint in token.endpoints and token.expires > now
        if valid:
            self.last_login[endpoint] = now
        self._observer(Event.LOGIN_ACCEPTED if valid else Event.LOGIN_REFUSED, endpoint)
        return valid

    def _expiry(self) -> float:
        return time.time() + self._options.token_lifetime

    def _issue(self, tokens: dict[str, Token], prefix: str, token: Token) -> str:
        for digest in [digest for digest, old in tokens.items() if old.expires <= time.time()]:
            del tokens[digest]
        text = f"{prefix}{secrets.token_urlsafe(24)}"
        tokens[_digest(text)] = token
        self._store.save()
        return text


def _same(given: str, known: str) -> bool:
    # compare_digest takes only ASCII strings, but any bytes.
    return hmac.compare_digest(given.encode(), known.encode())


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
