"""Sizes of instances and endpoints: in words, what a change of one costs, and what it does to a running instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schema.errors import Reason
from schema.ports.admin.instances import NEVER, InstanceChange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schema.ports.admin.instances import Instance, InstanceSpec
    from schema.ports.admin.plans import Difference
    from server.lakebase.plans.drafts.draft import Draft

# Changes of these properties restart the instance.
_RESTARTING: Final = frozenset({"capacity", "nodeCount", "enableReadableSecondaries"})
# Whether changes of these restart it is not documented.
_MAYBE_RESTARTING: Final = frozenset({"autoscaling.minCu", "autoscaling.maxCu"})


def costs_more(found: Instance, change: InstanceChange) -> bool:
    """Whether a change makes an instance cost more."""
    # A larger size costs more at once, or when there is more to do. Staying awake for longer costs without any work. A
    # longer history costs storage.
    limits = ((change.min_cu, found.min_cu), (change.max_cu, found.max_cu))
    if any(wanted is not None and (known is None or wanted > known) for wanted, known in limits):
        return True
    awake, before = change.suspend_after_seconds, found.suspend_after_seconds
    if awake is not None and before != NEVER and (awake == NEVER or before is None or awake > before):
        return True
    if change.retention_days and change.retention_days > (found.retention_days or 0):
        return True
    larger = _units(change.capacity) > _units(found.capacity) if change.capacity else False
    nodes = (change.node_count or 0) > (found.node_count or 1)
    return larger or nodes or bool(change.readable_secondaries and not found.readable_secondaries)


def require_nodes(draft: Draft, *, nodes: int | None, secondaries: bool | None, named: bool) -> None:
    """Refuse readable secondaries without a second node; `named`: the request itself asks for the secondaries."""
    if secondaries and (nodes or 1) < 2:  # noqa: PLR2004 # the primary and a replica
        draft.refuse(
            Reason.SETTING_INVALID,
            f"Readable secondaries need a nodeCount of 2 or more; it is {nodes}.",
            "enableReadableSecondaries" if named else "nodeCount",
        )


def restart_in_words(found: Instance, differences: Sequence[Difference]) -> str:
    """What a change does to the connections of an instance that runs."""
    changed = {one.field for one in differences}
    if found.stopped or not changed & (_RESTARTING | _MAYBE_RESTARTING):
        return ""
    restarts = "restarts" if changed & _RESTARTING else "may restart"
    return f"; the instance {restarts}, which ends all connections"


def lost_history(found: Instance, change: InstanceChange) -> str:
    """What a shorter retention takes away."""
    days = change.retention_days
    if days is None or found.retention_days is None or days >= found.retention_days:
        return ""
    return f"; the history from more than {days} days ago is lost for good"


def _units(capacity: str | None) -> float:
    """CU_4 as 4. An unknown capacity is 0, so that any change from it counts as larger."""
    try:
        return float((capacity or "").removeprefix("CU_"))
    except ValueError:
        return 0.0


def size_in_words(spec: InstanceSpec) -> str:
    """The size of an instance or of an endpoint."""
    nodes = "1 node" if spec.node_count == 1 else f"{spec.node_count} nodes"
    secondaries = ", readable secondaries" if spec.readable_secondaries else ""
    size = spec.capacity
    if spec.min_cu is not None:
        seconds = spec.suspend_after_seconds
        sleep = "never asleep" if seconds == NEVER else f"asleep after {seconds:,} idle seconds"
        size = f"{spec.min_cu:g} to {spec.max_cu:g} CU, {sleep}"
    return f"{size}, {nodes}{secondaries}"
