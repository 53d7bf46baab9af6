"""One database of an instance, as the pools connect to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schema.errors import ApiError
from server.db.database import DatabaseAbsentError, LoginRefusedError

if TYPE_CHECKING:
    import asyncpg

    from server.db.database import Provenance
    from server.db.wake_up import WakeUp
    from server.lakebase.login.instances import Instances


class InstanceDatabase:
    """One database of an instance or endpoint, or of its replicas, as the pools connect to it."""

    def __init__(self, instances: Instances, name: str, database: str, *, read_only: bool = False) -> None:
        self._instances = instances
        self._name = name
        self._database = database
        self._read_only = read_only

    @property
    def wake_up(self) -> WakeUp:
        """The instance's wake-up."""
        return self._instances.wake_up(self._name)

    async def origin(self) -> str:
        """The platform's uid, as `Instances.uid`."""
        return await self._instances.uid(self._name)

    async def provenance(self) -> Provenance:
        """What the platform tells of the instance or branch, as `Instances.provenance`."""
        return await self._instances.provenance(self._name)

    async def connect(self, *, timeout: float, **options: Any) -> asyncpg.Connection:  # noqa: ASYNC109 # asyncpg's own option
        """Open a connection, as `Instances.connect`."""
        try:
            return await self._instances.connect(
                self._name, self._database, timeout=timeout, read_only=self._read_only, **options
            )
        except DatabaseAbsentError:
            raise
        except ApiError as error:
            # A request for orders fails because of its database, whatever the platform says.
            raise LoginRefusedError(error.message) from None

    async def look_up(self) -> None:
        """Look the instance up on the platform, as `Instances.look_up`."""
        await self._instances.look_up(self._name)
