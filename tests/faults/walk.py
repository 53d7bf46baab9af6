"""The walk for N5: reads all orders page by page during faults, both ways, and counts missed and repeated ones."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import httpx

from tests.servers.process import NO_TLS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_FORWARD: Final = (
    "query($size: Int!, $cursor: String) { orders(first: $size, after: $cursor) "
    "{ nodes { orderKey } pageInfo { cursor: endCursor more: hasNextPage } } }"
)
_BACK: Final = (
    "query($size: Int!, $cursor: String) { orders(last: $size, before: $cursor) "
    "{ nodes { orderKey } pageInfo { cursor: startCursor more: hasPreviousPage } } }"
)
_PAGE: Final = 500
_PAUSE_SECONDS: Final = 0.05
_LAST_SECONDS: Final = 60.0


@dataclass
class Walk:
    """What a walk found: keys missed, repeated, or in the wrong order."""

    keys: list[int]
    walks: int = 0
    missing: int = 0
    repeated: int = 0
    disordered: int = 0
    retries: int = 0
    hurry: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def faults(self) -> int:
        """The sum of these: N5."""
        return self.missing + self.repeated + self.disordered

    def count(self, seen: list[int], *, back: bool) -> None:
        """Add a finished walk with the keys that it saw."""
        self.walks += 1
        self.missing += len(set(self.keys).difference(seen))
        self.repeated += len(seen) - len(set(seen))
        self.disordered += seen != sorted(seen, reverse=back)


@contextlib.asynccontextmanager
async def walking(url: str, keys: list[int], *, seconds: float) -> AsyncIterator[Walk]:
    """Walk forward and backward for about this many seconds. At the end of the block, finish without pauses."""
    walk = Walk(keys)
    pause = seconds / (2 * len(keys) / _PAGE)
    task = asyncio.create_task(_walk(url, walk, pause))
    try:
        yield walk
    finally:
        walk.hurry.set()
        await asyncio.wait_for(task, _LAST_SECONDS)


async def _walk(url: str, walk: Walk, pause: float) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=20, verify=NO_TLS) as client:
        for back in (False, True):
            seen: list[int] = []
            cursor: str | None = None
            while True:
                page = await _page(client, walk, {"size": _PAGE, "cursor": cursor}, back=back)
                keys = [int(node["orderKey"]) for node in page["nodes"]]
                seen += reversed(keys) if back else keys
                cursor = page["pageInfo"]["cursor"]
                if not page["pageInfo"]["more"]:
                    break
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(walk.hurry.wait(), pause)
            walk.count(seen, back=back)


async def _page(client: httpx.AsyncClient, walk: Walk, variables: dict[str, Any], *, back: bool) -> dict[str, Any]:
    """Request the page until it comes."""
    body = {"query": _BACK if back else _FORWARD, "variables": variables}
    while True:
        with contextlib.suppress(httpx.TransportError):
            answer = (await client.post("/api/graphql", json=body)).json()
            if "errors" not in answer:
                page: dict[str, Any] = answer["data"]["orders"]
                return page
        walk.retries += 1
        await asyncio.sleep(_PAUSE_SECONDS)  # between two attempts
