"""Owns the password of each login: a token that lives for an hour, minted when needed and kept while it is good."""

from __future__ import annotations

import asyncio
import math
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from schema.errors import ApiError, Reason, UnavailableError
from server.backoff import Backoff
from server.observability.log_setup import silence_failure
from server.observability.observations import TokenMinted, TokenMintFailed
from server.observability.redaction import secrets_known
from server.observability.sinks import observe

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from server.lakebase.platform.api import Credential

# A token with less than this to live may end before the server has looked at it.
_MARGIN_SECONDS: Final = 0.5
# Between two tokens, whatever is said of the first one.
_LEAST_SECONDS: Final = 1.0
# A token that is refused so soon was never good.
_YOUNG_SECONDS: Final = 0.5
_REFUSED: Final = (
    "PostgreSQL refuses the server's logins, also with a token that has just been minted. Has the role that it logs in "
    "as (PGUSER, or else its identity) been made there, and may it connect?"
)
_FIRST_PAUSE_SECONDS: Final = 1.0
_LAST_PAUSE_SECONDS: Final = 30.0


class TokenProvider:
    """The token of one database: asyncpg's `password`, awaited at every login. PostgreSQL looks at it at login only.

    One minting is under way at most, for all who log in. Past half of its life a token is renewed while it goes on
    being used; where that fails, it is used until its end, and the next attempt comes after a pause.
    """

    def __init__(self, mint: Callable[[], Awaitable[Credential]]) -> None:
        self._mint = mint
        self._token: str | None = None
        self._minted_at = self._next_at = -math.inf
        self._renew_at = self._ends_at = 0.0
        self._backoff = Backoff(_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS)
        self._minting: asyncio.Task[None] | None = None
        self._failure: ApiError | None = None
        # Whether the token has come in the place of one that was refused.
        self._is_second = False

    @property
    def minted(self) -> bool:
        """Whether there ever was a token."""
        return self._minted_at > -math.inf

    @property
    def failure(self) -> ApiError | None:
        """Why the last minting gave no token; None where it did, or there was none yet."""
        return self._failure

    async def get(self) -> str:
        """A token that is good.

        Raises:
            ApiError: there is none, and none can be had.
        """
        now = time.monotonic()
        if self._token is not None and now < self._ends_at:
            if now >= self._renew_at and now >= self._next_at:
                self._is_second = False
                self._start()
            return self._token
        if self._failure is not None and now < self._next_at:
            raise self._failure.with_traceback(None)
        await asyncio.shield(self._start())
        if self._token is None:
            raise RuntimeError("a minting that did not fail has left no token")
        return self._token

    def reject(self, token: str) -> None:
        """PostgreSQL has refused this token: it is not used again. One that has come in its place is.

        One more is minted at once, also where the last attempt to renew it has failed. Where that is refused as
        well, it is not for the token: the next one comes after a pause, as after a minting that failed.
        """
        if self._token != token:
            return
        self._token = None
        if self._is_second and time.monotonic() - self._minted_at <= _YOUNG_SECONDS:
            self._fail(UnavailableError(Reason.DATABASE_UNAVAILABLE, _REFUSED))
        else:
            self._next_at = -math.inf
        self._is_second = True

    def _fail(self, error: ApiError) -> None:
        self._failure, self._next_at = error, time.monotonic() + self._backoff.next_pause()

    def _start(self) -> asyncio.Task[None]:
        if self._minting is None or self._minting.done():
            self._minting = asyncio.create_task(self._renew(), name="mint")
            self._minting.add_done_callback(silence_failure)
        return self._minting

    async def _renew(self) -> None:
        # Tokens that are refused as soon as they are made would be made without end.
        await asyncio.sleep(max(0.0, self._minted_at + _LEAST_SECONDS - time.monotonic()))
        asked_at = time.monotonic()
        try:
            minted = await self._mint()
        except ApiError as error:
            self._fail(error)
            observe(TokenMintFailed(error.reason, old_token_lives=time.monotonic() < self._ends_at))
            raise
        observe(TokenMinted())
        # Whatever is logged of a login, the token is not.
        secrets_known.add(minted.token)
        seconds = _lifetime(minted)
        if time.monotonic() - self._minted_at > _LAST_PAUSE_SECONDS:
            # It is not one of a row of tokens that are refused.
            self._backoff.reset()
        self._token, self._failure = minted.token, None
        self._minted_at = asked_at
        self._renew_at, self._ends_at = asked_at + seconds / 2, asked_at + max(seconds - _MARGIN_SECONDS, seconds / 2)


def _lifetime(minted: Credential) -> float:
    """How long a token lives, in seconds, by our own clock.

    The platform's clock may differ by minutes: a token that is said to have ended already is believed to be good
    until PostgreSQL refuses it, and none lives longer than it may.
    """
    if minted.expires_at is None:
        return minted.longest_seconds
    seconds = (minted.expires_at - datetime.now(UTC)).total_seconds()
    return min(seconds, minted.longest_seconds) if seconds > 0 else minted.longest_seconds
