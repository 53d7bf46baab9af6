"""Owns a plan being made: its steps, the operation's steps beside them, and what is in the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from schema.errors import Reason
from schema.ports.administration import (
    AdminRefusal,
    InstanceState,
    OperationKind,
    OperationStep,
    Plan,
    PlanAction,
    PlannedStep,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schema.ports.administration import AdminRequest, Instance

ALREADY: Final = "exists as wanted"
# Their inputs name each thing by its kind; the others are about one thing, whose name is `name`.
_NAMING_KINDS: Final = frozenset({OperationKind.PROVISION, OperationKind.TEARDOWN, OperationKind.ENSURE_INDEXES})


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
        self.hold(resource)

    def hold(self, *resources: str) -> None:
        """Let no other operation be at work on these. Unity Catalog does not tell upper case from lower."""
        self.resources += [one.lower() for one in resources if one.lower() not in self.resources]

    def name_field(self, of: str) -> str:
        """The field of the input that names its instance, catalog or table."""
        return f"{of}Name" if self.request.kind in _NAMING_KINDS else "name"

    def need_running(self, instance: Instance, field_: str) -> None:
        """Refuse what cannot be done on an instance that is stopped, or about to go."""
        if instance.state is InstanceState.STOPPED:
            message = f"The instance {instance.name} is stopped: start it first (updateDatabaseInstance)."
            self.refuse(Reason.RESOURCE_NOT_READY, message, field_)
        elif instance.state is InstanceState.DELETING:
            self.refuse(Reason.RESOURCE_NOT_READY, f"The instance {instance.name} is being deleted.", field_)
        elif instance.state not in {InstanceState.AVAILABLE, InstanceState.UNKNOWN}:
            message = f"The instance {instance.name} is {instance.state.value}: wait until it is AVAILABLE."
            self.refuse(Reason.RESOURCE_NOT_READY, message, field_)

    def refuse(self, reason: Reason, message: str, field_: str | None = None, **more: Any) -> None:
        """Something is in the way."""
        self.refusals.append(AdminRefusal(reason, message, field_, **more))


def adder(draft: Draft, name: str, resource: str, *, exists: bool) -> Callable[..., None]:
    """Add a step of this name to the draft, once it is known what it does."""

    def add(action: PlanAction, message: str, **more: Any) -> None:
        draft.add(name, action, resource, message, exists=exists, **more)

    return add


def given(value: Any) -> Any:
    """What a request of this kind always has."""
    if value is None:
        raise ValueError("the request lacks what its kind needs")
    return value
