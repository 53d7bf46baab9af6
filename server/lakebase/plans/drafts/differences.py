"""Compares the actual properties of a resource with the wanted ones."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from schema.ports.administration import Difference
from schema.ports.instances import NEVER, InstanceState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schema.ports.administration import Catalog, CatalogSpec, SyncedTable, SyncedTableSpec
    from schema.ports.branches import Branch, BranchChange, BranchSpec, Endpoint
    from schema.ports.instances import Instance, InstanceChange, InstanceSpec


def instance_differences(found: Instance, spec: InstanceSpec) -> list[Difference]:
    """How an instance differs from this spec. A property that either of the two leaves out is as wanted."""
    return _differences(*_properties(found, spec))


def pending_changes(found: Instance, change: InstanceChange) -> list[Difference]:
    """The properties that an update would change."""
    stopped = found.state is InstanceState.STOPPED if found.stopped is None else found.stopped
    return _differences(*_properties(found, change), ("stopped", stopped, change.stopped))


def _properties(found: Instance, wanted: InstanceSpec | InstanceChange) -> list[tuple[str, Any, Any]]:
    return [
        ("capacity", found.capacity, wanted.capacity),
        ("autoscaling.minCu", found.min_cu, wanted.min_cu),
        ("autoscaling.maxCu", found.max_cu, wanted.max_cu),
        ("autoscaling.suspendAfterSeconds", found.suspend_after_seconds, wanted.suspend_after_seconds),
        ("nodeCount", found.node_count, wanted.node_count),
        ("enableReadableSecondaries", found.readable_secondaries, wanted.readable_secondaries),
        ("retentionWindowInDays", found.retention_days, wanted.retention_days),
    ]


def branch_differences(found: Branch, spec: BranchSpec) -> list[Difference]:
    """How a branch differs from this spec. Its moment is not compared: the platform may round it."""
    return _differences(
        ("from.branch", found.source, spec.source),
        ("from.snapshot", found.source_snapshot, spec.snapshot),
        ("protected", found.is_protected, spec.protected or None),
    )


def branch_conflicts(found: Branch, spec: BranchSpec) -> list[Difference]:
    """How a branch that was there before the request differs from its spec.

    Its moment must be the wanted one and its term must fit: a restore to a branch of another moment would lose more.
    """
    conflicts = branch_differences(found, spec)
    expires = found.expires_at.isoformat() if found.expires_at else "never"
    conflicts += _differences(
        (
            "to" if spec.default else "from.time",
            found.source_time.isoformat() if found.source_time else "not known",
            spec.time and _same_moment(spec.time, found.source_time),
        ),
        ("expiresAt", expires, spec.expires_at and _same_moment(spec.expires_at, found.expires_at)),
        # How long the term of a branch was is not known, but whether it has one is.
        (
            "ttlSeconds",
            expires,
            f"{spec.ttl_seconds} (counted from now)" if spec.ttl_seconds and not found.expires_at else None,
        ),
        # A branch that is to be the default one stays.
        ("expiresAt", expires, "never" if spec.default else None),
    )
    return conflicts


def endpoint_changes(found: Endpoint, spec: BranchSpec) -> list[Difference]:
    """The limits of an endpoint that differ from those that a branch's spec names."""
    return _differences(
        ("endpoint.minCu", found.min_cu, spec.min_cu),
        ("endpoint.maxCu", found.max_cu, spec.max_cu),
        ("endpoint.suspendAfterSeconds", found.suspend_after_seconds, spec.suspend_after_seconds),
        ("endpoint.readableSecondaries", found.readable_secondaries, spec.readable_secondaries),
    )


def branch_changes(found: Branch, change: BranchChange) -> list[Difference]:
    """The properties that an update would change. A time from now on always differs: it counts anew."""
    expires = found.expires_at.isoformat() if found.expires_at else "never"
    wanted = (
        "never" if change.never_expires else change.expires_at and _same_moment(change.expires_at, found.expires_at)
    )
    return _differences(
        ("protected", found.is_protected, change.protected),
        ("expiresAt", expires, wanted),
        ("ttlSeconds", expires, change.ttl_seconds and f"{change.ttl_seconds} (counted from now)"),
        ("default", found.is_default, change.default or None),
    )


def _same_moment(wanted: str, found: datetime | None) -> str:
    """A moment as text; as it was found if it is the same to the second, because the platform may round it."""
    moment = datetime.fromisoformat(wanted)
    return found.isoformat() if found and abs((found - moment).total_seconds()) < 1 else wanted


def catalog_differences(found: Catalog, spec: CatalogSpec) -> list[Difference]:
    """How a catalog differs from this spec."""
    return _differences(
        _names("instanceName", found.instance_name, spec.instance_name),
        ("databaseName", found.database_name, spec.database_name),
        ("branch", found.branch, spec.branch),
    )


def same_name(one: str | None, other: str | None) -> bool:
    """Whether two names are of the same resource. The platform ignores case in the names of its resources."""
    return one is not None and other is not None and one.lower() == other.lower()


def table_differences(found: SyncedTable, spec: SyncedTableSpec) -> list[Difference]:
    """How a synced table differs from this spec. The platform does not report its pipeline's storage."""
    return _differences(
        _names("sourceTable", found.source, spec.source),
        ("primaryKey", ", ".join(found.primary_key or ()) or None, ", ".join(spec.primary_key or ()) or None),
        # A table without one has none; nothing is known of a table whose source is not known.
        ("timeseriesKey", None if found.source is None else found.timeseries_key or "", spec.timeseries_key),
        ("policy", found.policy and found.policy.value, spec.policy),
        _names("instanceName", found.instance_name, spec.instance_name),
        ("databaseName", found.database_name, spec.database_name),
        ("branch", found.branch, spec.branch),
    )


def describe(differences: Sequence[Difference]) -> str:
    """Differences in words."""
    return (
        ", ".join(f"{one.field} is {one.current}, should be {one.wanted}" for one in differences) or "nothing differs"
    )


def describe_changes(differences: Sequence[Difference]) -> str:
    """What a request changes, in words."""
    return "changes " + ", ".join(f"{one.field} from {one.current} to {one.wanted}" for one in differences)


def _differences(*properties: tuple[str, Any, Any]) -> list[Difference]:
    return [
        Difference(name, _text(name, found), _text(name, wanted))
        for name, found, wanted in properties
        if found is not None and wanted is not None and found != wanted
    ]


def _names(field: str, found: str | None, wanted: str | None) -> tuple[str, str | None, str | None]:
    """A property that is a name, as wanted if it differs only in case."""
    return field, found, found if same_name(found, wanted) else wanted


def _text(name: str, value: Any) -> str:
    if name.endswith("suspendAfterSeconds") and value == NEVER:
        return "never"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).lower() if isinstance(value, bool) else str(value)
