"""One kind of attack: what one of its attackers does, how many do it at once, and how often another one begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.load.hostile.target import Target

    # What an attacker does: against a target, with a number that no other attacker of its kind has. It may note what
    # comes back in between, and returns what came back last.
    Act = Callable[[Target, int, Callable[[str], None]], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Attack:
    """A kind of attack.

    Attributes:
        name: its name.
        act: what one attacker does.
        at_once: how many attackers there are at most.
        every: seconds between the beginnings of two attackers. One that has ended makes room for another.
    """

    name: str
    act: Act
    at_once: int
    every: float
