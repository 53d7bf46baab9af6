"""The calls to a workspace that both flavours of the platform share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from schema.errors import PlatformError, Reason
from server.lakebase.platform.login_api import LoginApi
from server.lakebase.platform.namesakes import Namesakes
from server.lakebase.platform.pipelines import Pipelines
from server.lakebase.platform.sdk_client import SdkClient
from server.lakebase.platform.unity import UnityCatalog

if TYPE_CHECKING:
    from collections.abc import Callable

    from databricks.sdk import WorkspaceClient

    from schema.ports.admin.tables import SyncedTableSpec
    from server.lakebase.platform.failures import Action
    from server.settings import Settings

T = TypeVar("T")
# Enough for the creations or deletions of all served tables at once.
_ONCE_THREADS: Final = 8


class Workspace:
    """The part of a `Platform` that is the same for both flavours."""

    def __init__(self, settings: Settings) -> None:
        self.logins = LoginApi(settings)
        self._client = SdkClient(settings)
        self.unity = UnityCatalog(self._client)
        self.namesakes = Namesakes(self._client)
        self.pipelines = Pipelines(self._client)
        # Steps look again before they repeat a deletion or the creation of a table. The platform may refuse a second
        # one because of the first, and the SDK would not look; so it gets no time to repeat one.
        self._once = SdkClient(settings, threads=_ONCE_THREADS, retry_seconds=1)
        self._storage = (settings.synced_table_storage_catalog, settings.synced_table_storage_schema)

    def close(self) -> None:
        """Begin no further calls."""
        self.logins.close()
        self._client.close()
        self._once.close()

    def storage_of(self, spec: SyncedTableSpec) -> tuple[str | None, str | None]:
        """The catalog and schema in which a synced table's pipeline would keep its own tables."""
        return spec.storage_catalog or self._storage[0], spec.storage_schema or self._storage[1]

    async def _delete(self, action: Action, request: Callable[[WorkspaceClient], T]) -> T | None:
        """Send a deletion and return its result; None if the resource is gone already."""
        try:
            return await self._once.call(action, request)
        except PlatformError as error:
            if error.reason is Reason.RESOURCE_NOT_FOUND:
                return None
            if error.reason is Reason.SPEC_CONFLICT:
                raise PlatformError(Reason.RESOURCE_IN_USE, error.message) from error
            raise
