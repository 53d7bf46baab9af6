"""How the rows of a page are found, and about how long that takes: decided by the database's own statistics.

PostgreSQL walks the index of the page's order whenever it expects to meet enough rows that match. If there are fewer,
it walks to the end of the table, for seconds. Its expectation is often wrong for a few rows, so the decision is made
here, and statements are written so that PostgreSQL follows it. A price then knows what a page will take.
"""

from __future__ import annotations

import re
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

from schema.ports.shares import OF_PARENT, may_match_none, related_to_one, share_among_changed, share_of
from schema.ports.unchanged import match_only_changed
from schema.ports.values import Condition, OfRelated, Operator, columns_in, related_in

if TYPE_CHECKING:
    from schema.ports.columns import Column
    from schema.ports.statistics import TableStatistics
    from schema.ports.values import Conditions, Ordering, Term

# Microseconds for a row: one after the other in the table or in the order of the keys, in which most tables are
# stored; by any other index; for the status of an order in the overlay; for its share of a statistic;
# for counting it in an index; and for looking its customer up.
_SCANNED: Final = 0.1
_BY_KEY: Final = 0.15
_FETCHED: Final = 2.0
_PROBED: Final = 0.6
_JOINED: Final = 0.1
_AGGREGATED: Final = 0.6
_COUNTED: Final = 0.3
_LOOKED_UP: Final = 0.6
# Microseconds for a group of rows: many groups are sorted on disk.
_GROUPED: Final = 3.0
# Rows may tie at both ends of a page.
_ENDS: Final = 2
# Preparing and planning a statement for its values.
_PLANNED: Final = 700.0
# If there may be no row that matches, a walk has to be expected to be so many times as fast as reading all of them.
_CAUTION: Final = 10
# Reading all of them takes no time worth deciding about.
_SOON: Final = 40_000.0
# The operators whose rows are side by side in an index. A list is several such stretches.
_STRETCHES: Final = frozenset({Operator.EQ, Operator.GT, Operator.GTE, Operator.LT, Operator.LTE, Operator.STARTS_WITH})
_INDEXABLE: Final = _STRETCHES | {Operator.IN}
# The texts that an index of trigrams finds, if there are three letters or digits side by side.
_FOUND_BY_TRIGRAMS: Final = frozenset({Operator.CONTAINS_IN_ANY_CASE, Operator.STARTS_WITH_IN_ANY_CASE})
_TRIGRAM: Final = re.compile("[A-Za-z0-9]{3}")


class Way(Enum):
    """How a page is read.

    Attributes:
        SERVED: along an index that has the page's rows side by side. One plan serves all values.
        PASSING: along the index of the page's order, past the rows that do not match.
        SORTED: all rows that match are read, and sorted.
        CHANGED: from the overlay, since only rows that were changed through this API match.
    """

    SERVED = "served"
    PASSING = "passing"
    SORTED = "sorted"
    CHANGED = "changed"


class Found(NamedTuple):
    """The way of a page, with the microseconds that it takes for the rows that are not on the page."""

    way: Way
    microseconds: float


def way_of(conditions: Conditions, ordering: Ordering, size: int, known: TableStatistics, *, skipped: int = 0) -> Found:
    """The way of a page with these conditions in this order, after the rows that are skipped.

    An ordering within a column is that of one parent's rows.
    """
    if ordering.within is not None:
        return _way_within(ordering.within, conditions, ordering, known)
    find = _way_from_overlay if ordering.first.merged else _way_of_all
    found = find(conditions, ordering, size, known, skipped=skipped)
    if conditions and match_only_changed(conditions):
        if known.rows == 0:
            return Found(Way.CHANGED, 0.0)
        changed = Found(Way.CHANGED, _PLANNED + _read_changed(conditions, known))
        return changed if ordering.first.merged or changed.microseconds <= found.microseconds else found
    return found


