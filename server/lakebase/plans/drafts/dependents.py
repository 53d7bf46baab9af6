"""Finds what depends on an instance, a branch or a catalog, and has to be deleted first.

The platform lists neither the catalogs of an instance nor its synced tables. So the names come from the operations of
this server, from Unity Catalog and from the settings, and the platform is asked about each name.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Final, TypeVar

from schema.errors import ForbiddenError, PlatformError
from server.lakebase.plans.drafts.differences import same_name
from server.lakebase.plans.drafts.draft import SYNCED_TABLE
from server.observability.log_setup import silence_failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from schema.ports.admin.administration import Configured
    from schema.ports.admin.branches import Branch
    from schema.ports.admin.instances import Instance
    from schema.ports.admin.tables import Catalog, SyncedTable
    from server.lakebase.operations.store import OperationStore
    from server.lakebase.services import Services

T = TypeVar("T")
_CATALOG: Final = "catalog "
# The time for all calls of one kind. A search makes up to four kinds of calls, and the client waits for the plan. Calls
# that are late are left out: the platform itself checks everything when it deletes.
_SECONDS: Final = 4.0


class Dependents:
    """Finds dependents. It leaves out those that the server may not read, or cannot read in time."""

    def __init__(self, services: Services, store: OperationStore, configured: Configured) -> None:
        self._platform = services.platform
        self._unity = services.platform.unity
        self._store = store
        self._configured = configured

    async def of_instance(self, instance: Instance) -> list[str]:
        """The children of an instance, the catalogs of its databases, and the synced tables in it, with their kinds."""
        children = [f"child instance {name}" for name in sorted(instance.children)]
        return children + await self._of(lambda one: same_name(one.instance_name, instance.name))

    async def of_branch(self, branch: Branch) -> list[str]:
        """The catalogs of a branch's databases, and the synced tables in it, with their kinds.

        It leaves out tables of another client in a standard catalog: nobody knows their branch.
        """
        return await self._of(
            lambda one: same_name(one.instance_name, branch.instance_name) and one.branch == branch.name
        )

    async def _of(self, is_there: Callable[[Catalog | SyncedTable], bool]) -> list[str]:
        """The catalogs and synced tables that are in a place, with their kinds."""
        listed = _distinct(*(await _answers(lambda _: self._unity.catalogs(), ["every"])).values())
        catalogs = await _answers(self._platform.catalog, _distinct(listed, await self._known(_CATALOG)))
        ours = [name for name, one in catalogs.items() if one and is_there(one)]
        standard = [name for name in listed if name in catalogs and catalogs[name] is None]
        in_ours, elsewhere = await asyncio.gather(
            _answers(self._unity.tables, ours),
            _answers(functools.partial(self._unity.tables, foreign=True), standard),
        )
        names = _distinct(await self._known(SYNCED_TABLE), *in_ours.values(), *elsewhere.values())
        tables = await _answers(self._platform.synced_table, names)
        synced = [name for name, one in tables.items() if one and is_there(one)]
        return [*(f"{_CATALOG}{name}" for name in sorted(ours)), *(f"{SYNCED_TABLE}{name}" for name in sorted(synced))]

    async def of_catalog(self, catalog: str) -> list[str]:
        """The synced tables in a catalog, and the tables that are registered in it by themselves, with their kinds."""
        listed = await _answers(self._unity.tables, [catalog])
        known = [name for name in await self._known(SYNCED_TABLE) if same_name(name.split(".")[0], catalog)]
        names = _distinct(known, *listed.values())
        synced = [name for name, one in (await _answers(self._platform.synced_table, names)).items() if one]
        others = [name for name in names if name not in synced]
        registered = [name for name, one in (await _answers(self._platform.is_registered, others)).items() if one]
        return [
            *(f"{SYNCED_TABLE}{name}" for name in sorted(synced)),
            *(f"table {name}" for name in sorted(registered)),
        ]

    async def _known(self, kind: str) -> list[str]:
        """The names of the catalogs or synced tables that operations have created, and the configured ones."""
        own = self._configured
        configured = own.table_names if kind == SYNCED_TABLE else (own.catalog_name,) if own.catalog_name else ()
        created = [one.removeprefix(kind) for one in await self._store.created() if one.startswith(kind)]
        return [*created, *configured]


def _distinct(*lists: Iterable[str]) -> list[str]:
    """The names of all lists, each once: Unity Catalog ignores case, and keeps names in lower case."""
    return list(dict.fromkeys(name.lower() for names in lists for name in names))


async def _answers(look: Callable[[str], Awaitable[T]], names: Iterable[str]) -> dict[str, T]:
    """What `look` returns for each name, except where the platform refuses or is late.

    Raises:
        UnavailableError: the platform failed.
    """
    tasks = {name: asyncio.ensure_future(look(name)) for name in names}
    for task in tasks.values():
        # If this task is cancelled, nobody awaits the calls under way.
        task.add_done_callback(silence_failure)
    if tasks:
        await asyncio.wait(tasks.values(), timeout=_SECONDS)
    answers = {}
    for name, task in tasks.items():
        if not task.done():
            task.cancel()
        elif isinstance(error := task.exception(), (ForbiddenError, PlatformError)):
            continue
        elif error is not None:
            raise error
        else:
            answers[name] = task.result()
    return answers
