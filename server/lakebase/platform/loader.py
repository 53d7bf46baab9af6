"""Owns the loading of the SDK: two seconds of imports, off the event loop, and only where a platform is used."""

from __future__ import annotations

import asyncio
import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.lakebase.platform.api import Platform
    from server.settings import Settings


class PlatformLoader:
    """The platform, made when it is first asked for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loading: asyncio.Future[Platform] | None = None

    async def get(self) -> Platform:
        """The one platform of this process."""
        if self._loading is None:
            self._loading = asyncio.ensure_future(asyncio.to_thread(self._load))
        return await asyncio.shield(self._loading)

    async def groups_of(self, user: str) -> frozenset[str]:
        """The names of a user's groups. Raises an ApiError as the platform's own method does."""
        return await (await self.get()).groups_of(user)

    async def close(self) -> None:
        """Begin no further calls of it."""
        if self._loading is not None:
            (await self._loading).close()

    def _load(self) -> Platform:
        platform: Platform = importlib.import_module("server.lakebase.platform.api").Platform(self._settings)
        return platform
