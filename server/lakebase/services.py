"""The services that plans and steps use: the platform, its instances, PostgreSQL, and the grants and indexes kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.lakebase.database.grants_and_indexes import GrantsAndIndexesStore
    from server.lakebase.database.indexes import OrderIndexes
    from server.lakebase.database.inspection import Postgres
    from server.lakebase.login.instances import Instances
    from server.lakebase.platform.api import Platform


@dataclass(frozen=True, slots=True)
class Services:
    """The services that all plans and steps of a process share."""

    platform: Platform
    instances: Instances
    postgres: Postgres
    indexes: OrderIndexes
    grants_and_indexes: GrantsAndIndexesStore
