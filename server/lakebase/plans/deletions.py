"""What the deletion of an instance takes along, and until when it can be had back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schema.ports.instances import Flavour

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schema.ports.instances import Instance
    from server.lakebase.services import Services

# How long the platform keeps a deleted project that is not purged.
KEPT_DAYS: Final = 7


async def changes_in(services: Services, instance: Instance, *, net: str | None = None) -> dict[str, int | None]:
    """The number of status changes on each branch of an instance; None for a branch where they cannot be counted.

    A branch has copies of the changes that its source had. An instance without branches counts as one. The branch
    `net` is the safety net of the deletion itself: its changes are counted where they come from.
    """
    if instance.flavour is Flavour.PROVISIONED:
        return {"": await services.postgres.count_changes(instance.server)}
    branches = [one for one in await services.platform.branches(instance.name) if one.deleted_at is None]
    return {one.name: await services.postgres.count_changes(one.path) for one in branches if one.name != net}


def total(changes: Mapping[str, int | None]) -> int | None:
    """The number of status changes on all branches; None if they cannot be counted on one of them."""
    counts = [count for count in changes.values() if count is not None]
    return sum(counts) if len(counts) == len(changes) else None


def in_words(changes: Mapping[str, int | None]) -> str:
    """The status changes of each branch in words."""
    if None in changes.values():
        unknown = " and ".join(name for name, count in changes.items() if count is None and name)
        return f"status changes that cannot be counted{f' on {unknown}' if unknown else ''}"
    counts = (f"{count:,} on {name}" if name else f"{count:,}" for name, count in changes.items())
    return f"status changes: {', '.join(counts) or 0}"


def name_held(deleted: Instance) -> str:
    """Why a deleted instance keeps a new one from being created, and what to do."""
    until = f" until {deleted.purge_at:%Y-%m-%d %H:%M} UTC" if deleted.purge_at else " until it is purged"
    return (
        f"The deleted instance {deleted.name} keeps its name{until}. Bring it back with undeleteDatabaseInstance, "
        "delete it for good with deleteDatabaseInstance(purge: true), or choose another name."
    )
