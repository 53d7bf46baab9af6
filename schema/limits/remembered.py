"""Remembers the price of an operation, as long as nothing changes that it depends on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from schema.context import PageLimits
    from schema.limits.formulas import Formula, StatisticsSource, Variables
    from schema.ports.columns import Table
    from schema.ports.statistics import TableStatistics

_ABSENT: Final = object()
# Of these types, equal values of one type are the same: an object or a list may hold 1 in place of true.
_SIMPLE: Final = frozenset({int, str, bool, float, type(None), object})


class _Known(NamedTuple):
    """A price, and what was read for it. Whatever reads the same finds the same price."""

    points: int
    pages: PageLimits
    variables: dict[str, Any]
    statistics: dict[Table, TableStatistics]


class RememberedPrice:
    """The price of an operation. A client that pages asks for the same again and again, but for the cursor."""

    def __init__(self, formula: Formula) -> None:
        self.formula = formula
        self._known: _Known | None = None

    def price(self, variables: Variables, pages: PageLimits, statistics: StatisticsSource) -> int:
        """As that of the formula."""
        known = self._known
        if known is not None and _holds(known, variables, pages, statistics):
            return known.points
        read = _Read(variables)
        found: dict[Table, TableStatistics] = {}

        def noting(table: Table) -> TableStatistics:
            found[table] = statistics(table)
            return found[table]

        points = self.formula.price(read, pages, noting)
        simple = all(type(value) in _SIMPLE for value in read.values_read.values())
        self._known = _Known(points, pages, read.values_read, found) if simple else None
        return points


def _holds(known: _Known, variables: Variables, pages: PageLimits, statistics: StatisticsSource) -> bool:
    if known.pages is not pages:
        return False
    for name, value in known.variables.items():
        now = variables.get(name, _ABSENT)
        if type(now) is not type(value) or now != value:
            return False
    return all(statistics(table) is some for table, some in known.statistics.items())


class _Read(dict[str, Any]):
    """Variables that note what is read of them."""

    def __init__(self, variables: Variables) -> None:
        super().__init__(variables)
        self.values_read: dict[str, Any] = {}

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a variable."""
        self.values_read[name] = super().get(name, _ABSENT)
        return super().get(name, default)
