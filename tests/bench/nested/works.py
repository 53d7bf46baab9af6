"""The works of the nested bench: pages spread over the table for all servers, and at its two ends for ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.bench import orders as table
from tests.bench.load import CLIENTS
from tests.bench.nested.query import NestedPage
from tests.bench.works import POINTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.local.cluster import Cluster

SIZES: Final = (10, 50)
SPREAD: Final = "spread"
START: Final = "start"
END: Final = "end"


@dataclass(frozen=True, slots=True)
class Work:
    """Pages of a size, at one of the places of the table, for a number of connections."""

    size: int
    place: str = SPREAD
    connections: int = CLIENTS

    @property
    def title(self) -> str:
        """Its title in the report."""
        place = "" if self.place == SPREAD else f", {self.place}"
        return f"nested page of {self.size}{place}{', one client' if self.connections == 1 else ''}"

    def pages(self, cluster: Cluster, orders: int) -> Sequence[NestedPage]:
        """The pages. Those at an end are next to each other, so that they differ little in their line items."""
        skipped = {
            SPREAD: [(orders - self.size) * number // POINTS for number in range(POINTS)],
            START: [self.size * number for number in range(POINTS)],
            END: [orders - self.size * (number + 1) for number in range(POINTS)],
        }[self.place]
        keys = table.keys_at(cluster, set(skipped))
        return [NestedPage(self.size, keys.get(number)) for number in skipped]


def scale_title(work: Work, name: str) -> str:
    """The title of a contender's pages in the comparison of scales."""
    return f"{work.title}, {name}"


COMPARED: Final = tuple(Work(size) for size in SIZES)
# Each two of these are compared with each other.
ENDS: Final = tuple(
    (Work(size, START, connections), Work(size, END, connections)) for size in SIZES for connections in (1, CLIENTS)
)
