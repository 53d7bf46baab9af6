"""The services that plans and steps use: the platform, logins, PostgreSQL, and what administration keeps."""

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
    """What all plans and steps share; made once for each process."""

    platform: Platform
    instances: Instances
    postgres: Postgres
    indexes: OrderIndexes
    grants_and_indexes: GrantsAndIndexesStore
