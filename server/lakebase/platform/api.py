"""The port of the platform: its administration calls, one method for each, in the schema's own types.

It has two implementations. `autoscaling` calls the Postgres API (`w.postgres`), whose instances are projects, and
`provisioned` the Database Instance API (`w.database`), which is older. `workspace` has what both share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from schema.errors import ApiError
    from schema.ports.admin.branches import Branch, BranchChange, BranchSpec, Endpoint, Snapshot, SnapshotSpec
    from schema.ports.admin.instances import Flavour, Instance, InstanceChange, InstancePage, InstanceSpec
    from schema.ports.admin.tables import Catalog, CatalogSpec, SyncedTable, SyncedTableSpec
    from server.lakebase.platform.login_api import LoginApi
    from server.lakebase.platform.namesakes import Namesakes
    from server.lakebase.platform.pipelines import Pipelines
    from server.lakebase.platform.unity import UnityCatalog


@dataclass(frozen=True, slots=True)
class OperationOutcome:
    """The state of one of the platform's own operations. `done` does not prove the change: read the resource."""

    done: bool
    failure: ApiError | None


class AskedFor(Protocol):
    """The specs of synced tables as this server requested them. The reads of the Postgres API do not tell them.

    `table` is the name of a synced table, in lower case. None of the methods fails: what cannot be read is not known.
    """

    def asking(self, table: str, spec: Mapping[str, Any]) -> AbstractAsyncContextManager[None]:
        """Remember this spec while it is requested, and afterwards unless the platform refuses it."""

    async def forget(self, table: str) -> None:
        """Forget what was requested, which the platform has refused, unless the table was seen."""

    async def of(self, table: str, uid: str | None, created_at: datetime | None) -> Mapping[str, Any] | None:
        """The spec of the synced table with this uid and time of creation; None if it is not known."""


class Platform(Protocol):
    """The control plane.

    `logins` holds the calls for logins, `unity` those to Unity Catalog, and `pipelines` those to pipelines. `namesakes`
    finds out whether something else has a name. A method that reads a resource returns None if there is no such
    resource. A method that asks for a change returns the name of the platform's own operation, if it has one: whether
    the change is made is what a read shows, and `outcome_of` says why it failed. All methods raise ApiError, as
    `failures.to_api_error` says.
    """

    flavour: Flavour
    logins: LoginApi
    unity: UnityCatalog
    namesakes: Namesakes
    pipelines: Pipelines

    @property
    def branching(self) -> Branching | None:
        """The calls about branches and snapshots; None if instances have none."""

    def remembering(self, asked: AskedFor) -> Platform:
        """The same platform. It remembers the specs of synced tables, and adds them to what it reads."""

    def close(self) -> None:
        """Begin no further calls."""

    async def outcome_of(self, operation: str) -> OperationOutcome:
        """The outcome of one of the platform's operations. One that the platform does not know any more is done."""

    async def instance(self, name: str) -> Instance | None:
        """The instance with this name; None for one that is deleted but not purged."""

    async def deleted_instance(self, name: str) -> Instance | None:
        """The instance with this name that is deleted and not purged: it keeps its name, and can be undeleted."""

    async def instances(self, *, size: int, token: str | None) -> InstancePage:
        """One page of instances, at most 100. They may lack the properties of their computes."""

    async def in_full(self, instances: Sequence[Instance]) -> Sequence[Instance]:
        """The same instances of a page with the properties of their computes, as far as these can be read in time."""

    async def create_instance(self, spec: InstanceSpec) -> str | None:
        """Request a new instance. It takes minutes until it is AVAILABLE."""

    async def update_instance(self, change: InstanceChange) -> str | None:
        """Request a change of an instance. Properties that are None stay as they are."""

    async def delete_instance(self, name: str, *, purge: bool) -> str | None:
        """Request the deletion of an instance. It is for good with `purge`, or if there is no other kind."""

    async def undelete_instance(self, name: str) -> str | None:
        """Request a deleted instance back."""

    async def branches(self, instance: str) -> Sequence[Branch]:
        """The branches of an instance, deleted ones that are not purged too; none if instances have no branches."""

    async def endpoints(self, branch: str) -> Sequence[Endpoint]:
        """The endpoints of the branch with this path."""

    async def catalog(self, name: str) -> Catalog | None:
        """The database catalog with this name; None if it is another kind of catalog."""

    async def create_catalog(self, spec: CatalogSpec) -> str | None:
        """Request a catalog that registers a database."""

    async def delete_catalog(self, name: str) -> str | None:
        """Request the deletion of a catalog."""

    async def synced_table(self, name: str) -> SyncedTable | None:
        """The synced table with this name."""

    async def ids_of(self, table: SyncedTable) -> dict[str, str]:
        """The ids that a later synced table of the same name does not have, by kind, as far as they are told now.

        The kind that decides comes first. The platform may tell some of them at one time, and others at another.
        """

    async def is_registered(self, table: str) -> bool:
        """Whether this name of Unity Catalog is of a PostgreSQL table that was registered by itself, without a sync."""

    def storage_of(self, spec: SyncedTableSpec) -> tuple[str | None, str | None]:
        """The catalog and schema in which a synced table's pipeline would keep its own tables."""

    async def create_synced_table(self, spec: SyncedTableSpec) -> str | None:
        """Request a synced table with its own pipeline. The first sync takes as long as the rows need."""

    async def delete_synced_table(self, name: str) -> str | None:
        """Request the deletion of a synced table. Its PostgreSQL table may stay."""


class Branching(Protocol):
    """The calls about branches and snapshots of instances. They return and raise what those of `Platform` do."""

    async def branch(self, instance: str, name: str) -> Branch | None:
        """The branch with this name, also one that is deleted and not purged."""

    async def create_branch(self, spec: BranchSpec) -> str | None:
        """Request a new branch, without an endpoint."""

    async def create_endpoint(self, spec: BranchSpec) -> str | None:
        """Request the read-write endpoint of a branch."""

    async def update_endpoint(self, endpoint: Endpoint, spec: BranchSpec) -> str | None:
        """Request that an endpoint has the limits that the spec names."""

    async def update_branch(self, change: BranchChange) -> str | None:
        """Request a change of a branch's protection or term."""

    async def make_default(self, instance: str, name: str) -> str | None:
        """Request that a branch is the default branch of its instance."""

    async def delete_branch(self, instance: str, name: str, *, purge: bool) -> str | None:
        """Request the deletion of a branch. It is for good with `purge`."""

    async def undelete_branch(self, instance: str, name: str) -> str | None:
        """Request a deleted branch back."""

    async def snapshots(self, instance: str) -> Sequence[Snapshot]:
        """The snapshots of an instance."""

    async def create_snapshot(self, spec: SnapshotSpec) -> str | None:
        """Request a snapshot of a branch."""

    async def delete_snapshot(self, instance: str, name: str) -> str | None:
        """Request the deletion of a snapshot."""
