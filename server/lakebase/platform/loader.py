"""Loads the SDK off the event loop, and only if a platform is used: importing it takes two seconds."""

from __future__ import annotations

import asyncio
import importlib
from contextvars import Context
from typing import TYPE_CHECKING, Final

from schema.ports.admin.instances import Flavour

if TYPE_CHECKING:
    from server.lakebase.platform.api import Platform
    from server.settings import Settings

_PLATFORMS: Final = {
    Flavour.AUTOSCALING: ("server.lakebase.platform.autoscaling.platform", "AutoscalingPlatform"),
    Flavour.PROVISIONED: ("server.lakebase.platform.provisioned.platform", "ProvisionedPlatform"),
}


class PlatformLoader:
    """The platform, created at its first use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loading: asyncio.Future[Platform] | None = None

    async def get(self) -> Platform:
        """The one platform of this process."""
        if self._loading is None:
            # In an empty context: every later request waits for it too.
            self._loading = asyncio.create_task(asyncio.to_thread(self._load), name="platform", context=Context())
        return await asyncio.shield(self._loading)

    async def groups_of(self, user: str) -> frozenset[str]:
        """The names of a user's groups, as `LoginApi.groups_of`."""
        return await (await self.get()).logins.groups_of(user)

    async def close(self) -> None:
        """Begin no further calls."""
        if self._loading is not None:
            (await self._loading).close()

    def _load(self) -> Platform:
        module, name = _PLATFORMS[self._settings.flavour]
        platform: Platform = getattr(importlib.import_module(module), name)(self._settings)
        return platform
