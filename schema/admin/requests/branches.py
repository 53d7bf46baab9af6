"""Validation of the inputs about branches and snapshots."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from schema.admin.requests.instances import InstanceValidation
from schema.admin.requests.names import BRANCH, SNAPSHOT, instance_rule
from schema.ports.admin import administration as ports
from schema.ports.admin import branches as branch_ports
from schema.ports.admin import operations as operation_ports
from schema.relay.pagination import given

if TYPE_CHECKING:
    from schema.admin.requests import branch_inputs as inputs
    from schema.admin.requests.instance_inputs import AutoscalingInput

_LSN: Final = re.compile(r"[0-9A-F]{1,8}/[0-9A-F]{1,8}", re.ASCII | re.IGNORECASE)
_LONGEST: Final = timedelta(days=30)
_Kind = operation_ports.OperationKind


class _Term(NamedTuple):
    """When something expires; neither if it does not."""

    expires_at: str | None = None
    ttl_seconds: int | None = None


class BranchValidation(InstanceValidation):
    """Checks an input about a branch or a snapshot, and turns it into a request."""

    def create_branch(self, input_: inputs.CreateDatabaseBranchInput) -> ports.AdminRequest:
        """The request of createDatabaseBranch."""
        source, scaling = given(input_.from_), given(input_.endpoint)
        branch = time = lsn = snapshot = None
        if source is not None:
            branch = self._name_if_given(given(source.branch), BRANCH, "from.branch")
            time, lsn = self._past(given(source.time), "from.time"), given(source.lsn)
            snapshot = self._name_if_given(given(source.snapshot), SNAPSHOT, "from.snapshot")
            if snapshot is not None and (branch or time or lsn):
                self._setting("from.snapshot", "Give `snapshot` alone, or else `branch` with `time` or `lsn`.")
            if lsn is not None and time is not None:
                self._setting("from.lsn", "Give `time` or `lsn`, not both.")
            elif lsn is not None and not _LSN.fullmatch(lsn):
                self._setting("from.lsn", "`lsn` is two hexadecimal numbers with a slash between them: 16/B374D848.")
        term = self._term(given(input_.expires_at), given(input_.ttl_seconds), never=given(input_.never_expires))
        if input_.protected and term != _Term():
            self._setting(
                "protected", "A protected branch stays: give `protected: true` or a time to expire, not both."
            )
        spec = branch_ports.BranchSpec(
            self._branched_instance(given(input_.instance_name)),
            self._name(input_.name, BRANCH, "name"),
            source=branch,
            time=time,
            lsn=lsn,
            snapshot=snapshot,
            expires_at=term.expires_at,
            ttl_seconds=term.ttl_seconds,
            protected=input_.protected,
            endpoint=scaling is not None,
            **self._endpoint_limits(scaling, "endpoint"),
        )
        return ports.AdminRequest(
            _Kind.CREATE_BRANCH, branch=spec, acknowledge_cost=input_.acknowledge_cost, dry_run=input_.dry_run
        )

    def update_branch(self, input_: inputs.UpdateDatabaseBranchInput) -> ports.AdminRequest:
        """The request of updateDatabaseBranch."""
        never, default = given(input_.never_expires), given(input_.default)
        term = self._term(given(input_.expires_at), given(input_.ttl_seconds), never=never)
        if default is False:
            self._setting(
                "default",
                "A branch stops being the default one when another becomes it: send `default: true` for that one.",
            )
        change = branch_ports.BranchChange(
            self._branched_instance(given(input_.instance_name)),
            self._name(input_.name, BRANCH, "name"),
            protected=given(input_.protected),
            expires_at=term.expires_at,
            ttl_seconds=term.ttl_seconds,
            never_expires=bool(never),
            default=bool(default),
        )
        if change == branch_ports.BranchChange(change.instance_name, change.name) and default is None:
            self._setting(
                None,
                "There is nothing to change: give at least one of `protected`, `expiresAt`, `ttlSeconds`, "
                "`neverExpires` and `default`.",
            )
        return ports.AdminRequest(_Kind.UPDATE_BRANCH, branch_change=change, dry_run=input_.dry_run)

    def delete_branch(self, input_: inputs.DeleteDatabaseBranchInput) -> ports.AdminRequest:
        """The request of deleteDatabaseBranch."""
        return ports.AdminRequest(
            _Kind.DELETE_BRANCH,
            instance_name=self._branched_instance(given(input_.instance_name)),
            branch_name=self._name(input_.name, BRANCH, "name"),
            purge=input_.purge,
            confirm_deletion=input_.confirm_deletion,
            discard_status_changes=input_.discard_status_changes,
            dry_run=input_.dry_run,
        )

    def undelete_branch(self, input_: inputs.UndeleteDatabaseBranchInput) -> ports.AdminRequest:
        """The request of undeleteDatabaseBranch."""
        return ports.AdminRequest(
            _Kind.UNDELETE_BRANCH,
            instance_name=self._branched_instance(given(input_.instance_name)),
            branch_name=self._name(input_.name, BRANCH, "name"),
            acknowledge_cost=input_.acknowledge_cost,
            dry_run=input_.dry_run,
        )

    def restore(self, input_: inputs.RestoreDatabaseInput) -> ports.AdminRequest:
        """The request of restoreDatabase."""
        name = given(input_.name)
        if name is None:
            # The same moment has the same name, so that the mutation can be sent again.
            name = f"restored-{_utc(input_.to):%Y%m%d-%H%M%S}"
        spec = branch_ports.BranchSpec(
            self._branched_instance(given(input_.instance_name)),
            self._name(name, BRANCH, "name"),
            time=self._past(input_.to, "to"),
            endpoint=True,
            default=True,
            **self._endpoint_limits(given(input_.autoscaling), "autoscaling"),
        )
        return ports.AdminRequest(
            _Kind.RESTORE, branch=spec, acknowledge_cost=input_.acknowledge_cost, dry_run=input_.dry_run
        )

    def create_snapshot(self, input_: inputs.CreateDatabaseSnapshotInput) -> ports.AdminRequest:
        """The request of createDatabaseSnapshot."""
        term = self._term(given(input_.expires_at), given(input_.ttl_seconds), never=given(input_.never_expires))
        spec = branch_ports.SnapshotSpec(
            self._branched_instance(given(input_.instance_name)),
            self._name(input_.name, SNAPSHOT, "name"),
            source=self._name_if_given(given(input_.branch), BRANCH, "branch"),
            time=self._past(given(input_.time), "time"),
            expires_at=term.expires_at,
            ttl_seconds=term.ttl_seconds,
        )
        return ports.AdminRequest(
            _Kind.CREATE_SNAPSHOT, snapshot=spec, acknowledge_cost=input_.acknowledge_cost, dry_run=input_.dry_run
        )

    def delete_snapshot(self, input_: inputs.DeleteDatabaseSnapshotInput) -> ports.AdminRequest:
        """The request of deleteDatabaseSnapshot."""
        return ports.AdminRequest(
            _Kind.DELETE_SNAPSHOT,
            instance_name=self._branched_instance(given(input_.instance_name)),
            snapshot_name=self._name(input_.name, SNAPSHOT, "name"),
            confirm_deletion=input_.confirm_deletion,
            dry_run=input_.dry_run,
        )

    def _branched_instance(self, name: str | None) -> str:
        """The instance of a branch: the configured one if it is not named."""
        if not self._autoscales:
            self._setting(
                "instanceName", "This server administers instances of the Provisioned API, which have no branches."
            )
            return ""
        rule = instance_rule(self._configured.flavour)
        return self._or_configured(name, self._configured.instance_name, rule, "instanceName", "LAKEBASE_ENDPOINT")

    def _endpoint_limits(self, scaling: AutoscalingInput | None, field: str) -> dict[str, Any]:
        if scaling is None:
            return {}
        least, most, suspension = self._limits(scaling, field)
        return {
            "min_cu": least,
            "max_cu": most,
            "suspend_after_seconds": suspension,
            "readable_secondaries": given(scaling.readable_secondaries),
        }

    def _past(self, moment: datetime | None, field: str) -> str | None:
        """A moment as text. It must not be in the future."""
        if moment is None:
            return None
        if _utc(moment) > datetime.now(UTC):
            self._setting(field, f"`{field.rpartition('.')[2]}` is in the future. Choose a moment that has passed.")
        return _utc(moment).isoformat()

    def _term(self, expires_at: datetime | None, ttl: int | None, *, never: bool | None) -> _Term:
        given_ones = [
            field
            for field, is_given in (
                ("expiresAt", expires_at is not None),
                ("ttlSeconds", ttl is not None),
                ("neverExpires", bool(never)),
            )
            if is_given
        ]
        if len(given_ones) > 1:
            self._setting(given_ones[-1], "Give only one of `expiresAt`, `ttlSeconds` and `neverExpires: true`.")
            return _Term()
        if expires_at is not None and not timedelta() < _utc(expires_at) - datetime.now(UTC) <= _LONGEST:
            self._setting("expiresAt", "`expiresAt` must be in the future, and in 30 days at most.")
        if ttl is not None and not 0 < ttl <= _LONGEST.total_seconds():
            self._setting("ttlSeconds", f"`ttlSeconds` is {ttl}; it must be from 1 to {_LONGEST.total_seconds():.0f}.")
        return _Term(None if expires_at is None else _utc(expires_at).isoformat(), ttl)


def _utc(moment: datetime) -> datetime:
    """A moment in UTC, which it is in if it has no zone."""
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
