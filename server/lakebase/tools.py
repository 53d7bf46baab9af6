"""The parts of administration that all steps share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.lakebase.database.audit import Records
    from server.lakebase.database.indexes import OrderIndexes
    from server.lakebase.database.inspection import Postgres
    from server.lakebase.login.instances import Instances
    from server.lakebase.platform.api import Platform


@dataclass(frozen=True, slots=True)
class Tools:
    """What the steps of all operations share."""

    platform: Platform
    instances: Instances
    postgres: Postgres
    indexes: OrderIndexes
    records: Records
