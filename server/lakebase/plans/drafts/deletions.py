"""What a deletion takes along, until when that can be had back, and which branches are not deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schema.errors import Reason
from schema.ports.instances import Flavour

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schema.ports.branches import Branch, BranchChange
    from schema.ports.instances import Instance
    from server.lakebase.plans.drafts.draft import Draft
    from server.lakebase.platform.api import Platform
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


async def missing(platform: Platform, name: str) -> str:
    """Why there is no instance of this name, and what to do."""
    if await platform.deleted_instance(name):
        return f"The instance {name} is deleted. Bring it back first with undeleteDatabaseInstance."
    return f"There is no instance {name}. Create it first."


def name_held(deleted: Instance) -> str:
    """Why a deleted instance keeps a new one from being created, and what to do."""
    until = f" until {deleted.purge_at:%Y-%m-%d %H:%M} UTC" if deleted.purge_at else " until it is purged"
    return (
        f"The deleted instance {deleted.name} keeps its name{until}. Bring it back with undeleteDatabaseInstance, "
        "delete it for good with deleteDatabaseInstance(purge: true), or choose another name."
    )


def refuse_to_delete(draft: Draft, found: Branch, branches: Sequence[Branch]) -> None:
    """Refuse the deletion of the default branch, of a protected one, and of one that others were made from."""
    resource = f"branch {found.instance_name}/{found.name}"
    if found.is_default:
        draft.refuse(
            Reason.RESOURCE_IN_USE,
            f"The {resource} is the default branch. First make another branch the default one, with "
            "updateDatabaseBranch(default: true), or delete the instance.",
            "name",
        )
    if found.is_protected:
        draft.refuse(
            Reason.PROTECTED,
            f"The {resource} is protected. Take the protection off it first, with updateDatabaseBranch(protected: "
            "false).",
            "name",
        )
    below = [one.name for one in branches if one.source == found.name and one.deleted_at is None]
    draft.refuse_if_used(resource, [f"branch {name}" for name in sorted(below)], "name")


def refuse_to_expire(draft: Draft, found: Branch, change: BranchChange) -> None:
    """Refuse a term of the default branch, and of a protected one: they stay."""
    given = "expiresAt" if change.expires_at else "ttlSeconds" if change.ttl_seconds else None
    if not given and (found.expires_at is None or change.never_expires):
        return
    protected = found.is_protected if change.protected is None else change.protected
    if change.default or found.is_default:
        draft.refuse(
            Reason.SETTING_INVALID,
            f"The default branch of an instance stays, and {found.name} would expire. Give `neverExpires: true`, or "
            "make another branch the default one.",
            given or "default",
        )
    elif protected:
        draft.refuse(
            Reason.SETTING_INVALID,
            f"A protected branch stays, and {found.name} would expire. Give `neverExpires: true` or `protected: "
            "false`.",
            given or "protected",
        )
