"""Owns the password of each login: a token that lives for an hour, minted when needed and kept while it is good."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import structlog

from schema.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from server.lakebase.platform import Credential

_log = structlog.get_logger(__name__)
# Where the platform does not say how long a token lives.
_LIFETIME_SECONDS: Final = 3600.0
# A token with less than this to live may end before the server has looked at it.
_MARGIN_SECONDS: Final = 0.5
_FIRST_PAUSE_SECONDS: Final = 1.0
_LAST_PAUSE_SECONDS: Final = 30.0


def heard(done: asyncio.Future[Any]) -> None:
    """Take note of a failure that nobody may be waiting for any more, which asyncio would log as it is."""
    if not done.cancelled():
        done.exception()


class TokenProvider:
    """The token of one instance: asyncpg's `password`, awaited at every login.

    All who log in at once share one minting. Past half of its life the token is renewed; where that fails, it is
    used until its end, and the next attempt comes after a pause. PostgreSQL looks at a token at login only.
    """

    def __init__(self, mint: Callable[[], Awaitable[Credential]]) -> None:
        self._mint = mint
        self._token: str | None = None
        self._renew_at = 0.0
        self._ends_at = 0.0
        self._pause = _FIRST_PAUSE_SECONDS
        self._minting: asyncio.Task[None] | None = None

    async def get(self) -> str:
        """A token that is good.

        Raises:
            ApiError: there is none, and none can be had.
        """
        if self._token is None or time.monotonic() >= self._renew_at:
            try:
                await asyncio.shield(self._start())
            except ApiError as error:
                if self._token is None or time.monotonic() >= self._ends_at:
                    raise
                _log.warning("no new token; the old one is used while it lives", reason=error.reason.name)
        if self._token is None:
            raise RuntimeError("a minting that did not fail has left no token")
        return self._token

    def reject(self, token: str) -> None:
        """PostgreSQL has refused this token: it is not used again. One that has come in its place is."""
        if self._token == token:
            self._token = None

    def _start(self) -> asyncio.Task[None]:
        if self._minting is None or self._minting.done():
            self._minting = asyncio.create_task(self._renew(), name="mint")
            self._minting.add_done_callback(heard)
        return self._minting

    async def _renew(self) -> None:
        try:
            minted = await self._mint()
        except ApiError:
            self._renew_at = time.monotonic() + self._pause
            self._pause = min(self._pause * 2, _LAST_PAUSE_SECONDS)
            raise
        # The platform's clock and ours may differ by minutes; what is left of the token's life is taken by ours.
        seconds = _LIFETIME_SECONDS
        if minted.expires_at is not None:
            seconds = max((minted.expires_at - datetime.now(UTC)).total_seconds(), 0.0)
        now = time.monotonic()
        self._token = minted.token
        self._renew_at, self._ends_at = now + seconds / 2, now + max(seconds - _MARGIN_SECONDS, 0.0)
        self._pause = _FIRST_PAUSE_SECONDS
