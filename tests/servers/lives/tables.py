"""The life of several synced tables: the orders, and others that are worked on side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.servers.flavours import AUTOSCALING, Flavour
from tests.servers.lives.change import COST, GONE, Change, Life, calls_of, each, one, reads_of
from tests.servers.lives.picture import catalog_line, pipeline_lines, project_lines, table_lines
from tests.servers.operator import CATALOG

if TYPE_CHECKING:
    from collections.abc import Mapping

# The tables beside the orders, as the server is configured with them: the smallest ones.
_SETTINGS: Final[Mapping[str, str]] = {"TABLES": "nations=public.nation_synced,regions=public.region_synced"}
_OTHERS: Final = ("nation_synced", "region_synced")


def life_of_tables(flavour: Flavour) -> Life:
    """The life of the tables, which the mutations about all of them make."""
    calls, count = calls_of(flavour), 1 + len(_OTHERS)
    project = project_lines("0.5 to 8" if flavour is AUTOSCALING else "8 to 8")
    tables = table_lines() | pipeline_lines(count) | {f"synced table {CATALOG}.public.{name}" for name in _OTHERS}
    everything = project | one(catalog_line()) | tables
    changes = (
        Change("sync all", "refreshSyncedTable", {}, each(calls["start"], count)),
        Change("index all", "ensureIndexes", {}),
        Change(
            "teardown",
            "teardownLakebase",
            {**GONE, "purge": True},
            (*each(calls["delete_synced_table"], count), calls["delete_catalog"], calls["delete_instance"]),
            one("delete_instance"),
            less=everything,
        ),
        Change(
            "provision",
            "provisionLakebase",
            COST,
            (calls["create_instance"], calls["create_catalog"], *each(calls["create_synced_table"], count)),
            one("create_instance", "create_catalog"),
            everything,
        ),
    )
    return Life("tables", flavour, everything, changes, reads_of(flavour), _SETTINGS)
