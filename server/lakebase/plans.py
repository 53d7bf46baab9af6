"""Owns the plan of a request: what is there, what would be done, and what is in the way. It changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from schema.errors import ApiError, ForbiddenError, Reason
from schema.lakebase_ports import (
    AdminRefusal,
    InstanceChange,
    InstanceState,
    OperationKind,
    OperationStep,
    Plan,
    PlanAction,
    PlannedStep,
)
from server.lakebase.comparison import (
    catalog_differences,
    change_differences,
    instance_differences,
    said,
    table_differences,
)
from server.lakebase.postgres import place_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from schema.lakebase_ports import (
        AdminRequest,
        Catalog,
        CatalogSpec,
        Configured,
        Instance,
        InstanceSpec,
        SyncedTable,
        SyncedTableSpec,
    )
    from server.lakebase.stepping import Tools

_DELETES: Final = frozenset(
    {
        OperationKind.DELETE_INSTANCE,
        OperationKind.DELETE_CATALOG,
        OperationKind.DELETE_SYNCED_TABLE,
        OperationKind.TEARDOWN,
    }
)
_ALREADY: Final = "exists as wanted"


@dataclass(slots=True)
class Draft:
    """A plan being made: its steps, those of the operation beside them, and what is in the way."""

    request: AdminRequest
    steps: list[PlannedStep] = field(default_factory=list)
    work: list[OperationStep] = field(default_factory=list)
    resources: list[str] = field(default_factory=list)
    refusals: list[AdminRefusal] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    status_changes_lost: int | None = 0

    @property
    def plan(self) -> Plan:
        """As it is shown."""
        return Plan(tuple(self.steps), self.status_changes_lost)

    def add(
        self,
        name: str,
        action: PlanAction,
        resource: str,
        message: str,
        *,
        exists: bool | None,
        differences: Sequence[Any] = (),
        costs: bool = False,
    ) -> None:
        """Plan a step, which is one of the operation too, unless nothing is to be done."""
        self.steps.append(PlannedStep(name, action, resource, exists, message, differences, costs))
        self.work.append(OperationStep(name, resource))
        if resource not in self.resources:
            self.resources.append(resource)

    def refuse(self, reason: Reason, message: str, field_: str | None = None, **more: Any) -> None:
        """Something is in the way."""
        self.refusals.append(AdminRefusal(reason, message, field_, **more))


class Planner:
    """Makes plans. All of it raises ApiError where the platform cannot be asked."""

    def __init__(self, tools: Tools, configured: Configured, *, storage: bool, hosting: str | None) -> None:
        self._tools = tools
        self._configured = configured
        self._storage = storage
        self._hosting = hosting
        self._kinds: Mapping[OperationKind, Callable[[Draft], Awaitable[None]]] = {
            OperationKind.CREATE_INSTANCE: self._create_instance,
            OperationKind.UPDATE_INSTANCE: self._update_instance,
            OperationKind.DELETE_INSTANCE: self._delete_instance_alone,
            OperationKind.CREATE_CATALOG: self._create_catalog,
            OperationKind.DELETE_CATALOG: self._delete_catalog_alone,
            OperationKind.CREATE_SYNCED_TABLE: self._create_table,
            OperationKind.DELETE_SYNCED_TABLE: self._delete_table_alone,
            OperationKind.REFRESH_SYNCED_TABLE: self._refresh_table,
            OperationKind.ENSURE_INDEXES: self._build_indexes,
            OperationKind.PROVISION: self._provision,
            OperationKind.TEARDOWN: self._teardown,
        }

    async def plan(self, request: AdminRequest) -> Draft:
        """What it would come to, and why it would be refused."""
        draft = Draft(request)
        await self._kinds[request.kind](draft)
        if not request.dry_run:
            self._check_flags(draft)
        return draft

    def _check_flags(self, draft: Draft) -> None:
        request, lost = draft.request, draft.status_changes_lost
        if request.kind in _DELETES and not request.confirm_deletion:
            draft.refuse(
                Reason.DELETION_NOT_CONFIRMED,
                "This deletes what the plan says. Send it with confirmDeletion: true if that is meant.",
                "confirmDeletion",
            )
        if lost != 0 and not request.discard_status_changes:
            held = (
                "Status changes that cannot be counted now" if lost is None else f"{lost:,} recorded status change(s)"
            )
            draft.refuse(
                Reason.STATUS_CHANGES_AT_STAKE,
                f"{held} may lose their only copy. Save them first (python -m server export-changes), or send it with "
                "discardStatusChanges: true.",
                "discardStatusChanges",
            )
        costly = [step.resource for step in draft.steps if step.costs]
        if costly and not request.acknowledge_cost:
            draft.refuse(
                Reason.COST_NOT_ACKNOWLEDGED,
                f"This costs money from then on: {', '.join(dict.fromkeys(costly))}. Send it with acknowledgeCost: "
                "true if that is meant.",
                "acknowledgeCost",
            )

    async def _create_instance(self, draft: Draft) -> None:
        spec = _given(draft.request.instance)
        resource, found = f"instance {spec.name}", await self._tools.platform.instance(spec.name)
        add = _adder(draft, "create_instance", resource, exists=found is not None)
        if found is None:
            add(PlanAction.CREATE, f"is made with {_shape(spec)}", costs=True)
        elif differences := instance_differences(found, spec):
            add(PlanAction.NOTHING, "exists and is otherwise", differences=differences)
            draft.refuse(
                Reason.SPEC_CONFLICT,
                f"The {resource} exists and is otherwise: {said(differences)}. Change it with updateDatabaseInstance, "
                "or take another name.",
                "name",
                differences=differences,
            )
        elif found.state is InstanceState.STOPPED:
            add(PlanAction.START, "exists as wanted, and is started", costs=True)
        elif found.state is InstanceState.DELETING:
            add(PlanAction.NOTHING, "is being deleted")
            draft.refuse(Reason.RESOURCE_NOT_READY, f"The {resource} is being deleted. Wait until it is gone.", "name")
        else:
            add(PlanAction.NOTHING, f"{_ALREADY} ({found.state.value})")

    async def _update_instance(self, draft: Draft) -> None:
        change: InstanceChange = _given(draft.request.change)
        resource, found = f"instance {change.name}", await self._tools.platform.instance(change.name)
        add = _adder(draft, "update_instance", resource, exists=found is not None)
        if found is None:
            add(PlanAction.NOTHING, "does not exist")
            draft.refuse(Reason.RESOURCE_NOT_FOUND, f"There is no {resource}.", "name")
            return
        draft.facts["instance_uid"] = found.uid
        draft.facts["hosts_operations"] = change.name == self._hosting
        differences = change_differences(found, change)
        nodes = change.node_count or found.node_count or 1
        secondaries = found.readable_secondaries if change.readable_secondaries is None else change.readable_secondaries
        if secondaries and nodes < 2:  # noqa: PLR2004 # the primary, and one that can be read from
            draft.refuse(
                Reason.SETTING_INVALID,
                f"Readable secondaries need a nodeCount of 2 or more; it is {nodes}.",
                "enableReadableSecondaries",
            )
        if found.state is InstanceState.DELETING:
            draft.refuse(Reason.RESOURCE_NOT_READY, f"The {resource} is being deleted.", "name")
        if not differences:
            add(PlanAction.NOTHING, "is as wanted")
        elif change.stopped and not found.stopped:
            add(
                PlanAction.STOP, "is stopped; what it serves is not served until it is started", differences=differences
            )
        elif change.stopped is False and found.stopped:
            add(PlanAction.START, "is started", differences=differences, costs=True)
        else:
            add(PlanAction.UPDATE, said(differences), differences=differences, costs=_costs_more(found, change))

    async def _delete_instance_alone(self, draft: Draft) -> None:
        await self._delete_instance(draft)
        catalog = await self._configured_catalog()
        if catalog and catalog.instance_name == draft.request.instance_name:
            draft.refuse(
                Reason.RESOURCE_IN_USE,
                f"The catalog {catalog.name} registers a database of this instance. Delete that first, or use "
                "teardownLakebase.",
                "name",
            )

    async def _delete_instance(self, draft: Draft) -> None:
        name = _given(draft.request.instance_name)
        found = await self._tools.platform.instance(name)
        add = _adder(draft, "delete_instance", f"instance {name}", exists=found is not None)
        if found is None:
            add(PlanAction.NOTHING, "does not exist")
            return
        draft.facts["instance_uid"] = found.uid
        draft.facts["hosts_operations"] = name == self._hosting
        if found.state is InstanceState.DELETING:
            add(PlanAction.NOTHING, "is being deleted already")
            return
        draft.status_changes_lost = await self._tools.postgres.count_changes(name)
        held = "status changes that cannot be counted" if draft.status_changes_lost is None else "status changes: "
        held += "" if draft.status_changes_lost is None else f"{draft.status_changes_lost:,}"
        add(PlanAction.DELETE, f"is deleted for good, with all its databases ({held})")

    async def _create_catalog(self, draft: Draft) -> None:
        spec = _given(draft.request.catalog)
        resource, found = f"catalog {spec.name}", await self._tools.platform.catalog(spec.name)
        add = _adder(draft, "create_catalog", resource, exists=found is not None)
        if found is not None:
            if not (differences := catalog_differences(found, spec)):
                add(PlanAction.NOTHING, _ALREADY)
                return
            add(PlanAction.NOTHING, "exists and is otherwise", differences=differences)
            draft.refuse(
                Reason.SPEC_CONFLICT,
                f"The {resource} exists and is otherwise: {said(differences)}. Take another name.",
                "name",
                differences=differences,
            )
            return
        made = ", which is made where it is missing" if spec.create_database else ""
        add(PlanAction.CREATE, f"registers the database {spec.database_name} of {spec.instance_name}{made}")
        if draft.request.kind is OperationKind.CREATE_CATALOG:
            self._check_instance(draft, await self._tools.platform.instance(spec.instance_name), spec)

    @staticmethod
    def _check_instance(draft: Draft, found: Instance | None, spec: CatalogSpec) -> None:
        if found is None:
            draft.refuse(
                Reason.RESOURCE_NOT_FOUND, f"There is no instance {spec.instance_name}: make it first.", "instanceName"
            )
        elif found.state is InstanceState.STOPPED:
            draft.refuse(
                Reason.RESOURCE_NOT_READY,
                f"The instance {spec.instance_name} is stopped: start it first (updateDatabaseInstance).",
                "instanceName",
            )

    async def _delete_catalog_alone(self, draft: Draft) -> None:
        found = await self._delete_catalog(draft)
        if found and found.instance_name and found.database_name:
            # Nowhere is it said that the platform leaves the database alone.
            draft.status_changes_lost = await self._tools.postgres.count_changes(
                found.instance_name, found.database_name
            )

    async def _delete_catalog(self, draft: Draft, *, besides: str | None = None) -> Catalog | None:
        name = _given(draft.request.catalog_name)
        found = await self._tools.platform.catalog(name)
        add = _adder(draft, "delete_catalog", f"catalog {name}", exists=found is not None)
        if found is None:
            add(PlanAction.NOTHING, "does not exist")
            return None
        draft.facts["catalog_uid"] = found.uid
        add(PlanAction.DELETE, f"no longer registers the database {found.database_name} of {found.instance_name}")
        if tables := [table for table in await self._tables_of(name) if table != besides]:
            draft.refuse(
                Reason.RESOURCE_IN_USE,
                f"The catalog {name} still holds synced tables: {', '.join(tables)}. Delete them first.",
                "name" if draft.request.kind is OperationKind.DELETE_CATALOG else "catalogName",
            )
        return found

    async def _tables_of(self, catalog: str) -> list[str]:
        """What is known of a catalog's synced tables: from Unity Catalog's list, and the one that is served."""
        configured = self._configured.table_name
        try:
            tables = await self._tools.platform.tables_of(catalog)
        except ForbiddenError:
            tables = []
        if configured and configured.split(".")[0] == catalog and configured not in tables:
            tables += [configured] if await self._tools.platform.synced_table(configured) else []
        return sorted(tables)

    async def _create_table(self, draft: Draft) -> None:
        spec: SyncedTableSpec = _given(draft.request.table)
        await self._ensure_table(draft, spec)
        if draft.steps[0].action is PlanAction.CREATE:
            catalog = await self._tools.platform.catalog(spec.name.split(".")[0])
            if catalog is None and not (spec.instance_name and spec.database_name):
                draft.refuse(
                    Reason.RESOURCE_NOT_FOUND,
                    f"{spec.name.split('.')[0]} is no catalog of a database. Make that first, or, in another kind of "
                    "catalog, say instanceName and databaseName.",
                    "name",
                )
        self._after_sync(draft, spec.name)

    async def _ensure_table(self, draft: Draft, spec: SyncedTableSpec) -> None:
        resource, found = f"synced table {spec.name}", await self._tools.platform.synced_table(spec.name)
        add = _adder(draft, "create_synced_table", resource, exists=found is not None)
        if found is not None:
            if not (differences := table_differences(found, spec)):
                add(PlanAction.NOTHING, f"{_ALREADY} ({found.state.value})")
                return
            add(PlanAction.NOTHING, "exists and is otherwise", differences=differences)
            draft.refuse(
                Reason.SPEC_CONFLICT,
                f"The {resource} exists and is otherwise: {said(differences)}. Delete it first, or take another name.",
                "name",
                differences=differences,
            )
            return
        add(PlanAction.CREATE, f"copies {spec.source}, {spec.policy}, by a pipeline of its own", costs=True)
        if not self._storage and not (spec.storage_catalog and spec.storage_schema):
            draft.refuse(
                Reason.SETTING_INVALID,
                "Say storageCatalog and storageSchema, where its pipeline may keep tables, or set "
                "SYNCED_TABLE_STORAGE_CATALOG and SYNCED_TABLE_STORAGE_SCHEMA.",
                "storageCatalog",
            )
        await self._check_source(draft, spec)

    async def _check_source(self, draft: Draft, spec: SyncedTableSpec) -> None:
        source = await self._tools.platform.source(spec.source)
        if source is None:
            draft.refuse(
                Reason.SOURCE_INVALID, f"There is no source table {spec.source}, or it is not shown.", "source"
            )
            return
        wanted = {
            "primaryKey": spec.primary_key,
            "timeseriesKey": (spec.timeseries_key,) if spec.timeseries_key else (),
        }
        for argument, columns in wanted.items():
            if missing := [column for column in columns if column not in source.columns]:
                draft.refuse(
                    Reason.SOURCE_INVALID,
                    f"The source table {spec.source} has no column {', '.join(missing)}. It has: "
                    f"{', '.join(sorted(source.columns))}.",
                    argument,
                )

    async def _delete_table_alone(self, draft: Draft) -> None:
        name = _given(draft.request.table_name)
        if await self._tools.platform.synced_table(name):
            draft.add(
                "note_belongings",
                PlanAction.NOTHING,
                f"synced table {name}",
                "its grants and indexes are noted, for a table of this name that is made again",
                exists=True,
            )
        await self._delete_table(draft)

    async def _delete_table(self, draft: Draft) -> None:
        name = _given(draft.request.table_name)
        found = await self._tools.platform.synced_table(name)
        add = _adder(draft, "delete_synced_table", f"synced table {name}", exists=found is not None)
        if found is None:
            add(PlanAction.NOTHING, "does not exist")
            return
        draft.facts["table_uid"] = await self._table_uid(found)
        add(PlanAction.DELETE, "is deleted, its pipeline and its PostgreSQL table with it; status changes stay")

    async def _table_uid(self, found: SyncedTable) -> str | None:
        try:
            return await self._tools.platform.table_uid(found.name) or found.pipeline_id
        except ForbiddenError:
            return found.pipeline_id

    async def _refresh_table(self, draft: Draft) -> None:
        name = _given(draft.request.table_name)
        resource, found = f"synced table {name}", await self._tools.platform.synced_table(name)
        if found is None:
            draft.add("sync_table", PlanAction.NOTHING, resource, "does not exist", exists=False)
            draft.refuse(Reason.RESOURCE_NOT_FOUND, f"There is no {resource}.", "name")
            return
        draft.add("note_belongings", PlanAction.NOTHING, resource, "its grants and indexes are noted", exists=True)
        draft.add("sync_table", PlanAction.SYNC, resource, "is synced now, which may replace the table", exists=True)
        self._after_sync(draft, name)

    def _after_sync(self, draft: Draft, name: str) -> None:
        resource = f"synced table {name}"
        draft.add(
            "restore_belongings", PlanAction.UPDATE, resource, "noted grants and indexes are put back", exists=None
        )
        draft.add(
            "build_indexes",
            PlanAction.BUILD,
            resource,
            "the indexes that orders need are there afterwards",
            exists=None,
        )

    async def _build_indexes(self, draft: Draft) -> None:
        name = _given(draft.request.table_name)
        resource, found = f"synced table {name}", await self._tools.platform.synced_table(name)
        if found is None:
            draft.add("build_indexes", PlanAction.NOTHING, resource, "does not exist", exists=False)
            draft.refuse(Reason.RESOURCE_NOT_FOUND, f"There is no {resource}.", "name")
            return
        try:
            missing = await self._tools.indexes.missing(place_of(found))
        except ApiError as error:
            draft.add(
                "build_indexes", PlanAction.BUILD, resource, f"it is not known which: {error.message}", exists=None
            )
            return
        if missing:
            message = f"missing: {'; '.join(missing)}"
            draft.add("build_indexes", PlanAction.BUILD, resource, message, exists=False)
        else:
            draft.add("build_indexes", PlanAction.NOTHING, resource, "all indexes are there", exists=True)

    async def _provision(self, draft: Draft) -> None:
        await self._create_instance(draft)
        await self._create_catalog(draft)
        table = _given(draft.request.table)
        await self._ensure_table(draft, table)
        self._after_sync(draft, table.name)

    async def _teardown(self, draft: Draft) -> None:
        await self._delete_table(draft)
        await self._delete_catalog(draft, besides=draft.request.table_name)
        await self._delete_instance(draft)

    async def _configured_catalog(self) -> Catalog | None:
        name = self._configured.catalog_name
        return await self._tools.platform.catalog(name) if name else None


def _adder(draft: Draft, name: str, resource: str, *, exists: bool) -> Callable[..., None]:
    def add(action: PlanAction, message: str, **more: Any) -> None:
        draft.add(name, action, resource, message, exists=exists, **more)

    return add


def _costs_more(found: Instance, change: InstanceChange) -> bool:
    larger = _units(change.capacity) > _units(found.capacity) if change.capacity else False
    nodes = (change.node_count or 0) > (found.node_count or 1)
    return larger or nodes or bool(change.readable_secondaries and not found.readable_secondaries)


def _units(capacity: str | None) -> float:
    """CU_4 as 4; what is not known is none, so that any change from it counts as larger."""
    try:
        return float((capacity or "").removeprefix("CU_"))
    except ValueError:
        return 0.0


def _shape(spec: InstanceSpec) -> str:
    nodes = f"{spec.node_count} node{'s' if spec.node_count > 1 else ''}"
    return f"{spec.capacity}, {nodes}, {spec.retention_days} days of retention"


def _given(value: Any) -> Any:
    """What a request of this kind always has."""
    if value is None:
        raise ValueError("the request lacks what its kind needs")
    return value
