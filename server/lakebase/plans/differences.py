"""Compares the actual properties of a resource with the wanted ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schema.ports.administration import Difference, InstanceState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schema.ports.administration import (
        Catalog,
        CatalogSpec,
        Instance,
        InstanceChange,
        InstanceSpec,
        SyncedTable,
        SyncedTableSpec,
    )


def instance_differences(found: Instance, spec: InstanceSpec) -> list[Difference]:
    """How an instance differs from this spec. A property that either of the two leaves out is as wanted."""
    return _differences(
        ("capacity", found.capacity, spec.capacity),
        ("nodeCount", found.node_count, spec.node_count),
        ("enableReadableSecondaries", found.readable_secondaries, spec.readable_secondaries),
        ("retentionWindowInDays", found.retention_days, spec.retention_days),
    )


def pending_changes(found: Instance, change: InstanceChange) -> list[Difference]:
    """The properties that an update would change."""
    return _differences(
        ("capacity", found.capacity, change.capacity),
        ("nodeCount", found.node_count, change.node_count),
        ("enableReadableSecondaries", found.readable_secondaries, change.readable_secondaries),
        ("retentionWindowInDays", found.retention_days, change.retention_days),
        ("stopped", found.state is InstanceState.STOPPED if found.stopped is None else found.stopped, change.stopped),
    )


def catalog_differences(found: Catalog, spec: CatalogSpec) -> list[Difference]:
    """How a catalog differs from this spec."""
    return _differences(
        _names("instanceName", found.instance_name, spec.instance_name),
        ("databaseName", found.database_name, spec.database_name),
    )


def same_name(one: str | None, other: str | None) -> bool:
    """Whether two names are of the same resource. The platform ignores case in the names of its resources."""
    return one is not None and other is not None and one.lower() == other.lower()


def table_differences(found: SyncedTable, spec: SyncedTableSpec) -> list[Difference]:
    """How a synced table differs from this spec. The platform does not report its pipeline's storage."""
    return _differences(
        _names("sourceTable", found.source, spec.source),
        ("primaryKey", ", ".join(found.primary_key) or None, ", ".join(spec.primary_key or ()) or None),
        ("timeseriesKey", found.timeseries_key or "", spec.timeseries_key),
        ("policy", found.policy and found.policy.value, spec.policy),
        _names("instanceName", found.instance_name, spec.instance_name),
        ("databaseName", found.database_name, spec.database_name),
    )


def describe(differences: Sequence[Difference]) -> str:
    """Differences in words."""
    return (
        ", ".join(f"{one.field} is {one.current}, should be {one.wanted}" for one in differences) or "nothing differs"
    )


def _differences(*properties: tuple[str, Any, Any]) -> list[Difference]:
    return [
        Difference(name, _text(found), _text(wanted))
        for name, found, wanted in properties
        if found is not None and wanted is not None and found != wanted
    ]


def _names(field: str, found: str | None, wanted: str | None) -> tuple[str, str | None, str | None]:
    """A property that is a name, as wanted if it differs only in case."""
    return field, found, found if same_name(found, wanted) else wanted


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
