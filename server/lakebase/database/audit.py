"""The audit of a process: it writes entries to the log and the database, and keeps them while there is none."""

from __future__ import annotations

import asyncio
import contextlib
from contextvars import Context
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import structlog

from schema.errors import ApiError, InputError, Reason
from schema.ports.admin.audit import AuditEntry, AuditOutcome, AuditPage
from server.db.database import DatabaseAbsentError
from server.lakebase.database.audit_entry import minute_of, page_of

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from schema.ports.admin.audit import AuditFilter, AuditPosition
    from server.lakebase.database.audit_table import AuditTable

_audit = structlog.get_logger("audit")
_log = structlog.get_logger(__name__)
# The most entries in memory while there is no database: some megabytes.
_WAITING_AT_MOST: Final = 1000
# How often counts of refusals are written, so that a caller without the role causes one statement a second at most.
_COUNT_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 1.0


class AuditLog:
    """The audit of a process. Entries are written to the database at once, or wait in memory while there is none.

    At most _WAITING_AT_MOST entries wait. If there are more, the oldest refusal of a caller without the role is dropped
    first, so that such a caller cannot displace other entries. Each of them is also a line of the log.
    """

    def __init__(self, table: AuditTable) -> None:
        self._table = table
        self._waiting: dict[str, AuditEntry] = {}
        self._lines = _Lines()
        self._writing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._counting: asyncio.Task[None] | None = None
        self._counted = False
        self._unanswered = False

    @property
    def waits(self) -> bool:
        """Whether any entry waits for the database."""
        return bool(self._waiting)

    async def write(self, entry: AuditEntry) -> None:
        """Write a line to the log, and a row to the database as soon as there is one. This never fails.

        It returns when the row is written, or the database does not answer. The refusal of a caller without the role is
        written in the background, within a second.
        """
        self._lines.write(entry)
        self.hold([entry])
        if entry.reason == Reason.ROLE_MISSING.name:
            self._counted = True
            if self._counting is None or self._counting.done():
                self._counting = self._start(self._count())
        else:
            await self.flush()

    def hold(self, entries: Sequence[AuditEntry]) -> None:
        """Let entries wait for the next `flush`."""
        for entry in entries:
            held = self._waiting.get(entry.id)
            if held is None and len(self._waiting) >= _WAITING_AT_MOST:
                self._drop_one()
            self._waiting[entry.id] = (
                entry if held is None else replace(held, count=held.count + entry.count, last_at=entry.last_at)
            )

    async def flush(self) -> None:
        """Write the waiting entries, if the database answers. This never fails.

        It continues if the caller is cancelled: a count that is written twice would be too high.
        """
        if self._waiting:
            await asyncio.shield(self._start(self._flush()))

    async def of_operation(self, id_: str) -> list[AuditEntry]:
        """The entries of an operation in the database; none if it does not answer."""
        await self.flush()
        try:
            return await self._table.of_operation(id_)
        except ApiError:
            return []

    async def page(self, wanted: AuditFilter, *, size: int, after: AuditPosition | None) -> AuditPage:
        """A page of the wanted entries, newest first. If there is no database, only those in memory.

        Raises:
            UnavailableError: the database does not answer.
        """
        await self.flush()
        try:
            found, more = await self._table.page(wanted, size=size, after=after)
            return AuditPage(found, more, after is not None and await self._table.any_before(wanted, after))
        except DatabaseAbsentError:
            return page_of(self._waiting.values(), wanted, size, after)

    async def find(self, id_: str) -> AuditEntry | None:
        """The entry with this id. If there is no database, only memory is searched.

        Raises:
            UnavailableError: the database does not answer.
        """
        await self.flush()
        try:
            return await self._table.find(id_)
        except DatabaseAbsentError:
            return self._waiting.get(id_)

    async def close(self) -> None:
        """Try once more to write what waits, but not for long."""
        self._lines.end_minute(None)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.flush()
        for task in list(self._tasks):
            task.cancel()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # It may outlive the request that starts it, and takes nothing of it along.
        task = asyncio.create_task(work, name="audit", context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _count(self) -> None:
        """Write the counts of refusals every second, and their lines when their minute is over."""
        while self._lines.any_counted:
            await asyncio.sleep(_COUNT_SECONDS)
            self._lines.end_minute(datetime.now(UTC))
            # Nothing else is a reason to use the database: it must be able to sleep.
            if self._counted:
                self._counted = False
                await self.flush()

    async def _flush(self) -> None:
        async with self._writing:
            batch = list(self._waiting.values())
            if not batch:
                return
            try:
                await self._add(batch)
            except ApiError as error:
                if not self._unanswered:
                    _log.warning("audit rows wait for the database", rows=len(batch), cause=error.message)
                self._unanswered = True
                return
            self._unanswered = False
            for entry in batch:
                held = self._waiting.pop(entry.id, entry)
                if held.count > entry.count:
                    # It was counted again meanwhile.
                    self._waiting[entry.id] = replace(held, count=held.count - entry.count)

    async def _add(self, batch: list[AuditEntry]) -> None:
        try:
            await self._table.add(batch)
        except InputError:
            # PostgreSQL cannot store a value of one of them, for example in the database's encoding.
            for entry in batch:
                try:
                    await self._table.add([entry])
                except InputError:
                    _log.error("audit row cannot be stored", row=entry.id)

    def _drop_one(self) -> None:
        refused = (id_ for id_, entry in self._waiting.items() if entry.reason == Reason.ROLE_MISSING.name)
        dropped = self._waiting.pop(next(refused, next(iter(self._waiting))))
        _log.warning("audit row dropped: too many wait for the database", action=dropped.action, row=dropped.id)


class _Lines:
    """The lines `audit` in the log. Of the same refusals within a minute there are two: the first, and their count."""

    def __init__(self) -> None:
        self._minute: datetime | None = None
        self._counted: dict[str, AuditEntry] = {}

    @property
    def any_counted(self) -> bool:
        """Whether refusals of the present minute are being counted."""
        return bool(self._counted)

    def write(self, entry: AuditEntry) -> None:
        """Write the line of an entry, or count it."""
        if entry.outcome is not AuditOutcome.REFUSED:
            write_line(entry)
            return
        self.end_minute(entry.at)
        if first := self._counted.get(entry.id):
            self._counted[entry.id] = replace(first, count=first.count + 1)
            return
        if len(self._counted) >= _WAITING_AT_MOST:
            self._write_counts()
        self._counted[entry.id] = entry
        write_line(entry)

    def end_minute(self, now: datetime | None) -> None:
        """Write the counts if their minute is over at this moment. None is after all minutes."""
        minute = now and minute_of(now)
        if minute != self._minute:
            self._write_counts()
            self._minute = minute

    def _write_counts(self) -> None:
        for entry in self._counted.values():
            if entry.count > 1:
                write_line(entry)
        self._counted.clear()


def write_line(entry: AuditEntry) -> None:
    """Write the line of an entry to the log."""
    _audit.info(
        "audit",
        principal=entry.principal,
        action=entry.action,
        outcome=entry.outcome.value,
        reason=entry.reason,
        resources=list(entry.resources),
        operation=entry.operation_id,
        count=entry.count,
        request_id=entry.request_id,
    )
