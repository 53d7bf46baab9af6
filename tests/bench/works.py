"""The works: what each server has to do, and for how long in a round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.bench.asks import Page, Several, Single
from tests.bench.contenders import FLOOR, GUIDE, MERCURIUS, OURS, POSTGRAPHILE, STRAWBERRY
from tests.bench.load import CLIENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.bench.asks import Ask

SIZE: Final = 100
# The group of works that are compared with each other instead of with other servers.
DEPTH: Final = "depth"
PLACES: Final = ("start", "middle", "end")
_ALIASES: Final = 20
_TEXTS: Final = 200
# The number of starting points of a work, and so of its different requests.
POINTS: Final = 64


@dataclass(frozen=True, slots=True)
class Points:
    """Keys of orders at which pages begin: spread over the whole table, and close together in three places."""

    spread: Sequence[int]
    at: Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Work:
    """A request to repeat, from different starting points.

    Attributes:
        group: the name by which related works are selected together.
        targets: the least ratio of our requests per second to each other server's.
        only: the contenders that get this work; None for all that can do it.
        whole: whether it runs for all seconds of a round, or for one.
    """

    name: str
    title: str
    group: str
    asks: Callable[[Points], Sequence[Ask]]
    targets: Mapping[str, float] | None = None
    only: frozenset[str] | None = None
    connections: int = CLIENTS

    @property
    def whole(self) -> bool:
        """Whether it runs for all seconds of a round. A work without targets runs for one."""
        return self.targets is not None


def _pages(**attributes: object) -> Callable[[Points], Sequence[Ask]]:
    def asks(points: Points) -> Sequence[Ask]:
        return [Page(key=key, **attributes) for key in points.spread]  # type: ignore[arg-type] # attributes of Page

    return asks


def _singles(points: Points) -> Sequence[Ask]:
    return [Single(key) for key in points.spread]


def _several(points: Points) -> Sequence[Ask]:
    keys = points.spread
    return [Several(tuple(keys[(start + step) % len(keys)] for step in range(_ALIASES))) for start in range(len(keys))]


def _cold(points: Points) -> Sequence[Ask]:
    return [Page(10, points.spread[text % len(points.spread)], text=text) for text in range(_TEXTS)]


def _at(place: str, *, status: bool) -> Callable[[Points], Sequence[Ask]]:
    def asks(points: Points) -> Sequence[Ask]:
        return [Page(SIZE, key, status=status) for key in points.at[place]]

    return asks


def _targets(floor: float, mercurius: float, postgraphile: float, guide: float, strawberry: float) -> dict[str, float]:
    return {FLOOR: floor, MERCURIUS: mercurius, POSTGRAPHILE: postgraphile, GUIDE: guide, STRAWBERRY: strawberry}


def depth_name(place: str, *, status: bool, connections: int) -> str:
    """The name of the work for a place."""
    return f"{place}{', status' if status else ''}{', one client' if connections == 1 else ''}"


_NO_PEERS: Final = frozenset({OURS, FLOOR})
WORKS: Final = (
    Work("page100", "page of 100, 9 values", "pages", _pages(size=100), _targets(0.9, 0.9, 3, 8, 20)),
    Work("page10", "page of 10, 9 values", "pages", _pages(size=10), _targets(0.65, 0.5, 1.3, 4, 7)),
    Work("page1000", "page of 1,000, 9 values", "pages", _pages(size=1000), _targets(1.0, 1.0, 3, 8, 25)),
    Work("order", "one order by key", "order", _singles, _targets(0.5, 0.4, 1.2, 2, 3)),
    Work("status100", "page of 100 with status", "status", _pages(size=100, status=True)),
    Work("status10", "page of 10 with status", "status", _pages(size=10, status=True), only=_NO_PEERS),
    Work("status1000", "page of 1,000 with status", "status", _pages(size=1000, status=True), only=_NO_PEERS),
    Work("few", "page of 100, 2 values", "shapes", _pages(size=100, few=True)),
    Work("aliases", "20 aliased orders in one request", "shapes", _several),
    Work("filtered", "page of 100, a year and a price", "shapes", _pages(size=100, filtered=True)),
    Work("backward", "page of 100, backward", "shapes", _pages(size=100, backward=True)),
    Work("counted", "page of 100 and the estimated count", "shapes", _pages(size=100, counted=True), only=_NO_PEERS),
    Work("cold", "200 query texts in turn, page of 10", "cold", _cold),
    *(
        Work(
            depth_name(place, status=status, connections=connections),
            f"page of 100{' with status' if status else ''}, {place}{', one client' if connections == 1 else ''}",
            DEPTH,
            _at(place, status=status),
            only=frozenset({OURS}),
            connections=connections,
        )
        for connections in (1, CLIENTS)
        for status in (False, True)
        for place in PLACES
    ),
)
