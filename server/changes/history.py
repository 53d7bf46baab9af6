"""The history of changes in PostgreSQL: the schema's ChangeHistory and ChangeLookup."""

from __future__ import annotations

import asyncio
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from aiodataloader import DataLoader
from sqlalchemy.exc import DBAPIError

from schema.deadline import SharedDeadline, follow
from schema.errors import InputError, Reason
from schema.ports.changes import BEGINNING, ChangePage, FeedPlace, StatusChange
from server.changes import sql_history as history
from server.db.driver import spoils
from server.db.errors import DRIVER_ERRORS, classify, driver_error, sqlstate
from server.http.read_requirement import note_load
from server.observability.log_setup import silence_failure
from server.tables.reading.read_connection import ReadConnection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import sqlalchemy as sa

    from schema.ports.changes import ChangeFilter, ChangeWindow
    from server.db.app_tables import ChangeTables
    from server.db.migrate import Migrations
    from server.db.pool import Pool

# Undefined table or schema: no status has ever been changed.
_MISSING = frozenset({"42P01", "3F000"})
_FORBIDDEN = "42501"
_BATCH = 500


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive changes, and the place up to which they are complete."""

    changes: list[StatusChange]
    reached: FeedPlace


async def epoch_of_original() -> int:
    """0, the epoch of a history that is no copy."""
    return 0


class SqlChangeHistory:
    """The schema's ChangeHistory. It reads our own tables only, so the state of the synced table does not matter.

    `epoch` finds the epoch of the history. A place of another epoch is in another history.
    """

    def __init__(
        self,
        pool: Pool,
        tables: ChangeTables,
        migrations: Migrations,
        epoch: Callable[[], Awaitable[int]] = epoch_of_original,
    ) -> None:
        self.epoch = epoch
        self._pool = pool
        self._tables = tables
        self._migrations = migrations
        self._head_task: asyncio.Task[FeedPlace] | None = None
        self._head_deadline = SharedDeadline()

    async def head(self) -> FeedPlace:
        """The head. Concurrent callers share one statement: after a restart, all subscribers come at once.

        A caller may get the head of a moment ago. A subscriber then starts earlier, and misses nothing.
        """
        if self._head_task is None or self._head_task.done():
            self._head_deadline = SharedDeadline()
            reading = self._read_head(self._head_deadline)
            self._head_task = asyncio.create_task(reading, name="head", context=Context())
            self._head_task.add_done_callback(silence_failure)
        self._head_deadline.join()
        return await asyncio.shield(self._head_task)

    async def _read_head(self, deadline: SharedDeadline) -> FeedPlace:
        # A wake-up of the database extends the deadline of every query that waits for the statement.
        follow((deadline,))
        rows = await self.rows(history.head_statement(self._tables))
        return FeedPlace(*(*rows[0], await self.epoch())) if rows else BEGINNING

    async def require(self, *places: FeedPlace) -> None:
        """Check that the history has a change at each of these places, in one statement.

        Raises:
            InputError: CURSOR_INVALID.
        """
        wanted = [place for place in places if place != BEGINNING]
        if wanted:
            await self._require_epoch(*wanted)
            rows = await self.rows(history.places_statement(self._tables, [place.id for place in wanted]))
            moments = dict(tuple(row) for row in rows)
            if any(place.id not in moments or place.moment not in {None, moments[place.id]} for place in wanted):
                raise history_replaced()

    async def _require_epoch(self, *places: FeedPlace) -> int:
        """The epoch, if these places are of it. The beginning is in every history."""
        epoch = await self.epoch()
        if any(place.epoch != epoch for place in places if place != BEGINNING):
            raise history_replaced()
        return epoch

    async def page(self, window: ChangeWindow, chosen: ChangeFilter, *, until: FeedPlace | None) -> ChangePage:
        """A page of changes, in one statement."""
        epoch = await self._require_epoch(*([window.position] if window.position else []))
        rows = await self.rows(history.page_statement(self._tables, window, chosen, until=until))
        return _page(rows, window, epoch)

    async def of_orders(
        self, keys: Sequence[int], window: ChangeWindow, *, until: FeedPlace | None
    ) -> dict[int, ChangePage]:
        """A page for each order, in one statement."""
        epoch = await self._require_epoch(*([window.position] if window.position else []))
        by_key: dict[int, list[Any]] = {key: [] for key in keys}
        for row in await self.rows(history.of_orders_statement(self._tables, keys, window, until=until)):
            by_key[row[0]].append(tuple(row)[1:])
        return {key: _page(rows, window, epoch) for key, rows in by_key.items()}

    async def by_ids(self, ids: Sequence[int]) -> dict[int, StatusChange]:
        """The changes with these ids, in one statement."""
        rows = await self.rows(history.by_ids_statement(self._tables, ids))
        epoch = await self.epoch()
        return {row[0]: StatusChange(*(*row, epoch)) for row in rows}

    async def between(self, after: FeedPlace, until: FeedPlace, order_keys: frozenset[int] | None) -> Stretch:
        """The first changes after one place and up to another, in one statement."""
        rows = await self.rows(history.between_statement(self._tables, after.id, until.id, order_keys, size=_BATCH))
        changes = [StatusChange(*(*row, after.epoch or until.epoch)) for row in rows]
        return Stretch(changes, changes[-1].place if len(changes) == _BATCH else until)

    async def rows(self, statement: sa.Executable) -> Sequence[Any]:
        """The rows of a statement. It only reads, so it may run twice.

        Raises:
            UnavailableError: the database does not answer, or the server may not read the tables.
        """
        try:
            try:
                return await self._attempt(statement)
            except (DBAPIError, *DRIVER_ERRORS) as error:
                if not spoils(driver_error(error)):
                    raise
                return await self._attempt(statement)
        except Exception as error:
            state = sqlstate(error)
            if state in _MISSING:
                return ()
            if state == _FORBIDDEN:
                raise await self._migrations.use_refused() from error
            if (meaning := classify(error)) is error:
                raise
            raise meaning from error

    async def _attempt(self, statement: sa.Executable) -> Sequence[Any]:
        return await self._pool.run(lambda raw: ReadConnection(self._pool, raw).rows(statement))


class SqlChangeLookup:
    """The schema's ChangeLookup: one statement for each window that is requested in one turn of the event loop."""

    def __init__(self, history_: SqlChangeHistory) -> None:
        # Not methods: the lookup and its loaders would be a cycle.
        self._pages: DataLoader[tuple[int, ChangeWindow, FeedPlace | None], ChangePage] = DataLoader(
            partial(_load_pages, history_),  # type: ignore[arg-type] # an exception among the values fails its own key only
            cache=False,
        )
        self._changes: DataLoader[int, StatusChange | None] = DataLoader(partial(_load_changes, history_), cache=False)

    async def changes(self, ids: Sequence[int]) -> Sequence[StatusChange | None]:
        """The changes with these ids."""
        return await self._changes.load_many(ids)

    async def of_order(self, order_key: int, window: ChangeWindow, *, until: FeedPlace | None) -> ChangePage:
        """A page of the changes of one order."""
        return await self._pages.load((order_key, window, until))


