"""Finds out whether something else has a name, so that the platform would refuse to create a resource with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schema.errors import ForbiddenError, PlatformError
from server.lakebase.platform.failures import Action

if TYPE_CHECKING:
    from collections.abc import Callable

    from databricks.sdk import WorkspaceClient

    from server.lakebase.platform.sdk_client import SdkClient


class Namesakes:
    """Describes what else has a name; None if nothing has it, or the server may not see it.

    Each method makes one call, and raises UnavailableError, as `failures.to_api_error` says.
    """

    def __init__(self, client: SdkClient) -> None:
        self._client = client

    async def of_instance(self, name: str) -> str | None:
        """A project of the Autoscaling API: the platform makes each new instance a project of its name."""

        def request(client: WorkspaceClient) -> str:
            deleted = client.postgres.get_project(f"projects/{name}").delete_time is not None
            return "a project of the Autoscaling API" + (", deleted but not purged" if deleted else "")

        return await self._look(Action.FIND_PROJECT, request)

    async def of_catalog(self, name: str) -> str | None:
        """A catalog of Unity Catalog that registers no database."""

        def request(client: WorkspaceClient) -> str:
            kind = client.catalogs.get(name).catalog_type
            return f"another catalog ({kind.value})" if kind else "another catalog"

        return await self._look(Action.FIND_CATALOG, request)

    async def of_synced_table(self, name: str) -> str | None:
        """A table or view of Unity Catalog that is no synced table."""

        def request(client: WorkspaceClient) -> str:
            kind = client.tables.get(name).table_type
            return f"another table ({kind.value})" if kind else "another table"

        return await self._look(Action.FIND_TABLE, request)

    async def _look(self, action: Action, request: Callable[[WorkspaceClient], str]) -> str | None:
        try:
            return await self._client.find(action, request)
        except (ForbiddenError, PlatformError):
            # A grant is missing, or the name is impossible in that API, or the workspace does not have it.
            return None
