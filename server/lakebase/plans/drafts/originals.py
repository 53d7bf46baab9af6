"""Keeps what a server does by its configured names off the original, if it serves a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schema.errors import Reason
from server.lakebase.plans.drafts.differences import same_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from schema.ports.admin.administration import Configured, CopyOf
    from schema.ports.admin.tables import Catalog, SyncedTable
    from server.lakebase.plans.drafts.draft import Draft


class Originals:
    """Refuses a configured table or instance that is not the served database's own.

    A copy is mostly served with the settings of the original, so their names are those of the original.
    """

    def __init__(
        self, configured: Configured, copy_of: Callable[[], Awaitable[CopyOf | None]], *, hosting: str | None
    ) -> None:
        self._configured = configured
        self._copy_of = copy_of
        self._hosting = hosting

    async def guard_table(self, draft: Draft, found: SyncedTable) -> None:
        """Refuse a configured table if it is in another database, or may be while this server serves a copy."""
        if any(same_name(found.name, name) for name in self._configured.table_names):
            await self._guard(draft, f"synced table {found.name}", found, "table")

    async def guard_catalog(self, draft: Draft, found: Catalog) -> None:
        """Do the same for the configured catalog."""
        if same_name(found.name, self._configured.catalog_name):
            await self._guard(draft, f"catalog {found.name}", found, "catalog")

    async def _guard(self, draft: Draft, resource: str, found: Catalog | SyncedTable, kind: str) -> None:
        own, field = self._configured, draft.name_field(kind)
        if not own.is_place(found):
            draft.refuse(
                Reason.SETTING_INVALID,
                f"The {resource} is in {_place(found.instance_name, found.branch, found.database_name)}, and this "
                f"server serves {_place(own.instance_name, own.branch, own.database_name)}. Use a server of that "
                "database. If nothing needs it there, delete it by name, and provisionLakebase makes it here.",
                field,
            )
        elif not self._knows_place(found) and (copy := await self._copy_of()):
            draft.refuse(Reason.SETTING_INVALID, f"The {resource} may be the original's. {copy.message}", field)

    def _knows_place(self, found: Catalog | SyncedTable) -> bool:
        """Whether the platform says that it is in the served database."""
        return bool(self._hosting and found.database_name and (found.branch or not self._configured.branch))

    async def guard_instance(self, draft: Draft) -> None:
        """Refuse to tear down the instance that holds the original too."""
        name = draft.request.instance_name
        if same_name(name, self._configured.instance_name) and (copy := await self._copy_of()):
            draft.refuse(
                Reason.SETTING_INVALID,
                f"The instance {name} may hold the original. {copy.message} To delete the instance all the same, send "
                "deleteDatabaseInstance.",
                "instanceName",
            )


def _place(instance: str | None, branch: str | None, database: str | None) -> str:
    return f"the database {database} of {instance}" + (f", branch {branch}" if branch else "")
