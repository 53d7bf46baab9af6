"""What is known of a table before it is read: how many rows it has, its indexes, and how its values spread."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from schema.ports.columns import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from schema.ports.columns import Column, Table

_ENDS: Final = 2


@dataclass(frozen=True, slots=True)
class Spread:
    """How the values of a column spread over the rows. Shares are from 0 to 1.

    Attributes:
        each: the share of the rows that have any one value that is not common.
        common: the most common values, as PostgreSQL writes them, with the share of each.
        places: the places of those that have one, with the share of each.
        texts: texts at equal distances among those that are not common, in no order; empty if unknown.
        bounds: places that divide all other rows into parts of equal size, in ascending order; empty if unknown.
    """

    each: float = 1.0
    common: Mapping[str, float] = field(default_factory=dict)
    places: Sequence[tuple[float, float]] = ()
    bounds: Sequence[float] = ()
    texts: Sequence[str] = ()

    @property
    def part(self) -> float:
        """The share of a part: within it the rows may be anywhere. 1 if no part is known."""
        return 1.0 / (len(self.bounds) - 1) if len(self.bounds) >= _ENDS else 1.0

    def share_of(self, values: Sequence[object]) -> float:
        """About the share of the rows that have one of these values."""
        if not self.common:
            return self.each * len(values)
        return sum(self.common.get(str(value), self.each) for value in set(values))

    @property
    def of_any(self) -> float:
        """The share of the rows that have any one value, on average; 1 if nothing is known."""
        others = 1.0 - sum(self.common.values())
        return 1.0 / max(1.0, len(self.common) + (others / self.each if self.each else 0.0))

    def knows(self, values: Sequence[object]) -> bool:
        """Whether one of these values is common."""
        return bool(self.common) and any(str(value) in self.common for value in values)

    def of_texts(self, matches: Callable[[str], bool]) -> float:
        """About the share of the rows with texts that match; 1 if that is unknown."""
        if not self.texts and not self.common:
            return 1.0
        common = sum(share for text, share in self.common.items() if matches(text))
        others = 1.0 - sum(self.common.values())
        # As many as the sample shows, and what one of it stands for.
        seen = sum(map(matches, self.texts)) + 1
        return min(1.0, common + others * seen / (len(self.texts) + 1))

    def between(self, low: float, high: float) -> float:
        """About the share of the rows with values between two places; 1 if that is unknown."""
        if len(self.bounds) < _ENDS and not self.places:
            return 1.0
        common = sum(share for place, share in self.places if low <= place <= high)
        others = 1.0 - sum(share for _, share in self.places)
        if len(self.bounds) < _ENDS:
            # All of the others may lie between them.
            return min(1.0, common + others)
        return min(1.0, common + others * (self._below(high) - self._below(low)) + self.each)

    def _below(self, place: float) -> float:
        """The share of the other rows whose values are below a place."""
        after = bisect_right(self.bounds, place)
        if after in {0, len(self.bounds)}:
            return float(after > 0)
        low, high = self.bounds[after - 1], self.bounds[after]
        return (after - 1 + (place - low) / (high - low)) / (len(self.bounds) - 1)


# The spread of a column without statistics.
_UNKNOWN: Final = Spread()


@dataclass(frozen=True, slots=True)
class TableStatistics:
    """What the database's own statistics say of a table. They may be minutes old.

    Attributes:
        rows: about how many rows it has; 0 if that is unknown.
        indexes: the columns of each index that can serve a page, in the index's order.
        spreads: the spread of each column that has statistics.
        plain: whether it is one plain table, and not a view or partitions.
        texts: the columns whose texts have an index of their trigrams, in small letters.
        others: what is known of any other table, for conditions on related rows.
        changed: about how many of its rows were changed through this API. The spreads of columns that have a value only
            then are those among these rows.
    """

    rows: int = 0
    indexes: frozenset[tuple[Column, ...]] = frozenset()
    spreads: Mapping[Column, Spread] = field(default_factory=dict)
    plain: bool = True
    texts: frozenset[Column] = frozenset()
    others: Callable[[Table], TableStatistics] = field(default=lambda _: TableStatistics(), repr=False, compare=False)
    changed: int = 0
    # All beginnings of the indexes. Each nested page of a request asks for one.
    _beginnings: frozenset[tuple[Column, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Note the beginnings of the indexes."""
        beginnings = frozenset(index[:length] for index in self.indexes for length in range(1, len(index) + 1))
        object.__setattr__(self, "_beginnings", beginnings)

    def beside(self, others: Callable[[Table], TableStatistics]) -> TableStatistics:
        """The same, with what is known of other tables."""
        return replace(self, others=others)

    def spread(self, column: Column) -> Spread:
        """The spread of a column."""
        return self.spreads.get(column, _UNKNOWN)

    def has_index(self, *columns: Column) -> bool:
        """Whether an index begins with these columns, in this order."""
        return columns in self._beginnings


# What is known before the table has been looked up.
NO_STATISTICS: Final = TableStatistics()


def place_of(column: Column, value: object) -> float | None:
    """The place of a number, a date or a moment among all values of its column; None for any other value.

    Args:
        column: the column.
        value: a number, a date, a moment, or a text as clients and PostgreSQL write it.
    """
    try:
        if column.kind is Kind.DATE:
            return float(date.fromisoformat(str(value)).toordinal())
        if column.kind is Kind.MOMENT:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).upper())
            return moment.timestamp()
        place = float(value) if isinstance(value, int | float | str | Decimal) else math.nan
    except (ValueError, OverflowError):
        return None
    return place if math.isfinite(place) else None
