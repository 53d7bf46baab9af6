"""Tokens that were not valid, counted by address: an address that fails often is refused before a token is verified."""

from __future__ import annotations

import hashlib
import math
import secrets
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from schema.errors import RateLimitedError, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.traffic.addresses import Addresses

# An address may fail this often at once, and then once a second. To verify as many tokens takes some 20 ms.
_BURST: Final = 200
_FORGIVEN_PER_SECOND: Final = 1.0
# More failures than this are not held against an address: it is free again within a minute.
_MOST: Final = 260.0
# A limited address has a token verified in one of four turns of two seconds. A client that comes back in whole seconds
# is within the turn, also if it is a second late.
_TURNS: Final = 4
_TURN_SECONDS: Final = 2
# The end of a token is a part of its signature: 192 bits.
_TAIL_CHARACTERS: Final = 32
_REMEMBERED: Final = 10_000


class FailedTokens:
    """The limit of failed tokens for each address. It refuses no good token for longer than a few seconds.

    Many users may share an address: behind a NAT, a company's gateway, or a frontend's server. One of them that sends
    bad tokens must not shut out the others. So an address that fails often is limited in this way:

    - A token that was good before is verified as usual. It is recognised by its last characters. They only decide
      whether the token is verified, so nothing is won by copying them.
    - Any other token is verified in its turn, a quarter of the time. A keyed hash of the token chooses the turn anew in
      each round. Until then the response is a 429 whose `Retry-After` leads into the turn. The turns do not depend on
      what else the address sends, so that a new good token gets in, however many others fail.

    A counter of attempts, instead of the turns, would be used up by whoever fails most.

    Args:
        addresses: says which clients count as one address.
        remembered: how many addresses, and how many good tokens, are remembered at most; the oldest are forgotten.
        clock: monotonic, in seconds.
    """

    def __init__(
        self, addresses: Addresses, *, remembered: int = _REMEMBERED, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._addresses = addresses
        self._remembered = remembered
        self._clock = clock
        # By address: its failures, and when they were counted. The address that failed last is the last.
        self._failures: OrderedDict[str, tuple[float, float]] = OrderedDict()
        # The tails of good tokens, as keys.
        self._good: dict[str, None] = {}
        self._key = secrets.token_bytes(16)

    @property
    def addresses(self) -> int:
        """How many addresses are remembered."""
        return len(self._failures)

    def check(self, host: str | None, token: str) -> None:
        """Check whether a token from this host may be verified now.

        Raises:
            RateLimitedError: TOO_MANY_BAD_TOKENS, its address fails often, and it is not the token's turn.
        """
        if not self._failures:
            return
        address, now, tail = self._addresses.of(host), self._clock(), token[-_TAIL_CHARACTERS:]
        if address is None or self._failed(address, now) <= _BURST or tail in self._good:
            return
        if seconds := self._seconds_to_turn(tail, now):
            raise RateLimitedError(
                Reason.TOO_MANY_BAD_TOKENS,
                f"Too many tokens from your address were not valid: send this one again in {seconds} s.",
                retry_after_seconds=seconds,
            )

    def note_good(self, token: str) -> None:
        """Remember a token that was valid."""
        self._good[token[-_TAIL_CHARACTERS:]] = None
        if len(self._good) > self._remembered:
            # If it is still in use, it comes back with its next request.
            del self._good[next(iter(self._good))]

    def note_bad(self, host: str | None) -> None:
        """Count a token that was not valid."""
        address, now = self._addresses.of(host), self._clock()
        if address is None:
            return
        self._failures[address] = min(_MOST, self._failed(address, now) + 1), now
        self._failures.move_to_end(address)
        # Each failure removes up to two other addresses, so that forgiven ones do not pile up.
        for _ in range(2):
            oldest = next(iter(self._failures))
            if oldest != address and (len(self._failures) > self._remembered or not self._failed(oldest, now)):
                del self._failures[oldest]

    def _failed(self, address: str, now: float) -> float:
        failures, since = self._failures.get(address, (0.0, now))
        return max(0.0, failures - (now - since) * _FORGIVEN_PER_SECOND)

    def _seconds_to_turn(self, tail: str, now: float) -> int:
        """In how many whole seconds the token's turn has begun; 0 if it is its turn."""
        current, turn = int(now // _TURN_SECONDS), -1
        number = current // _TURNS
        while turn < current:
            # The turn of this round may be over. Then it is that of the next.
            chosen = hashlib.blake2b(f"{number} {tail}".encode(), key=self._key, digest_size=1).digest()[0]
            turn = number * _TURNS + chosen % _TURNS
            number += 1
        return 0 if turn == current else math.ceil(turn * _TURN_SECONDS - now)
