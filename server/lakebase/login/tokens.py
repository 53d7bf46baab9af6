"""The password of each login: a token that lives for an hour, minted when needed and kept while it is valid."""

from __future__ import annotations

import asyncio
import math
import time
from contextvars import Context
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from schema.errors import ApiError, Reason, UnavailableError
from server.observability.log_setup import silence_failure
from server.observability.observations import TokenMinted, TokenMintFailed
from server.observability.redaction import secrets_known
from server.observability.sinks import observe
from server.traffic.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from server.lakebase.platform.login_api import Credential

# A token that ends sooner than this may have ended when PostgreSQL checks it.
_MARGIN_SECONDS: Final = 0.5
# The least time between two mintings, even if PostgreSQL refuses the first token at once.
_LEAST_SECONDS: Final = 1.0
# A token that is refused this soon after its minting was never valid.
_YOUNG_SECONDS: Final = 0.5
_REFUSED: Final = (
    "PostgreSQL refuses the server's logins, even with a token that has just been minted. Check that the role it logs "
    "in as (PGUSER, or else its identity) exists there and may connect."
)
_FIRST_PAUSE_SECONDS: Final = 1.0
_LAST_PAUSE_SECONDS: Final = 30.0


class TokenProvider:
    """The token of one database server: asyncpg awaits it as `password` at every login.

    PostgreSQL checks the token at login only. All logins share one minting at a time. A token is renewed in the
    background after half of its life. If that fails, the token is used until its end, and the next attempt comes after
    a pause.
    """

    def __init__(self, mint: Callable[[], Awaitable[Credential]]) -> None:
        self._mint = mint
        self._token: str | None = None
        self._minted_at = self._next_at = -math.inf
        self._renew_at = self._ends_at = 0.0
        self._backoff = Backoff(_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS)
        self._minting: asyncio.Task[None] | None = None
        self._failure: ApiError | None = None
        self._replaces_refused = False

    @property
    def minted(self) -> bool:
        """Whether a token was ever minted."""
        return self._minted_at > -math.inf

    @property
    def failure(self) -> ApiError | None:
        """Why the last minting failed; None if it succeeded, or none was tried yet."""
        return self._failure

    async def get(self) -> str:
        """A valid token, minted now if necessary.

        Raises:
            ApiError: minting failed, or failed a moment ago and is not tried again yet.
        """
        now = time.monotonic()
        if self._token is not None and now < self._ends_at:
            if now >= self._renew_at and now >= self._next_at:
                self._replaces_refused = False
                self._start()
            return self._token
        if self._failure is not None and now < self._next_at:
            raise self._failure.with_traceback(None)
        await asyncio.shield(self._start())
        if self._token is None:
            raise RuntimeError("a minting succeeded and left no token")
        return self._token

    def reject(self, token: str) -> None:
        """Stop using this token, because PostgreSQL refused it. A token that has replaced it meanwhile stays.

        The next login mints a new token at once, even after a failed renewal. If PostgreSQL refuses that one too, the
        token is not the cause: the next minting comes after a pause, as after a failed one.
        """
        if self._token != token:
            return
        self._token = None
        if self._replaces_refused and time.monotonic() - self._minted_at <= _YOUNG_SECONDS:
            self._fail(UnavailableError(Reason.DATABASE_UNAVAILABLE, _REFUSED))
        else:
            self._next_at = -math.inf
        self._replaces_refused = True

    def _fail(self, error: ApiError) -> None:
        self._failure, self._next_at = error, time.monotonic() + self._backoff.next_pause()

    def _start(self) -> asyncio.Task[None]:
        if self._minting is None or self._minting.done():
            self._minting = asyncio.create_task(self._renew(), name="mint", context=Context())
            self._minting.add_done_callback(silence_failure)
        return self._minting

    async def _renew(self) -> None:
        # Without this pause, tokens that PostgreSQL always refuses would be minted without end.
        await asyncio.sleep(max(0.0, self._minted_at + _LEAST_SECONDS - time.monotonic()))
        # Taken before the call, so that a token is never thought to live longer than it does.
        requested_at = time.monotonic()
        try:
            minted = await self._mint()
        except ApiError as error:
            last = self._failure
            self._fail(error)
            observe(
                TokenMintFailed(
                    error.reason,
                    error.message,
                    old_token_lives=self._token is not None and time.monotonic() < self._ends_at,
                    repeated=last is not None and last.message == error.message,
                )
            )
            raise
        observe(TokenMinted(recovered=self._failure is not None))
        # From now on the log redacts this token wherever it appears.
        secrets_known.add(minted.token)
        seconds = _lifetime(minted)
        if time.monotonic() - self._minted_at > _LAST_PAUSE_SECONDS:
            # The previous token was used for a while, so PostgreSQL is not refusing one token after another.
            self._backoff.reset()
        self._token, self._failure = minted.token, None
        self._minted_at = requested_at
        self._renew_at, self._ends_at = (
            requested_at + seconds / 2,
            requested_at + max(seconds - _MARGIN_SECONDS, seconds / 2),
        )


def _lifetime(minted: Credential) -> float:
    """How long a token lives, in seconds, by our own clock.

    The platform's clock may differ from ours by minutes. A token that seems to have ended already is used until
    PostgreSQL refuses it, and no token is trusted for longer than the platform ever grants.
    """
    if minted.expires_at is None:
        return minted.longest_seconds
    seconds = (minted.expires_at - datetime.now(UTC)).total_seconds()
    return min(seconds, minted.longest_seconds) if seconds > 0 else minted.longest_seconds
