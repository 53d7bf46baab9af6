"""The two flavours of the platform in tests: how a server is configured for each, and which calls it makes."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from tests.servers.operator import CATALOG, INSTANCE, TABLE
from tests.support.calibration import MEASURES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.servers.platform import LocalPlatform


@dataclass(frozen=True)
class Flavour:
    """A flavour of instances.

    Args:
        settings: the settings of a server, for `operated`.
        api: the path of its API.
        instances: the path of all instances; `instance`, `catalog` and `table` are those of the operator's.
    """

    name: str
    # Any: with their real types mypy would refuse settings unpacked from a dictionary.
    settings: Mapping[str, Any]
    api: str
    instances: str
    catalog: str
    table: str

    @property
    def instance(self) -> str:
        """The path of the operator's instance."""
        return f"{self.instances}/{INSTANCE}"

    def calls(self) -> dict[str, tuple[str, str]]:
        """The method and path of each call that provisioning and a teardown make."""
        return {
            "create instance": ("POST", self.instances),
            "get instance": ("GET", self.instance),
            "create catalog": ("POST", f"{self.api}/catalogs"),
            "get catalog": ("GET", self.catalog),
            "create table": ("POST", f"{self.api}/synced_tables"),
            "get table": ("GET", self.table),
            "credential": ("POST", f"{self.api}/credentials"),
            "source": ("GET", "/api/2.1/unity-catalog/tables/samples.tpch.orders"),
            "delete table": ("DELETE", self.table),
            "delete catalog": ("DELETE", self.catalog),
            "delete instance": ("DELETE", self.instance),
            **(
                {
                    "get endpoints": ("GET", f"{self.instance}/branches/production/endpoints"),
                    "get branches": ("GET", f"{self.instance}/branches"),
                    "get operation": ("GET", f"{self.api}/.*/operations/.*"),
                }
                if self is AUTOSCALING
                else {}
            ),
        }

    @staticmethod
    def counts(platform: LocalPlatform) -> dict[str, int]:
        """The number of resources of each kind. Both flavours have the same ones; a deleted project is still there."""
        inventory: dict[str, list[Any]] = platform.inventory()
        return {kind: len(found) for kind, found in inventory.items()}


AUTOSCALING: Final = Flavour(
    "autoscaling",
    MappingProxyType(
        {
            "LAKEBASE_ENDPOINT": f"projects/{INSTANCE}/branches/production/endpoints/primary",
            "LAKEBASE_INSTANCE_NAME": "",
        }
    ),
    "/api/2.0/postgres",
    "/api/2.0/postgres/projects",
    f"/api/2.0/postgres/catalogs/{CATALOG}",
    f"/api/2.0/postgres/synced_tables/{TABLE}",
)
PROVISIONED: Final = Flavour(
    "provisioned",
    MappingProxyType({}),
    "/api/2.0/database",
    "/api/2.0/database/instances",
    f"/api/2.0/database/catalogs/{CATALOG}",
    f"/api/2.0/database/synced_tables/{TABLE}",
)
# Both take twice as long, so only `make faults` tests both.
FLAVOURS: Final = (AUTOSCALING, PROVISIONED) if MEASURES else (AUTOSCALING,)
