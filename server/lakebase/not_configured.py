"""Owns the administration of a server that is given no platform: it says so, and still leaves audit entries."""

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
    """An `Administration` of nothing."""

    configured = Configured(instance_name=None, catalog_name=None, database_name=None, table_name=None)

    async def instances(self, *, size: int, token: str | None) -> InstancePage:  # noqa: ARG002 # the port's own
        """Not to be had."""
        raise _not_configured("database instances cannot be listed")

    async def instance(self, name: str) -> Instance | None:
        """Not to be had."""
        raise _not_configured(f"the instance {name} cannot be looked up")

    async def catalog(self, name: str) -> Catalog | None:
        """Not to be had."""
        raise _not_configured(f"the catalog {name} cannot be looked up")

    async def synced_table(self, name: str) -> SyncedTable | None:
        """Not to be had."""
        raise _not_configured(f"the synced table {name} cannot be looked up")

    async def indexes(self, table: SyncedTable) -> Sequence[TableIndex]:
        """Not to be had: there is no synced table to ask about."""
        raise _not_configured(f"the indexes on {table.name} cannot be looked up")

    async def submit(self, request: AdminRequest, user: str) -> AdminOutcome:
        """Not to be had."""
        raise _not_configured(f"{user} can change nothing ({request.kind.value})")

    async def operation(self, id_: str) -> Operation | None:  # noqa: ARG002 # the port's own
        """Nothing was ever begun."""
        return None

    async def operations(self, *, size: int, after: str | None) -> OperationPage:  # noqa: ARG002 # the port's own
        """Nothing was ever begun."""
        return OperationPage((), more=False)

    async def progress(self, id_: str) -> AsyncGenerator[Operation, None]:  # noqa: ARG002 # the port's own
        """Nothing was ever begun."""
        nothing: tuple[Operation, ...] = ()
        for operation in nothing:
            yield operation

    async def note_refused(self, user: str, action: str, reason: Reason) -> None:
        """A line of the log: there is no database to keep it in."""
        _audit.info("audit", principal=user, action=action, outcome="REFUSED", reason=reason.name)


def _not_configured(so: str) -> UnavailableError:
    return UnavailableError(
        Reason.CONTROL_PLANE_NOT_CONFIGURED,
        f"No platform is set, so {so}: give the server `DATABRICKS_HOST` and its credentials.",
    )
