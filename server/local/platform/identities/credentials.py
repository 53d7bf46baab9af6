"""Owns who may: access tokens of the REST API, and credentials that are good for a login at an instance."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import Counter, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from server.local.platform.state import Token

if TYPE_CHECKING:
    from server.local.platform.options import Options
    from server.local.platform.state import Store

_MOST_TIMES = 10_000


@dataclass(frozen=True)
class Identity:
    """Who calls: a user by e-mail, or a service principal by its client id."""

    name: str
    is_user: bool


class Credentials:
    """All tokens, kept by their digests. `last_login` is Unix time, by the instance's uid."""

    def __init__(self, store: Store, options: Options) -> None:
        self._store = store
        self._options = options
        self._counts: Counter[str] = Counter()
        self._mint_times: deque[float] = deque(maxlen=_MOST_TIMES)
        self._login_times: deque[float] = deque(maxlen=_MOST_TIMES)
        self.last_login: dict[str, float] = {}

    def identity(self, bearer: str) -> Identity | None:
        """Whose access token it is; None where it is nobody's, or no longer."""
        state = self._store.state
        if _same(bearer, state.operator_token):
            return Identity(self._options.user_name, is_user=True)
        token = state.access_tokens.get(_digest(bearer))
        if token is None or token.expires <= time.time():
            return None
        return Identity(token.user, is_user=False)

    def exchange(self, client_id: str, client_secret: str) -> str | None:
        """An access token for the service principal; None for a wrong id or secret."""
        state = self._store.state
        if not (client_id == state.client_id and _same(client_secret, state.client_secret)):
            return None
        return self._keep(state.access_tokens, "eyJ", Token(user=client_id, expires=self._end()))

    def mint(self, identity: Identity, instances: list[str], *, seconds: float | None = None) -> tuple[str, str]:
        """A credential for the instances, by their uids, and the end of its life as RFC 3339.

        It lives for the seconds, or for the lifetime of all tokens where that is shorter.
        """
        self._counts["mints"] += 1
        self._mint_times.append(time.time())
        end = self._end() if seconds is None else min(self._end(), time.time() + seconds)
        token = Token(user=identity.name, expires=end, instances=instances)
        said = datetime.fromtimestamp(end, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        # Short: RADIUS carries passwords of 128 bytes at most.
        return self._keep(self._store.state.credentials, "lb", token), said

    def check(self, user: str, password: str, instance: str) -> bool:
        """Whether the password is a credential of the user for the instance, by its uid. Counted."""
        token = self._store.state.credentials.get(_digest(password))
        good = token is not None and token.user == user and instance in token.instances and token.expires > time.time()
        self._counts["logins_accepted" if good else "logins_refused"] += 1
        if good:
            self.last_login[instance] = time.time()
            self._login_times.append(self.last_login[instance])
        return good

    def revoke(self, instance: str | None) -> int:
        """Make every credential that there is good for no login any more, of one instance by its uid or of all.

        Open sessions live on. How many credentials it concerned.
        """
        concerned = 0
        for token in self._store.state.credentials.values():
            kept = [uid for uid in token.instances if instance not in (None, uid)]
            concerned += kept != token.instances
            token.instances = kept
        self._store.save()
        return concerned

    def counted(self) -> dict[str, Any]:
        """How many mints and logins there were since the start of the process, and when, the newest 10,000 of each.

        Times are Unix time, oldest first; of logins those that were accepted.
        """
        return {
            **{name: self._counts[name] for name in ("mints", "logins_accepted", "logins_refused")},
            "mint_times": list(self._mint_times),
            "login_times": list(self._login_times),
        }

    def _end(self) -> float:
        return time.time() + self._options.token_lifetime

    def _keep(self, tokens: dict[str, Token], prefix: str, token: Token) -> str:
        for digest in [digest for digest, old in tokens.items() if old.expires <= time.time()]:
            del tokens[digest]
        text = f"{prefix}{secrets.token_urlsafe(24)}"
        tokens[_digest(text)] = token
        self._store.save()
        return text


def _same(given: str, known: str) -> bool:
    # As bytes: of strings it compares ASCII only.
    return hmac.compare_digest(given.encode(), known.encode())


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
