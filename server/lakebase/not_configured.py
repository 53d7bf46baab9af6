"""The administration of a server without a platform: it refuses everything, and still writes audit entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from schema.errors import Reason, UnavailableError
from schema.ports.administration import Configured, OperationPage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from schema.ports.administration import (
        AdminOutcome,
        AdminRequest,
        Catalog,
        Instance,
        InstancePage,
        Operation,
        SyncedTable,
        TableIndex,
    )

_audit = structlog.get_logger("audit")


class NotConfigured:
    """An `Administration` that names the missing settings."""

    configured = Configured(instance_name=None, catalog_name=None, database_name=None, table_name=None)

    async def instances(self, *, size: int, token: str | None) -> InstancePage:  # noqa: ARG002 # the port's signature
        """Always refused."""
        raise _not_configured("database instances cannot be listed")

    async def instance(self, name: str) -> Instance | None:
        """Always refused."""
        raise _not_configured(f"the instance {name} cannot be looked up")

    async def catalog(self, name: str) -> Catalog | None:
        """Always refused."""
        raise _not_configured(f"the catalog {name} cannot be looked up")

    async def synced_table(self, name: str) -> SyncedTable | None:
        """Always refused."""
        raise _not_configured(f"the synced table {name} cannot be looked up")

    async def indexes(self, table: SyncedTable) -> Sequence[TableIndex]:
        """Always refused."""
        raise _not_configured(f"the indexes on {table.name} cannot be looked up")

    async def submit(self, request: AdminRequest, user: str) -> AdminOutcome:
        """Always refused."""
        raise _not_configured(f"{user} cannot change anything ({request.kind.value})")

    async def cancel(self, id_: str, user: str) -> AdminOutcome:
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

    async def note_refused(self, user: str, action: str, reason: Reason) -> None:
        """Write a line to the log only: there may be no database."""
        _audit.info("audit", principal=user, action=action, outcome="REFUSED", reason=reason.name)


def _not_configured(consequence: str) -> UnavailableError:
    return UnavailableError(
        Reason.CONTROL_PLANE_NOT_CONFIGURED,
        f"No platform is configured, so {consequence}. Set `DATABRICKS_HOST` and its credentials.",
    )
