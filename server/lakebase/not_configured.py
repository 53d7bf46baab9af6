"""The administration of a server without a platform: it refuses everything, and still keeps the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schema.errors import Reason, UnavailableError
from schema.ports.admin.administration import Configured
from schema.ports.admin.audit import AuditOutcome
from schema.ports.admin.operations import OperationPage
from server.lakebase.database.audit_entry import input_text, new_entry

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
    from typing import Any

    from schema.ports.admin.administration import AdminOutcome, AdminRequest, CopyOf
    from schema.ports.admin.audit import AuditEntry, AuditFilter, AuditPage, AuditPosition
    from schema.ports.admin.branches import Branch, Endpoint, Snapshot
    from schema.ports.admin.instances import Instance, InstancePage
    from schema.ports.admin.operations import Operation
    from schema.ports.admin.tables import Catalog, SyncedTable, TableIndex
    from server.lakebase.database.audit import AuditLog


class NotConfigured:
    """An `Administration` that names the missing settings."""

    configured = Configured(instance_name=None, catalog_name=None, database_name=None, table_name=None)

    def __init__(self, audit: AuditLog, copy_of: Callable[[], Awaitable[CopyOf | None]]) -> None:
        self._audit = audit
        self._copy_of = copy_of

    async def copy_of(self) -> CopyOf | None:
        """As the database itself tells it."""
        return await self._copy_of()

    async def instances(self, *, size: int, token: str | None) -> InstancePage:  # noqa: ARG002 # the port's signature
        """Always refused."""
        raise _not_configured("database instances cannot be listed")

    async def instances_in_full(self, instances: Sequence[Instance]) -> Sequence[Instance]:  # noqa: ARG002 # the port's signature
        """Always refused."""
        raise _not_configured("database instances cannot be listed")

    async def instance(self, name: str) -> Instance | None:
        """Always refused."""
        raise _not_configured(f"the instance {name} cannot be looked up")

    async def branches(self, instance: str) -> Sequence[Branch]:
        """Always refused."""
        raise _not_configured(f"the branches of {instance} cannot be looked up")

    async def branch(self, instance: str, name: str) -> Branch | None:
        """Always refused."""
        raise _not_configured(f"the branch {name} of {instance} cannot be looked up")

    async def endpoints(self, branch: Branch) -> Sequence[Endpoint]:
        """Always refused."""
        raise _not_configured(f"the endpoints of {branch.name} cannot be looked up")

    async def snapshots(self, instance: str) -> Sequence[Snapshot]:
        """Always refused."""
        raise _not_configured(f"the snapshots of {instance} cannot be looked up")

    async def catalog(self, name: str) -> Catalog | None:
        """Always refused."""
        raise _not_configured(f"the catalog {name} cannot be looked up")

    async def synced_table(self, name: str) -> SyncedTable | None:
        """Always refused."""
        raise _not_configured(f"the synced table {name} cannot be looked up")

    async def indexes(self, table: SyncedTable) -> Sequence[TableIndex]:
        """Always refused."""
        raise _not_configured(f"the indexes on {table.name} cannot be looked up")

    async def submit(self, request: AdminRequest, user: str, arguments: Mapping[str, Any]) -> AdminOutcome:  # noqa: ARG002 # the port's signature
        """Always refused."""
        raise _not_configured(f"{user} cannot change anything ({request.kind.value})")

    async def cancel(self, id_: str, user: str, arguments: Mapping[str, Any]) -> AdminOutcome:  # noqa: ARG002 # the port's signature
        """Always refused."""
        raise _not_configured(f"{user} cannot cancel the operation {id_}")

    async def operation(self, id_: str) -> Operation | None:  # noqa: ARG002 # the port's signature
        """Always empty: no operation was ever begun."""
        return None

    async def operations(self, *, size: int, after: str | None) -> OperationPage:  # noqa: ARG002 # the port's signature
        """Always empty: no operation was ever begun."""
        return OperationPage((), more=False)

    async def progress(self, id_: str) -> AsyncGenerator[Operation, None]:  # noqa: ARG002 # the port's signature
        """Always empty: no operation was ever begun."""
        nothing: tuple[Operation, ...] = ()
        for operation in nothing:
            yield operation

    async def audit(self, wanted: AuditFilter, *, size: int, after: AuditPosition | None) -> AuditPage:
        """A page of the audit, newest first."""
        return await self._audit.page(wanted, size=size, after=after)

    async def audit_entry(self, id_: str) -> AuditEntry | None:
        """The entry of the audit with this id."""
        return await self._audit.find(id_)

    async def note_refused(self, user: str, action: str, reason: Reason, arguments: Mapping[str, Any]) -> None:
        """Write an audit entry of a refused action."""
        await self._audit.write(
            new_entry(user, action, AuditOutcome.REFUSED, input_=input_text(arguments), reason=reason)
        )


def _not_configured(consequence: str) -> UnavailableError:
    return UnavailableError(
        Reason.CONTROL_PLANE_NOT_CONFIGURED,
        f"No platform is configured, so {consequence}. Set `DATABRICKS_HOST` and its credentials.",
    )
