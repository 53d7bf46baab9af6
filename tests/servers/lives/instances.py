"""The life of an instance with its catalog and its synced table, for each flavour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.servers.flavours import AUTOSCALING, Flavour
from tests.servers.lives.change import COST, GONE, Call, Change, Life, calls_of, one, reads_of
from tests.servers.lives.picture import NET, catalog_line, endpoint_line, instance_line, project_lines, table_lines
from tests.servers.operator import CATALOG, DATABASE, INSTANCE, TABLE

if TYPE_CHECKING:
    from collections.abc import Iterator


def life_of_instance(flavour: Flavour) -> Life:
    """The life of an instance. Only projects are deleted softly, and come back."""
    calls, limits = calls_of(flavour), "0.5 to 8" if flavour is AUTOSCALING else "8 to 8"
    project = project_lines(limits)
    changes = (
        *_updates(flavour, calls, limits),
        *([_refresh_with_net(calls)] if flavour is AUTOSCALING else []),
        *_deletions(calls),
        *(
            _soft_deletions(calls, project)
            if flavour is AUTOSCALING
            else [_deletion("delete instance", calls, project)]
        ),
        *_creations(calls, project),
    )
    return Life("instance", flavour, project | one(catalog_line()) | table_lines(), changes, reads_of(flavour))


def _updates(flavour: Flavour, calls: dict[str, Call], limits: str) -> Iterator[Change]:
    size, usual, larger = {"capacity": "CU_2"}, {"capacity": "CU_1"}, "16 to 16"
    if flavour is AUTOSCALING:
        size = {"autoscaling": {"minCu": 1, "maxCu": 4}}  # type: ignore[dict-item] # the other flavour's are names
        usual = {"autoscaling": {"minCu": 0.5, "maxCu": 8}}  # type: ignore[dict-item] # as above
        larger = "1 to 4"
    small, large = endpoint_line("production", limits), endpoint_line("production", larger)
    off, days_9, days_7 = endpoint_line("production", limits, disabled=True), instance_line(days=9), instance_line()
    for name, call, values, more, less in (
        ("resize instance", "update_instance", size, large, small),
        ("resize instance back", "update_instance", usual, small, large),
        ("keep a longer history", "retention", {"retentionWindowInDays": 9}, days_9, days_7),
        ("keep a shorter history", "retention", {"retentionWindowInDays": 7}, days_7, days_9),
        ("stop instance", "update_instance", {"stopped": True}, off, small),
        ("start instance", "update_instance", {"stopped": False}, small, off),
    ):
        # An instance that is stopped, or is being stopped, has no database for its operations.
        volatile = one("update_instance") if "stopped" in values else one()
        given = {"name": INSTANCE, **values, **COST}
        yield Change(name, "updateDatabaseInstance", given, (calls[call],), volatile, one(more), one(less))


def _refresh_with_net(calls: dict[str, Call]) -> Change:
    given = {"name": TABLE, "safetyNet": True, **COST}
    made = (calls["create_branch"], calls["start"])
    return Change("refresh with a safety net", "refreshSyncedTable", given, made, more=one(NET), repeats=False)


def _deletions(calls: dict[str, Call]) -> Iterator[Change]:
    yield Change("start sync", "refreshSyncedTable", {"name": TABLE}, (calls["start"],))
    yield Change("build indexes", "ensureIndexes", {"tableName": TABLE})
    table, catalog = (calls["delete_synced_table"],), (calls["delete_catalog"],)
    given = {"name": TABLE, "confirmDeletion": True}
    yield Change("delete table", "deleteSyncedTable", given, table, less=table_lines())
    yield Change(
        "delete catalog", "deleteDatabaseCatalog", {"name": CATALOG, **GONE}, catalog, less=one(catalog_line())
    )


def _soft_deletions(calls: dict[str, Call], project: frozenset[str]) -> Iterator[Change]:
    alive, deleted = one(instance_line()), one(instance_line(deleted=True))
    undelete = calls["undelete_instance"]
    yield _deletion("delete instance", calls, alive, more=deleted)
    yield Change(
        "undelete instance",
        "undeleteDatabaseInstance",
        {"name": INSTANCE, **COST},
        (undelete,),
        one(undelete.port),
        alive,
        deleted,
    )
    yield _deletion("delete instance again", calls, alive, more=deleted)
    yield _deletion("purge deleted instance", calls, project - alive | deleted | one(NET), purge=True)


def _deletion(
    change: str, calls: dict[str, Call], less: frozenset[str], more: frozenset[str] = frozenset(), **values: object
) -> Change:
    call, given = calls["delete_instance"], {"name": INSTANCE, **GONE, **values}
    return Change(change, "deleteDatabaseInstance", given, (call,), one(call.port), more, less)


def _creations(calls: dict[str, Call], project: frozenset[str]) -> Iterator[Change]:
    made, everything = ("create_instance", "create_catalog"), project | one(catalog_line()) | table_lines()
    in_catalog = {"name": CATALOG, "instanceName": INSTANCE, "databaseName": DATABASE}
    for name, mutation, values, port, more in (
        ("create instance", "createDatabaseInstance", {"name": INSTANCE, **COST}, "create_instance", project),
        ("create catalog", "createDatabaseCatalog", in_catalog, "create_catalog", one(catalog_line())),
        ("create table", "createSyncedTable", {"name": TABLE, **COST}, "create_synced_table", table_lines()),
    ):
        yield Change(name, mutation, values, (calls[port],), one(port) & one(*made), more)
    yield Change(
        "teardown",
        "teardownLakebase",
        {**GONE, "purge": True},
        (calls["delete_synced_table"], calls["delete_catalog"], calls["delete_instance"]),
        one("delete_instance"),
        less=everything,
    )
    provisioning = tuple(calls[port] for port in (*made, "create_synced_table"))
    yield Change("provision", "provisionLakebase", COST, provisioning, one(*made), everything)
