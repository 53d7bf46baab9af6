"""The bound on what has arrived of requests and messages that are not complete, in all connections together.

Each of them is bounded by itself, and has a deadline. But a thousand connections may each have sent all but the last
byte of a body, and nobody has paid for these bytes.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Hashable

# Thirty bodies of the default size. A process holds 110 MB without load, and may hold 256 MB at least.
_MOST_BYTES: Final = 64 << 20


class Reader(Protocol):
    """A connection that reads."""

    @property
    def owner(self) -> Hashable:
        """The caller, or before it is known the client's address."""

    def refuse_unfinished(self) -> None:
        """Refuse what has not arrived completely, and drop it."""


class Unfinished:
    """The bytes that the connections of a process hold of incomplete requests and messages.

    Above the bound, the owner with the most bytes loses its largest request, until the rest is within it. So an owner
    is limited only where it takes from others.
    """

    def __init__(self, *, body_bytes: int) -> None:
        # Two of the longest bodies fit, so that one that arrives slowly does not shut out all others.
        self._most = max(_MOST_BYTES, 2 * body_bytes)
        self._held: dict[Reader, int] = {}
        self._total = 0

    def note(self, reader: Reader, size: int) -> None:
        """Note how many bytes a connection holds now. It may be refused itself."""
        self._total += size - self._held.pop(reader, 0)
        if size:
            self._held[reader] = size
        while self._total > self._most:
            self._refuse(self._largest())

    def forget(self, reader: Reader) -> None:
        """Note that a connection holds nothing any more."""
        self._total -= self._held.pop(reader, 0)

    def refuse_all(self) -> None:
        """Refuse all of them, because memory is short."""
        for reader in list(self._held):
            self._refuse(reader)

    def _largest(self) -> Reader:
        held: Counter[Hashable] = Counter()
        for reader, size in self._held.items():
            held[reader.owner] += size
        return max(self._held, key=lambda reader: (held[reader.owner], self._held[reader]))

    def _refuse(self, reader: Reader) -> None:
        self.forget(reader)
        reader.refuse_unfinished()
