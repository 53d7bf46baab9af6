"""Owns the schema's Administration: plans made, operations begun and found, the platform asked."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from schema.errors import ForbiddenError, PlatformError, Reason, UnavailableError
from schema.ports.administration import AdminOutcome, OperationPage
from server.lakebase.database.audit import ACTIONS, AuditEntry
from server.lakebase.database.inspection import place_of
from server.lakebase.operations.operation import Work
from server.lakebase.plans.planner import Planner

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from schema.ports.administration import (
        AdminRequest,
        Catalog,
        Configured,
        Instance,
        InstancePage,
        Operation,
        SyncedTable,
        TableIndex,
    )
    from server.lakebase.database.audit import Records
    from server.lakebase.operations.store import OperationLog
    from server.lakebase.runner import Runner
    from server.lakebase.tools import Tools

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


class LakebaseAdministration:
    """The schema's Administration, over one workspace."""

    def __init__(
        self,
        tools: Callable[[], Awaitable[Tools]],
        log: OperationLog,
        records: Records,
        runner: Runner,
        configured: Configured,
        *,
        storage: bool,
        hosting: str | None,
        app_schema: str,
    ) -> None:
        self._app_schema = app_schema
        self._tools = tools
        self._log = log
        self._records = records
        self._runner = runner
        self._configured = configured
        self._storage = storage
        self._hosting = hosting

    @property
    def configured(self) -> Configured:
        """The names that this server is set to."""
        return self._configured

    async def instances(self, *, size: int, token: str | None) -> InstancePage:
        """One call."""
        self._runner.look_for_orphans()
        return await (await self._tools()).platform.instances(size=size, token=token)

    async def instance(self, name: str) -> Instance | None:
        """One call."""
        self._runner.look_for_orphans()
        return await (await self._tools()).platform.instance(name)

    async def catalog(self, name: str) -> Catalog | None:
        """One call."""
        self._runner.look_for_orphans()
        return await (await self._tools()).platform.catalog(name)

    async def synced_table(self, name: str) -> SyncedTable | None:
        """Two calls: Unity Catalog knows its id."""
        self._runner.look_for_orphans()
        platform = (await self._tools()).platform
        found = await platform.synced_table(name)
        if found is None:
            return None
        try:
            return replace(found, uid=await platform.table_uid(name))
        except (ForbiddenError, PlatformError):
            return found

    async def indexes(self, table: SyncedTable) -> Sequence[TableIndex]:
        """One statement, on a connection of its own."""
        return await (await self._tools()).indexes.found(place_of(table))

    async def submit(self, request: AdminRequest, user: str) -> AdminOutcome:
        """Nothing is begun before all of the plan is known, and the plan changes nothing."""
        self._runner.look_for_orphans()
        tools = await self._tools()
        planner = Planner(
            tools, self._configured, storage=self._storage, hosting=self._hosting, app_schema=self._app_schema
        )
        draft = await planner.plan(request)
        if request.dry_run:
            return AdminOutcome(draft.plan, refusals=tuple(draft.refusals))
        work = Work(request, tuple(draft.resources), draft.work, draft.facts, user)
        other = self._runner.in_the_way(work) or await self._log.in_the_way(work)
        if other is None and not draft.refusals:
            # Whoever asked may go away: what is begun is also worked on, and noted.
            other = await asyncio.shield(asyncio.create_task(self._begin(work)))
        if other is not None and other.ended:
            raise UnavailableError(
                Reason.DATABASE_UNAVAILABLE,
                f"The end of {ACTIONS[other.request.kind]} on the same is being written down. Try again shortly.",
            )
        if other is not None and other.fingerprint == work.fingerprint:
            await self._note(work, "FOUND", operation=other)
            return AdminOutcome(draft.plan, other.operation())
        if other is not None:
            # What the plan found is about to change.
            draft.refusals.clear()
            draft.refuse(
                Reason.OPERATION_IN_PROGRESS,
                f"Another operation ({ACTIONS[other.request.kind]}) is at work on "
                f"{', '.join(sorted(set(other.resources) & set(work.resources)))}. Wait for its end.",
                operation_id=other.id,
            )
        if draft.refusals:
            await self._note(work, "REFUSED", reason=draft.refusals[0].reason)
            return AdminOutcome(draft.plan, refusals=tuple(draft.refusals))
        return AdminOutcome(draft.plan, work.operation())

    async def _begin(self, work: Work) -> Work | None:
        """Begin to work on it, unless another is in its way: that one is given then."""
        other = await self._log.begin(work, insist=f"instance {self._hosting}".lower() in work.resources)
        if other is None:
            self._runner.start(work)
            await self._note(work, "BEGUN", operation=work)
        return other

    async def operation(self, id_: str) -> Operation | None:
        """As it is now, wherever it is worked on."""
        self._runner.look_for_orphans()
        work = await self._runner.find(id_) if _UUID.fullmatch(id_) else None
        return work.operation() if work else None

    async def operations(self, *, size: int, after: str | None) -> OperationPage:
        """One statement."""
        self._runner.look_for_orphans()
        place = await self._runner.find(after) if after and _UUID.fullmatch(after) else None
        found = await self._log.page(size=size + 1, after=place)
        fresh = [self._runner.at_work(work.id) or work for work in found[:size]]
        return OperationPage([work.operation() for work in fresh], more=len(found) > size)

    async def progress(self, id_: str) -> AsyncGenerator[Operation, None]:
        """Heard of at once where this process works on it, else asked for every second while somebody listens."""
        self._runner.look_for_orphans()
        if _UUID.fullmatch(id_):
            async for operation in self._runner.progress(id_):
                yield operation

    async def note_refused(self, user: str, action: str, reason: Reason) -> None:
        """An audit entry."""
        await self._records.audit(AuditEntry(user, action, "REFUSED", reason=reason))

    async def _note(
        self, work: Work, outcome: str, *, reason: Reason | None = None, operation: Work | None = None
    ) -> None:
        await self._records.audit(
            AuditEntry(
                work.requested_by,
                ACTIONS[work.request.kind],
                outcome,
                work.resources,
                reason,
                operation.id if operation else None,
            )
        )
