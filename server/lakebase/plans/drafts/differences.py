"""Compares the actual properties of a resource with the wanted ones."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from schema.ports.admin.branches import endpoint_change
from schema.ports.admin.instances import NEVER, InstanceState
from schema.ports.admin.plans import Difference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schema.ports.admin.branches import Branch, BranchChange, BranchSpec, Endpoint, Snapshot, SnapshotSpec
    from schema.ports.admin.instances import Instance, InstanceChange, InstanceSpec
    from schema.ports.admin.tables import Catalog, CatalogSpec, SyncedTable, SyncedTableSpec

_MOMENTS: Final = frozenset({"expiresAt", "from.time", "to"})


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


def branch_differences(found: Branch, spec: BranchSpec, *, created: bool = False) -> list[Difference]:
    """How a branch differs from this spec.

    `created`: it was created just now by this spec, so that what the platform does not tell of it is as wanted, and its
    term is not compared. Otherwise a branch of an unknown moment is not taken for one of the wanted moment.
    """
    time, term = found.source_time, found.expires_at
    unknown = None if created else "not known" if found.source else "none"
    wanted_term = spec.ttl_seconds and term is None and f"{spec.ttl_seconds} (counted from its creation)"
    return _differences(
        ("from.branch", found.source, spec.source),
        ("from.snapshot", found.source_snapshot, spec.snapshot),
        (
            "to" if spec.default else "from.time",
            time.isoformat() if time else unknown,
            spec.time and _same_moment(spec.time, time),
        ),
        ("from.lsn", found.source_lsn or unknown, spec.lsn and _same_position(spec.lsn, found.source_lsn)),
        ("protected", found.is_protected, spec.protected or None),
        *(
            ()
            if created
            else (
                ("expiresAt", *_ends(spec.expires_at, term)),
                ("ttlSeconds", "never", wanted_term or None),
                # The default branch stays.
                ("expiresAt", _ends(None, term)[0], "never" if spec.default else None),
            )
        ),
    )


def snapshot_differences(found: Snapshot, spec: SnapshotSpec) -> list[Difference]:
    """How a snapshot differs from this spec. The platform does not tell the moment that it shows."""
    wanted_term = spec.ttl_seconds and found.expires_at is None and f"{spec.ttl_seconds} (counted from its creation)"
    return _differences(
        ("branch", found.source, spec.source),
        ("expiresAt", *_ends(spec.expires_at, found.expires_at)),
        ("ttlSeconds", "never", wanted_term or None),
    )


def endpoint_changes(found: Endpoint, spec: BranchSpec) -> list[Difference]:
    """The limits of an endpoint that differ from those that a branch's spec names."""
    wanted = endpoint_change(found, spec)
    return _differences(
        ("endpoint.minCu", found.min_cu, wanted.min_cu),
        ("endpoint.maxCu", found.max_cu, wanted.max_cu),
        ("endpoint.suspendAfterSeconds", found.suspend_after_seconds, wanted.suspend_after_seconds),
        ("endpoint.readableSecondaries", found.readable_secondaries, wanted.readable_secondaries),
        ("endpoint.nodeCount", found.size, wanted.node_count),
    )


def branch_changes(found: Branch, change: BranchChange) -> list[Difference]:
    """The properties that an update would change. A time from now on always differs: it counts anew."""
    expires, wanted = _ends(change.expires_at, found.expires_at)
    return _differences(
        ("protected", found.is_protected, change.protected),
        ("expiresAt", expires, "never" if change.never_expires else wanted),
        ("ttlSeconds", expires, change.ttl_seconds and f"{change.ttl_seconds} (counted from now)"),
        ("default", found.is_default, change.default or None),
    )


def _ends(wanted: str | None, found: datetime | None) -> tuple[str, str | None]:
    """When something expires, and when it should, as texts that are equal if these are the same."""
    return found.isoformat() if found else "never", wanted and _same_moment(wanted, found)


def _same_moment(wanted: str, found: datetime | None) -> str:
    """A moment as text; as it was found if that is the same. The platform may round it to milliseconds or seconds."""
    apart = abs((found - datetime.fromisoformat(wanted)).total_seconds()) if found else None
    rounded_by = 1.0 if found and not found.microsecond else 0.001
    return found.isoformat() if found and apart is not None and apart < rounded_by else wanted


def _same_position(wanted: str, found: str | None) -> str:
    """A position in PostgreSQL's log as text; as it was found if that is the same: 0/1A is 0/0000001a."""
    same = found is not None and [int(part, 16) for part in wanted.split("/")] == [
        int(part, 16) for part in found.split("/")
    ]
    return found if found is not None and same else wanted


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
        ", ".join(
            f"{one.field} is {_shown(one, one.current)}, should be {_shown(one, one.wanted)}" for one in differences
        )
        or "nothing differs"
    )


def describe_changes(differences: Sequence[Difference]) -> str:
    """What a request changes, in words."""
    return "changes " + ", ".join(
        f"{one.field} from {_shown(one, one.current)} to {_shown(one, one.wanted)}" for one in differences
    )


def in_utc(moment: datetime | str) -> str:
    """A moment to the second, as plans show it."""
    when = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _shown(difference: Difference, value: str) -> str:
    """A value as sentences show it: not with microseconds, as the platform tells moments."""
    return in_utc(value) if difference.field in _MOMENTS and value[:1].isdigit() else value


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
