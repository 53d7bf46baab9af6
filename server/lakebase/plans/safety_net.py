"""Plans the safety net of a refresh or a teardown: a branch with a term, which is made before anything is lost.

It is a branch and not a snapshot, because any branch can have one, and it can be served as it is. Only root branches
have snapshots, and a snapshot has to become a branch first. A teardown deletes the synced table before the instance, so
an instance that is undeleted has no rows. The net has them, and comes back with the instance.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from schema.errors import Reason, UnavailableError
from schema.ports.admin.branches import NEW_ENDPOINT, BranchState
from schema.ports.admin.operations import OperationKind, OperationState
from schema.ports.admin.plans import PlanAction
from schema.ports.admin.tables import branch_path
from server.lakebase.operations.operation import fingerprint_of, required
from server.lakebase.plans.drafts.deletions import KEPT_DAYS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from schema.ports.admin.branches import Branch
    from server.lakebase.operations.store import OperationStore
    from server.lakebase.plans.drafts.draft import Draft
    from server.lakebase.services import Services

# The fact of an operation that holds its net: the fields of a `BranchSpec`.
SAFETY_NET: Final = "safety_net"
# How long a net lasts. Its term runs on while its instance is deleted, so after a teardown it lasts for as long as the
# instance can be had back, and as long again.
_TERMS: Final = {
    OperationKind.REFRESH_SYNCED_TABLE: timedelta(days=7),
    OperationKind.TEARDOWN: timedelta(days=2 * KEPT_DAYS),
}
_NAMES: Final = {OperationKind.REFRESH_SYNCED_TABLE: "before-refresh", OperationKind.TEARDOWN: "before-teardown"}
# The same request again, after a failure, finds its net if that is younger.
_FOUND_AGAIN: Final = timedelta(days=1)
# Among so many of the newest operations.
_RECENT: Final = 20
# The most branches of an instance that are not archived, by the platform's documentation.
_MOST_BRANCHES: Final = 10


def net_of(facts: Mapping[str, Any]) -> str | None:
    """The name of the branch that is an operation's safety net, if it has one."""
    return facts[SAFETY_NET]["name"] if SAFETY_NET in facts else None


def way_back(net: Mapping[str, str], kind: OperationKind) -> str:
    """What a net keeps, until when, and how to go back to it."""
    instance, name = net["instance_name"], net["name"]
    named = f'instanceName: "{instance}", name: "{name}"'
    undelete = f'undeleteDatabaseInstance(name: "{instance}"); ' if kind is OperationKind.TEARDOWN else ""
    return (
        f"the branch {name} keeps what {net['source']} had before this, until {_shown(net['expires_at'])}. To go back "
        f"to it: {undelete}createDatabaseBranch({named}, endpoint: {{}}), for an endpoint; "
        f"updateDatabaseBranch({named}, neverExpires: true), to keep it; "
        f"LAKEBASE_ENDPOINT={branch_path(instance, name)}/endpoints/{NEW_ENDPOINT}, to serve it"
    )


class SafetyNetPlans:
    """Adds the step that makes the net to a draft, if its request asks for one. It has to be the first step."""

    def __init__(self, services: Services, store: OperationStore) -> None:
        self._platform = services.platform
        self._store = store

    async def add(self, draft: Draft) -> None:
        """Plan the net of the synced table that the request names."""
        if not draft.request.safety_net:
            return
        name = required(draft.request.table_name)
        table = await self._platform.synced_table(name)
        if table is None:
            message = "needs no safety net, because it does not exist"
            draft.add("create_safety_net", PlanAction.NOTHING, f"synced table {name}", message, exists=False)
            return
        instance, source = table.instance_name, table.branch
        branches = await self._platform.branches(instance) if instance else ()
        living = [one for one in branches if one.deleted_at is None]
        if instance is None or source not in {one.name for one in living}:
            where = f"there is no branch {source} of {instance}" if instance and source else "its branch is not known"
            draft.refuse(
                Reason.RESOURCE_NOT_FOUND,
                f"There can be no safety net for the synced table {name}: {where}. Send this without safetyNet.",
                "safetyNet",
            )
            return
        net, found = await self._unfinished(draft, name, living), True
        if net is None:
            net, found = self._new(draft, instance, source, branches), False
        draft.facts[SAFETY_NET] = net
        draft.add(
            "create_safety_net",
            PlanAction.NOTHING if found else PlanAction.CREATE,
            f"branch {instance}/{net['name']}",
            _message(net, draft.request.kind, found=found),
            exists=found,
            costs=not found,
        )
        if not found and sum(one.state is not BranchState.ARCHIVED for one in living) >= _MOST_BRANCHES:
            draft.refuse(
                Reason.RESOURCE_NOT_READY,
                f"There can be no safety net: the instance {instance} has {_MOST_BRANCHES} branches that are not "
                "archived, and the platform allows no more. Delete one first, with deleteDatabaseBranch.",
                "safetyNet",
            )

    async def _unfinished(self, draft: Draft, table: str, living: Sequence[Branch]) -> dict[str, str] | None:
        """The net of the newest operation on the table, if that was for the same request and has not succeeded.

        What it keeps is older than whatever that operation has done. A net that was made now might keep ruins.
        """
        try:
            newest = await self._store.page(size=_RECENT, after=None)
        except UnavailableError:
            return None
        last = next((one for one in newest if f"synced table {table}".lower() in one.resources), None)
        if last is None or last.state is OperationState.SUCCEEDED or last.fingerprint != fingerprint_of(draft.request):
            return None
        net: dict[str, str] | None = last.facts.get(SAFETY_NET)
        if net is None or net["name"] not in {one.name for one in living}:
            return None
        made_at = datetime.fromisoformat(net["expires_at"]) - _TERMS[draft.request.kind]
        return net if datetime.now(UTC) - made_at < _FOUND_AGAIN else None

    @staticmethod
    def _new(draft: Draft, instance: str, source: str | None, branches: Sequence[Branch]) -> dict[str, Any]:
        """A net of this minute. Deleted branches keep their names, too."""
        now, taken = datetime.now(UTC), {one.name for one in branches}
        first = name = f"{_NAMES[draft.request.kind]}-{now:%Y%m%d-%H%M}"
        number = 1
        while name in taken:
            number += 1
            name = f"{first}-{number}"
        expires_at = now + _TERMS[draft.request.kind]
        return {"instance_name": instance, "name": name, "source": source, "expires_at": expires_at.isoformat()}


def _message(net: Mapping[str, str], kind: OperationKind, *, found: bool) -> str:
    source, until = net["source"], _shown(net["expires_at"])
    if found:
        message = f"is the safety net of the last attempt, made of the branch {source}, and is kept until {until}"
    else:
        message = (
            f"is made of the branch {source} as it is now, with the rows, indexes and grants of the synced table and "
            f"all status changes. It expires at {until}, and its storage costs until then"
        )
    if kind is OperationKind.TEARDOWN:
        message += (
            ". It is deleted with the instance and comes back with it: undeleteDatabaseInstance brings both back for "
            f"{KEPT_DAYS} days. It does not keep the catalog and the pipeline, which provisionLakebase creates anew, "
            "or the grants in Unity Catalog"
        )
    return message


def _shown(moment: str) -> str:
    return f"{datetime.fromisoformat(moment):%Y-%m-%d %H:%M} UTC"