async def _load_changes(history: SqlChangeHistory, ids: list[int]) -> list[StatusChange | None]:
    note_load()
    found = await history.by_ids(sorted(set(ids)))
    return [found.get(id_) for id_ in ids]


async def _load_pages(
    history: SqlChangeHistory, wanted: list[tuple[int, ChangeWindow, FeedPlace | None]]
) -> list[ChangePage | BaseException]:
    note_load()
    keys_of: dict[tuple[ChangeWindow, FeedPlace | None], set[int]] = {}
    for key, window, until in wanted:
        keys_of.setdefault((window, until), set()).add(key)
    pages: dict[tuple[int, ChangeWindow, FeedPlace | None], ChangePage | BaseException] = {}
    for (window, until), order_keys in keys_of.items():
        try:
            found = await history.of_orders(sorted(order_keys), window, until=until)
        except InputError as error:
            # A wrong cursor fails only the fields that it was given to.
            pages.update({(key, window, until): error for key in order_keys})
        else:
            pages.update({(key, window, until): page for key, page in found.items()})
    return [pages[one] for one in wanted]


def history_replaced() -> InputError:
    """The error for a cursor whose change the history does not have."""
    return InputError(
        Reason.CURSOR_INVALID,
        "The cursor is of another history of changes: the database was restored, copied or made anew. Load your data "
        "again, and continue from its `headCursor`.",
    )


def _page(rows: Sequence[Any], window: ChangeWindow, epoch: int) -> ChangePage:
    """A page from rows in the direction of travel. Each row is `known`, `any_behind` and a change.

    Raises:
        InputError: CURSOR_INVALID. Without tables there are no rows, and the only place is the beginning.
    """
    if window.position not in {None, BEGINNING} and not (rows and rows[0][0]):
        raise history_replaced()
    any_behind = bool(rows) and bool(rows[0][1])
    changes = [StatusChange(*(*tuple(row)[2:], epoch)) for row in rows if row[2] is not None]
    more_ahead = len(changes) > window.size
    changes = changes[: window.size]
    return ChangePage(changes[::-1] if window.backward else changes, more_ahead, any_behind)
