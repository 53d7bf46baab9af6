"""A plan in the making: its steps, the operation's steps, and the reasons to refuse it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from schema.errors import Reason
from schema.ports.admin.administration import AdminRefusal
from schema.ports.admin.instances import InstanceState, limits_mistake
from schema.ports.admin.operations import OperationKind, OperationState, OperationStep
from schema.ports.admin.plans import Plan, PlanAction, PlannedStep
from server.lakebase.plans.drafts.differences import in_utc, same_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schema.ports.admin.administration import AdminRequest, Configured
    from schema.ports.admin.instances import Instance

EXISTS: Final = "exists as wanted"
CONFLICTS: Final = "exists with other properties"
# The fact of an operation that holds the name of the branch which a branch or snapshot is made from.
SOURCE: Final = "source"
# The fact of an operation, about a synced table, that holds what a new one is made from: its source, and its key.
MADE_FROM: Final = "made_from"
# The kind of resource that a synced table is, before its name.
SYNCED_TABLE: Final = "synced table "
# The most dependents that a message names.
_SHOWN_DEPENDENTS: Final = 10
# Inputs of these kinds have a name field for each resource (`tableName`). The others have one, `name`.
_NAMING_KINDS: Final = frozenset({OperationKind.PROVISION, OperationKind.TEARDOWN, OperationKind.ENSURE_INDEXES})


@dataclass(slots=True)
class Draft:
    """A plan in the making.

    `facts` and `resources` become the operation's: what its steps have to remember, and what no other operation may
    work on meanwhile. `awaits_platform` says that a resource is not in its final state yet, and needs no step of ours.
    `absent` says that what the draft is about does not exist, and is refused for that.
    """

    request: AdminRequest
    steps: list[PlannedStep] = field(default_factory=list)
    operation_steps: list[OperationStep] = field(default_factory=list)
    resources: list[str] = field(default_factory=list)
    refusals: list[AdminRefusal] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    status_changes_lost: int | None = 0
    awaits_platform: bool = False
    absent: bool = False

    @property
    def changes_nothing(self) -> bool:
        """Whether everything is as wanted already, so that there is nothing to do or to wait for."""
        return not self.awaits_platform and all(step.action is PlanAction.NOTHING for step in self.steps)

    @property
    def plan(self) -> Plan:
        """The plan as the API shows it."""
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
        """Add a step to the plan and to the operation, and reserve its resource."""
        self.steps.append(PlannedStep(name, action, resource, exists, message, differences, costs))
        self.operation_steps.append(OperationStep(name, resource))
        self.reserve(resource)

    def skip(self, name: str, resource: str) -> None:
        """Add a step on a resource that does not exist. The operation skips it, and says why."""
        message = "does not exist"
        self.steps.append(PlannedStep(name, PlanAction.NOTHING, resource, exists=False, message=message))
        skipped = OperationStep(name, resource, OperationState.SKIPPED, progress=1.0, message=f"{resource} {message}")
        self.operation_steps.append(skipped)
        self.reserve(resource)

    def add_side_by_side(self, parts: Sequence[Draft]) -> None:
        """Add what was planned for one resource in each part. The operation does it side by side.

        Each has facts of its own, under the resource's name.
        """
        for part in parts:
            self.steps += part.steps
            self.operation_steps += [replace(step, beside=True) for step in part.operation_steps]
            self.reserve(*part.resources)
            self.refusals += part.refusals
            self.facts |= {step.resource: part.facts for step in part.operation_steps}
            self.awaits_platform |= part.awaits_platform

    def reserve(self, *resources: str) -> None:
        """Keep other operations off these resources. Names are in lower case, because Unity Catalog ignores case."""
        self.resources += [one.lower() for one in resources if one.lower() not in self.resources]

    def name_field(self, of: str) -> str:
        """The input field that names the instance, catalog or table: `of` is its kind."""
        return f"{of}Name" if self.request.kind in _NAMING_KINDS else "name"

    def refuse_name(self, add: Callable[..., None], resource: str, namesake: str, field_: str) -> None:
        """Refuse to create a resource, because something else has its name; `add` adds its step, which does nothing."""
        add(PlanAction.NOTHING, f"cannot be created: its name is taken by {namesake}")
        self.refuse(
            Reason.SPEC_CONFLICT, f"The {resource} cannot be created: {namesake} has this name. Choose another.", field_
        )

    def require_available(self, name: str, instance: Instance | None, field_: str) -> None:
        """Refuse the request unless the instance exists and is available."""
        if instance is None:
            self.refuse(Reason.RESOURCE_NOT_FOUND, f"There is no instance {name}. Create it first.", field_)
        elif instance.state is InstanceState.STOPPED:
            message = f"The instance {instance.name} is stopped. Start it first with updateDatabaseInstance."
            self.refuse(Reason.RESOURCE_NOT_READY, message, field_)
        elif instance.state is InstanceState.DELETING:
            self.refuse(Reason.RESOURCE_NOT_READY, f"The instance {instance.name} is being deleted.", field_)
        elif instance.state not in {InstanceState.AVAILABLE, InstanceState.UNKNOWN}:
            message = f"The instance {instance.name} is {instance.state.value}. Wait until it is AVAILABLE."
            self.refuse(Reason.RESOURCE_NOT_READY, message, field_)

    def require_limits(
        self,
        given: tuple[float | None, float | None],
        found: tuple[float | None, float | None],
        path: str = "autoscaling",
    ) -> None:
        """Refuse limits of autoscaling that do not fit together: those that are given, or else found or the default."""
        (least, most), missing = given, "minCu" if given[0] is None else "maxCu"
        if least is None and most is None:
            return
        least, most = found[0] if least is None else least, found[1] if most is None else most
        if least is None or most is None or not (mistake := limits_mistake(least, most)):
            return
        if None in given:
            mistake = f"{mistake} Give `{missing}` too."
        self.refuse(Reason.SETTING_INVALID, mistake, f"{path}.{'minCu' if missing == 'maxCu' else 'maxCu'}")

    def require_history(self, instance: Instance | None, moment: str | None, field_: str) -> None:
        """Refuse a moment before the history of the instance begins."""
        if instance is None or moment is None:
            return
        kept = instance.retention_seconds
        beginnings = [instance.created_at, kept and datetime.now(UTC) - timedelta(seconds=kept)]
        earliest = max((one for one in beginnings if one), default=None)
        if earliest and datetime.fromisoformat(moment) < earliest:
            self.refuse(
                Reason.SETTING_INVALID,
                f"The history of {instance.name} goes back to {in_utc(earliest)}, not to {in_utc(moment)}. Choose a "
                "later moment.",
                field_,
            )

    def reserve_served(self, configured: Configured) -> None:
        """Keep other operations off the configured catalog and tables while their instance or branch changes."""
        if configured.catalog_name:
            tables = (f"{SYNCED_TABLE}{name}" for name in configured.table_names)
            self.reserve(f"catalog {configured.catalog_name}", *tables)

    def deletes(self, resource: str) -> bool:
        """Whether a step of the plan deletes the resource."""
        return any(step.action is PlanAction.DELETE and same_name(step.resource, resource) for step in self.steps)

    def refuse_if_used(self, resource: str, dependents: Sequence[str], field_: str) -> None:
        """Refuse the request if anything depends on the resource, and the plan does not delete that first."""
        if used_by := [one for one in dependents if not self.deletes(one)]:
            shown = ", ".join(used_by[:_SHOWN_DEPENDENTS])
            more = f" and {len(used_by) - _SHOWN_DEPENDENTS} more" if len(used_by) > _SHOWN_DEPENDENTS else ""
            self.refuse(
                Reason.RESOURCE_IN_USE, f"The {resource} is still used by: {shown}{more}. Delete them first.", field_
            )

    def refuse(self, reason: Reason, message: str, field_: str | None = None, **more: Any) -> None:
        """Add a reason to refuse the request."""
        self.refusals.append(AdminRefusal(reason, message, field_, **more))


def term(expires_at: str | None, ttl_seconds: int | None) -> str:
    """When the platform deletes what has a term, as the end of a step's message."""
    if expires_at is not None:
        return f"; the platform deletes it at {in_utc(expires_at)}"
    return f"; the platform deletes it after {ttl_seconds:,} seconds" if ttl_seconds else ""


def step_adder(draft: Draft, name: str, resource: str, *, exists: bool) -> Callable[..., None]:
    """A function that adds the step of this name, once its action is known."""

    def add(action: PlanAction, message: str, **more: Any) -> None:
        draft.add(name, action, resource, message, exists=exists, **more)

    return add
