"""What the deletion of an instance or branch takes along, what prevents it, and until when it can be undone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from schema.errors import Reason
from schema.ports.admin.instances import Flavour
from server.lakebase.database.inspection import BEGINNING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schema.ports.admin.branches import Branch, BranchChange
    from schema.ports.admin.instances import Instance
    from server.lakebase.plans.drafts.draft import Draft
    from server.lakebase.platform.api import Platform
    from server.lakebase.services import Services

# How long the platform keeps a deleted project that is not purged.
KEPT_DAYS: Final = 7
# The fact of an operation that purges what was deleted before it.
WAS_DELETED: Final = "was_deleted"
# For counting the status changes of one database server in a plan, which a client waits for. A step can wait longer for
# one that wakes up.
_PLAN_SECONDS: Final = 5.0
STEP_SECONDS: Final = 60.0
# The plan counts status changes. A connection wakes what is asleep, and that costs.
WAKES: Final = "counting them wakes what is asleep"


async def count_changes(
    services: Services, server: str, *, seconds: float | None = None, since: datetime = BEGINNING
) -> int | None:
    """The number of status changes on a server after a moment; None if they cannot be counted in time."""
    try:
        async with asyncio.timeout(seconds or _PLAN_SECONDS):
            return await services.postgres.count_changes(server, since=since)
    except TimeoutError:
        return None


async def changes_in(
    services: Services, instance: Instance, *, net: str | None = None, seconds: float | None = None
) -> dict[str, int | None]:
    """The number of status changes on each branch of an instance; None for a branch where they cannot be counted.

    All branches are counted at once, in so many seconds, by default those of a plan. A branch has copies of the changes
    that its source had. An instance without branches counts as one. The branch `net` is the safety net of the deletion
    itself: its changes are counted where they come from.
    """
    if instance.flavour is Flavour.PROVISIONED:
        return {"": await count_changes(services, instance.name, seconds=seconds)}
    found = await services.platform.branches(instance.name)
    branches = [one for one in found if one.deleted_at is None and one.name != net]
    counts = await asyncio.gather(*(count_changes(services, one.path, seconds=seconds) for one in branches))
    return {one.name: count for one, count in zip(branches, counts, strict=True)}


def total(changes: Mapping[str, int | None]) -> int | None:
    """The number of status changes on all branches; None if they cannot be counted on one of them."""
    counts = [count for count in changes.values() if count is not None]
    return sum(counts) if len(counts) == len(changes) else None


def in_words(changes: Mapping[str, int | None]) -> str:
    """The status changes that are recorded on each branch, copies included, in words."""
    if None in changes.values():
        unknown = " and ".join(name for name, count in changes.items() if count is None and name)
        return f"status changes that cannot be counted{f' on {unknown}' if unknown else ''}"
    recorded = "" if "" in changes else " recorded on its branches, copies included"
    counts = (f"{count:,} on {name}" if name else f"{count:,}" for name, count in changes.items())
    return f"status changes{recorded}: {', '.join(counts) or 0}"


async def missing(platform: Platform, name: str) -> str:
    """Why there is no instance of this name, and what to do."""
    if await platform.deleted_instance(name):
        return f"The instance {name} is deleted. Bring it back first with undeleteDatabaseInstance."
    return f"There is no instance {name}. Create it first."


def name_held(resource: str, purge_at: datetime | None) -> str:
    """Why a deleted instance or branch ("branch orders-pg/dev") keeps its name from a new one, and what to do."""
    until = f" until {purge_at:%Y-%m-%d %H:%M} UTC" if purge_at else " until it is purged"
    of = "Instance" if resource.startswith("instance ") else "Branch"
    return (
        f"The deleted {resource} keeps its name{until}. Bring it back with undeleteDatabase{of}, delete it for good "
        f"with deleteDatabase{of}(purge: true), or choose another name."
    )


def undeletable(of: str) -> str:
    """How long an instance or branch that is deleted now can be brought back; `of` is "Instance" or "Branch"."""
    until = datetime.now(UTC) + timedelta(days=KEPT_DAYS)
    return f"undeleteDatabase{of} brings it back for {KEPT_DAYS} days, until {until:%Y-%m-%d %H:%M} UTC"


def kept_branch(found: Branch) -> dict[Reason, str]:
    """Why the platform would not delete a branch, in sentences; empty if it would."""
    resource, reasons = f"branch {found.instance_name}/{found.name}", {}
    if found.is_default:
        reasons[Reason.RESOURCE_IN_USE] = (
            f"The {resource} is the default branch. First make another branch the default one, with "
            "updateDatabaseBranch(default: true), or delete the instance."
        )
    if found.is_protected:
        reasons[Reason.PROTECTED] = (
            f"The {resource} is protected. Take the protection off it first, with updateDatabaseBranch(protected: "
            "false)."
        )
    return reasons


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