def _way_of_all(
    conditions: Conditions, ordering: Ordering, size: int, known: TableStatistics, *, skipped: int
) -> Found:
    if known.rows == 0:
        # Nothing is known: PostgreSQL decides.
        return Found(Way.PASSING, 0.0)
    sort, pace = ordering.first, _BY_KEY if ordering.by_key else _FETCHED
    tied = _tied(ordering, known)
    if _is_served(conditions, sort, known):
        return _served(_read(conditions, known), tied, skipped * pace, ordering, known)
    bounds = _on(sort, conditions)
    others = tuple(term for term in conditions if term not in bounds)
    plain = _plain(others)
    planned = _PLANNED if plain else 0.0
    sorted_ = planned + _read(conditions, known) + skipped
    # Related rows are looked up for each row that is passed.
    if not known.has_index(sort) or not all(
        known.others(related.table).has_index(related.there) for related in related_in(others)
    ):
        return Found(Way.SORTED, sorted_)
    # All rows within the bounds in the index; and those until the page is full, if no column depends on another.
    all_ = known.rows * share_of(bounds, known)
    expected = min(all_, (skipped + size + 1) / max(share_of(others, known), 1 / known.rows))
    each = pace + (_PROBED * share_of(plain, known) if len(plain) < len(others) else 0.0)
    each += sum(_FETCHED * related_to_one(related, known) for related in related_in(others))
    passed = planned + tied + expected * each
    if not may_match_none(others, known):
        return Found(Way.PASSING, passed) if passed < sorted_ else Found(Way.SORTED, sorted_)
    if sorted_ <= max(_SOON, _CAUTION * passed):
        return Found(Way.SORTED, sorted_)
    return Found(Way.PASSING, planned + tied + all_ * each)


def _served(read: float, tied: float, skipped: float, ordering: Ordering, known: TableStatistics) -> Found:
    """The way of a page without any rows that do not match: along the index, or by reading all rows."""
    if known.has_index(ordering.first):
        return Found(Way.SERVED, tied + skipped) if tied <= read else Found(Way.SORTED, read)
    # `ensureIndexes` may have built the index just now.
    return Found(Way.SERVED if ordering.first in ordering.table.sorts and not tied else Way.SORTED, read)


def _way_from_overlay(
    conditions: Conditions, ordering: Ordering, size: int, known: TableStatistics, *, skipped: int
) -> Found:
    """The way of a page in the order of a value that few rows have: those along an index of the overlay.

    All others tie in it. They follow, or come first, in the order of the other columns.
    """
    found = _way_of_all(conditions, replace(ordering, keys=ordering.keys[1:]), size, known, skipped=skipped)
    return found if conditions else Found(Way.SERVED, found.microseconds)


def _tied(ordering: Ordering, known: TableStatistics) -> float:
    """The microseconds for the rows that tie in the first column with the first or the last row of a page.

    An index of the first column leaves them to be sorted, unless ties go by the key in its direction.
    """
    if ordering.by_key or (len(ordering.keys) == 1 and ordering.keys[0].descending is ordering.descending):
        return 0.0
    return _ENDS * known.rows * known.spread(ordering.first).of_any * _FETCHED


def _way_within(within: Column, conditions: Conditions, ordering: Ordering, known: TableStatistics) -> Found:
    """The way of the page of one parent: by the key along the index on the parent; else all of its rows are read."""
    side_by_side = known.has_index(*dict.fromkeys((within, ordering.first)))
    if ordering.by_key and side_by_side and not conditions:
        return Found(Way.SERVED, 0.0)
    # Along an index of another order PostgreSQL might pass the rows of all other parents, and for each parent again.
    way = Way.SERVED if ordering.by_key else Way.SORTED
    return Found(way, _read((Condition(within, Operator.EQ, OF_PARENT), *conditions), known))


def time_of_count_within(within: Column, conditions: Conditions, known: TableStatistics) -> float:
    """The microseconds for counting the rows of one parent that match."""
    of_parent = Condition(within, Operator.EQ, OF_PARENT)
    if conditions or not known.has_index(within):
        return _read((of_parent, *conditions), known)
    return known.rows * known.spread(within).of_any * _COUNTED


