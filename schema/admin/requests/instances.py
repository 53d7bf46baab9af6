"""Validation of the inputs about instances. What only the other flavour has is a mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schema.admin.requests.mistakes import Mistakes
from schema.admin.requests.names import instance_rule
from schema.ports.admin import administration as ports
from schema.ports.admin import instances as instance_ports
from schema.ports.admin import operations as operation_ports
from schema.relay.pagination import given

if TYPE_CHECKING:
    from schema.admin.requests import inputs, instance_inputs

_RETENTION_DAYS: Final = range(2, 36)
_NODES: Final = range(1, 4)
_NODES_WITH_SECONDARIES: Final = 2
# The limits of autoscaling, in compute units. Larger sizes are fixed ones.
_LEAST_CU, _MOST_CU = 0.5, 64.0
# From a minute to a week.
_SUSPENSION_SECONDS: Final = range(60, 604_801)
_Kind = operation_ports.OperationKind


class InstanceValidation(Mistakes):
    """Checks an input about an instance and turns it into a request."""

    def create_instance(self, input_: instance_inputs.CreateDatabaseInstanceInput) -> ports.AdminRequest:
        """The request of createDatabaseInstance."""
        return ports.AdminRequest(
            _Kind.CREATE_INSTANCE,
            instance=self._instance_spec(self._instance(input_.name), input_),
            acknowledge_cost=input_.acknowledge_cost,
            dry_run=input_.dry_run,
        )

    def update_instance(self, input_: instance_inputs.UpdateDatabaseInstanceInput) -> ports.AdminRequest:
        """The request of updateDatabaseInstance."""
        spec, stopped = self._instance_spec(self._instance(input_.name), input_), given(input_.stopped)
        change = _change(spec, stopped=stopped)
        if change == instance_ports.InstanceChange(spec.name):
            size = "autoscaling" if self._autoscales else "capacity"
            self._setting(
                None,
                f"There is nothing to change: give at least one of `{size}`, `nodeCount`, "
                "`enableReadableSecondaries`, `retentionWindowInDays` and `stopped`.",
            )
        return ports.AdminRequest(
            _Kind.UPDATE_INSTANCE,
            change=change,
            acknowledge_cost=input_.acknowledge_cost,
            dry_run=input_.dry_run,
        )

    def delete_instance(self, input_: instance_inputs.DeleteDatabaseInstanceInput) -> ports.AdminRequest:
        """The request of deleteDatabaseInstance."""
        return ports.AdminRequest(
            _Kind.DELETE_INSTANCE,
            instance_name=self._instance(input_.name),
            confirm_deletion=input_.confirm_deletion,
            discard_status_changes=input_.discard_status_changes,
            dry_run=input_.dry_run,
            purge=input_.purge,
        )

    def undelete_instance(self, input_: instance_inputs.UndeleteDatabaseInstanceInput) -> ports.AdminRequest:
        """The request of undeleteDatabaseInstance."""
        return ports.AdminRequest(
            _Kind.UNDELETE_INSTANCE,
            instance_name=self._instance(input_.name),
            acknowledge_cost=input_.acknowledge_cost,
            dry_run=input_.dry_run,
        )

    def _instance(self, name: str, field: str = "name") -> str:
        return self._name(name, instance_rule(self._configured.flavour), field)

    def _instance_spec(
        self,
        name: str,
        input_: instance_inputs.CreateDatabaseInstanceInput
        | instance_inputs.UpdateDatabaseInstanceInput
        | inputs.ProvisionLakebaseInput,
    ) -> instance_ports.InstanceSpec:
        capacity, scaling = given(input_.capacity), given(input_.autoscaling)
        nodes, days = given(input_.node_count), given(input_.retention_window_in_days)
        secondaries = given(input_.enable_readable_secondaries)
        self._flavour(capacity is not None, scaling is not None)
        least = most = suspension = None
        field = "enableReadableSecondaries"
        if scaling is not None:
            least, most, suspension = self._limits(scaling)
            if (wanted := given(scaling.readable_secondaries)) is not None:
                if secondaries is not None:
                    self._setting(
                        "autoscaling.readableSecondaries",
                        "Give `autoscaling.readableSecondaries` or `enableReadableSecondaries`, not both.",
                    )
                secondaries, field = wanted, "autoscaling.readableSecondaries"
        self._nodes(nodes, secondaries=bool(secondaries), field=field)
        if days is not None and days not in _RETENTION_DAYS:
            self._setting(
                "retentionWindowInDays",
                f"`retentionWindowInDays` is {days}; it must be from {_RETENTION_DAYS[0]} to {_RETENTION_DAYS[-1]}.",
            )
        return instance_ports.InstanceSpec(
            name,
            capacity=None if capacity is None else str(capacity.value),
            node_count=nodes,
            readable_secondaries=secondaries,
            retention_days=days,
            min_cu=least,
            max_cu=most,
            suspend_after_seconds=suspension,
        )

    def _flavour(self, capacity: bool, scaling: bool) -> None:  # noqa: FBT001 # whether each is given
        if self._autoscales and capacity:
            self._setting(
                "capacity",
                "This server administers projects of the Autoscaling API, which have no `capacity`. Give `autoscaling` "
                "instead: 8 CU of it have the memory of `CU_1`.",
            )
        elif not self._autoscales and scaling:
            self._setting(
                "autoscaling",
                "This server administers instances of the Provisioned API, which do not scale. Give `capacity`.",
            )

    def _limits(
        self, scaling: instance_inputs.AutoscalingInput, path: str = "autoscaling"
    ) -> tuple[float | None, float | None, int | None]:
        """The least and most compute units, and the seconds until it falls asleep; `path` is the field of the input."""
        least, most = given(scaling.min_cu), given(scaling.max_cu)
        mistakes = len(self.mistakes)
        for field, size in (("minCu", least), ("maxCu", most)):
            if size is not None and not _LEAST_CU <= size <= _MOST_CU:
                self._setting(
                    f"{path}.{field}", f"`{field}` is {size:g}; it must be from {_LEAST_CU:g} to {_MOST_CU:g}."
                )
        if mistakes == len(self.mistakes) and least is not None and most is not None:
            message = instance_ports.limits_mistake(least, most)
            if message:
                self._setting(f"{path}.maxCu", message)
        return least, most, self._suspension(scaling, path)

    def _suspension(self, scaling: instance_inputs.AutoscalingInput, path: str) -> int | None:
        seconds, never = given(scaling.suspend_after_seconds), given(scaling.never_suspend)
        if seconds is not None and never:
            self._setting(f"{path}.neverSuspend", "Give `suspendAfterSeconds` or `neverSuspend: true`, not both.")
        elif seconds is not None and seconds not in _SUSPENSION_SECONDS:
            self._setting(
                f"{path}.suspendAfterSeconds",
                f"`suspendAfterSeconds` is {seconds}; it must be from {_SUSPENSION_SECONDS[0]} (a minute) to "
                f"{_SUSPENSION_SECONDS[-1]:,} (seven days).",
            )
        return instance_ports.NEVER if never else seconds

    def _nodes(self, nodes: int | None, *, secondaries: bool, field: str) -> None:
        if nodes is not None and nodes not in _NODES:
            self._setting("nodeCount", f"`nodeCount` is {nodes}; it must be from {_NODES[0]} to {_NODES[-1]}.")
        elif nodes is not None and secondaries and nodes < _NODES_WITH_SECONDARIES:
            self._setting(field, f"Readable secondaries need at least two nodes; `nodeCount` is {nodes}.")


def _change(spec: instance_ports.InstanceSpec, *, stopped: bool | None) -> instance_ports.InstanceChange:
    """The change of an instance to the properties of a spec that are given."""
    return instance_ports.InstanceChange(
        spec.name,
        capacity=spec.capacity,
        node_count=spec.node_count,
        readable_secondaries=spec.readable_secondaries,
        retention_days=spec.retention_days,
        stopped=stopped,
        min_cu=spec.min_cu,
        max_cu=spec.max_cu,
        suspend_after_seconds=spec.suspend_after_seconds,
    )
