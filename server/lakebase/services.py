"""The services that plans and steps use: the platform, its instances, PostgreSQL, and the grants and indexes kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from schema.ports.admin.branches import EndpointKind
from server.lakebase.operations.operation import required

if TYPE_CHECKING:
    from schema.ports.admin.branches import Branch, Endpoint
    from server.lakebase.database.grants_and_indexes import GrantsAndIndexesStore
    from server.lakebase.database.indexes import TableIndexes
    from server.lakebase.database.inspection import Postgres
    from server.lakebase.login.instances import Instances
    from server.lakebase.platform.api import Branching, Platform


@dataclass(frozen=True, slots=True)
class Services:
    """The services that all plans and steps of a process share."""

    platform: Platform
    instances: Instances
    postgres: Postgres
    indexes: TableIndexes
    grants_and_indexes: GrantsAndIndexesStore

    @property
    def branching(self) -> Branching:
        """The calls about branches. Requests about branches are refused before they are planned if there are none."""
        found: Branching = required(self.platform.branching)
        return found

    async def existing_branch(self, instance: str, name: str) -> Branch | None:
        """The branch with this name that is not deleted."""
        found = await self.branching.branch(instance, name)
        return None if found is None or found.deleted_at is not None else found

    async def main_endpoint(self, branch: str) -> Endpoint | None:
        """The read-write endpoint of the branch with this path."""
        found = await self.platform.endpoints(branch)
        return next((one for one in found if one.kind is EndpointKind.READ_WRITE), None)