def time_of_count(conditions: Conditions, known: TableStatistics, *, statistics: bool) -> float:
    """The microseconds for counting the rows that match, or for their statistics."""
    plain = _plain(conditions)
    joined = known.rows * share_of(plain, known) * _JOINED if len(plain) < len(conditions) else 0.0
    aggregated = known.rows * share_of(conditions, known) * _AGGREGATED if statistics else 0.0
    read = _read(plain, known) + joined
    if match_only_changed(conditions):
        read = min(read, _read_changed(conditions, known))
    return read + aggregated


def time_of_groups(
    conditions: Conditions, known: TableStatistics, *, groups: float, merged: bool, looked_up: bool
) -> float:
    """The microseconds for statistics of the groups of the rows that match.

    Args:
        conditions: which rows are grouped.
        known: what is known of the table.
        groups: how many groups there may be.
        merged: whether rows are grouped by a merged value.
        looked_up: whether they are grouped by a value of the row of another table that each leads to.
    """
    matching = known.rows * share_of(conditions, known)
    each = _JOINED * merged + _LOOKED_UP * looked_up
    return time_of_count(conditions, known, statistics=True) + matching * each + min(matching, groups) * _GROUPED


def _is_served(conditions: Conditions, sort: Column, known: TableStatistics) -> bool:
    """Whether an index has all rows that match side by side, in the page's order."""
    if all(isinstance(term, Condition) and term.column is sort and term.operator in _STRETCHES for term in conditions):
        return True
    if len(conditions) != 1:
        return False
    (only,) = conditions
    return isinstance(only, Condition) and only.operator is Operator.EQ and known.has_index(only.column, sort)


def _on(column: Column, conditions: Conditions) -> tuple[Condition, ...]:
    """The comparisons that an index on this column can serve: not those within `or` and `not`."""
    return tuple(
        term
        for term in conditions
        if isinstance(term, Condition) and term.column is column and term.operator in _INDEXABLE
    )


def _plain(conditions: Conditions) -> Conditions:
    """The conditions that need no overlay."""
    return tuple(term for term in conditions if not any(column.merged for column in columns_in((term,))))


def _read(conditions: Conditions, known: TableStatistics) -> float:
    """The microseconds for reading all rows that match: by the narrowest index, or the whole table."""
    plain = _plain(conditions)
    read, rows = known.rows * _SCANNED, float(known.rows)
    stretches = [_on(column, plain) for column in columns_in(plain) if known.has_index(column)]
    for found in (*filter(None, stretches), *((term,) for term in plain if _has_index(term, known))):
        matching = known.rows * share_of(found, known)
        time = matching * _FETCHED + sum(_found(related, known) for related in related_in(found))
        read, rows = min((read, rows), (time, matching))
    checked = sum(_checked(related, rows, known) for related in related_in(plain))
    return read + checked + (known.rows * share_of(plain, known) * _PROBED if len(plain) < len(conditions) else 0.0)


def _has_index(term: Term, known: TableStatistics) -> bool:
    """Whether an index finds the rows that match a text, or those that belong to rows of another table."""
    if isinstance(term, OfRelated):
        return known.has_index(term.here)
    if not isinstance(term, Condition) or term.operator not in _FOUND_BY_TRIGRAMS:
        return False
    return term.column in known.texts and bool(_TRIGRAM.search(str(term.value)))


def _found(term: OfRelated, known: TableStatistics) -> float:
    """The microseconds for finding the rows of the other table that match, and looking up what each belongs to."""
    other = known.others(term.table)
    return _read(term.conditions, other) + other.rows * share_of(term.conditions, other) * _FETCHED


def _checked(term: OfRelated, rows: float, known: TableStatistics) -> float:
    """The microseconds for checking so many rows: each by itself, or after reading what matches in the other table."""
    other = known.others(term.table)
    by_all = _read(term.conditions, other) + rows * _JOINED
    return min(by_all, rows * related_to_one(term, known) * _FETCHED) if other.has_index(term.there) else by_all


def _read_changed(conditions: Conditions, known: TableStatistics) -> float:
    """The microseconds for looking through the overlay, and for reading the rows whose changes match."""
    return known.changed * (_SCANNED + share_among_changed(conditions, known) * _FETCHED)
