"""Tokens that were not valid, counted by address: an address that fails often has few new tokens verified."""

from __future__ import annotations

import hashlib
import random
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, TypeVar

from schema.errors import RateLimitedError, Reason, UnauthenticatedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.traffic.addresses import Addresses

K = TypeVar("K")
V = TypeVar("V")
# An address may fail this often at once, and then ten times a second: a thousandth of a processor's time.
_BURST: Final = 200
_FORGIVEN_PER_SECOND: Final = 10.0
# The share of its new tokens that a limited address has verified. To verify one takes 0.14 ms, the rest of a refused
# request 0.25 ms.
_VERIFIED_SHARE: Final = 0.25
_RETRY_SECONDS: Final = 1
# A token that was not valid may become so: its issuer publishes a new key, or its time begins.
_BAD_SECONDS: Final = 5.0
_REMEMBERED: Final = 10_000
_DIGEST_BYTES: Final = 16


class FailedTokens:
    """The limit of failed tokens for each address. It shuts no good token out.

    Many users may share an address: behind a NAT, a company's gateway, or a frontend's server. One of them that sends
    bad tokens must not shut out the others:

    - A token that has just failed gets the same answer again, unverified. It counts once, so that a program that
      repeats an expired token does not limit its address.
    - A token that was good is verified until it expires, whatever else its address sends.
    - Of all other tokens from a limited address some are verified, by chance. If a fixed number were verified each
      second, the client that sends most would use it up. A chance is the same for all clients, in every process.

    Args:
        addresses: says which clients count as one address.
        remembered: how many addresses, good tokens and bad tokens are remembered at most; the oldest are forgotten.
        clock: monotonic, in seconds.
    """

    def __init__(
        self, addresses: Addresses, *, remembered: int = _REMEMBERED, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._addresses = addresses
        self._remembered = remembered
        self._clock = clock
        # By address: its failures, and when they were counted.
        self._failures: OrderedDict[str, tuple[float, float]] = OrderedDict()
        # By digest: when a good token expires; until when a bad one is refused unverified, and with which error.
        self._good: OrderedDict[bytes, float] = OrderedDict()
        self._bad: OrderedDict[bytes, tuple[float, str, str | None]] = OrderedDict()

    def check(self, host: str | None, token: str) -> bytes:
        """Check whether a token from this host is to be verified, and return its digest.

        Raises:
            UnauthenticatedError: it was not valid a moment ago.
            RateLimitedError: TOO_MANY_BAD_TOKENS, its address fails often, and this token is not verified now.
        """
        digest, now = hashlib.blake2b(token.encode(), digest_size=_DIGEST_BYTES).digest(), self._clock()
        until, message, challenge = self._bad.get(digest, (now, "", None))
        if now < until:
            raise UnauthenticatedError(message, challenge=challenge)
        address = self._addresses.of(host)
        if (
            address is not None
            and self._failed(address, now) > _BURST - 1
            and self._good.get(digest, now) <= now
            and random.random() >= _VERIFIED_SHARE  # noqa: S311 # no secret
        ):
            raise RateLimitedError(
                Reason.TOO_MANY_BAD_TOKENS,
                "Too many tokens from your address were not valid, so few are verified: send this one again.",
                retry_after_seconds=_RETRY_SECONDS,
            )
        return digest

    def note_good(self, digest: bytes, expires_at: float) -> None:
        """Remember a token that was valid until it expires, by the clock."""
        self._remember(self._good, digest, expires_at)

    def note_bad(self, host: str | None, digest: bytes, error: UnauthenticatedError) -> None:
        """Count a token that was not valid, and remember it for a while."""
        now = self._clock()
        # Not the error itself: its traceback has the token.
        self._remember(self._bad, digest, (now + _BAD_SECONDS, error.message, error.challenge))
        address = self._addresses.of(host)
        if address is not None:
            self._remember(self._failures, address, (min(_BURST, self._failed(address, now) + 1), now))

    def _failed(self, address: str, now: float) -> float:
        failures, since = self._failures.get(address, (0.0, now))
        return max(0.0, failures - (now - since) * _FORGIVEN_PER_SECOND)

    def _remember(self, known: OrderedDict[K, V], key: K, value: V) -> None:
        known[key] = value
        known.move_to_end(key)
        if len(known) > self._remembered:
            known.popitem(last=False)
