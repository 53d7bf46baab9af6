"""What steps check before they act: costs, conflicts, namesakes and lost changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schema.errors import PlatformError, Reason
from server.lakebase.plans.drafts.deletions import WAS_DELETED
from server.lakebase.plans.drafts.differences import describe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schema.ports.admin.plans import Difference
    from server.lakebase.steps.step import Step


def require_same(resource: str, differences: list[Difference]) -> None:
    """Continue only if a resource is as wanted.

    Raises:
        PlatformError: SPEC_CONFLICT, with the differences.
    """
    if differences:
        raise PlatformError(
            Reason.SPEC_CONFLICT,
            f"The {resource} exists with other properties: {describe(differences)}. It was left alone.",
        )


def require_uid(resource: str, planned: str | None, found: str | None) -> None:
    """Continue only if a resource is the one that the operation was planned for.

    Args:
        resource: its kind and name.
        planned: its uid in the plan; empty if it did not exist, None if the platform did not tell it.
        found: its uid now.

    Raises:
        PlatformError: NAMESAKE_FOUND.
    """
    if planned is None or found is None or planned == found:
        return
    before = "the one that was planned for is gone" if planned else "there was none when this was planned"
    raise PlatformError(
        Reason.NAMESAKE_FOUND, f"Another {resource} exists by now: {before}. The new one was left alone."
    )


def require_one_of_ids(resource: str, planned: Mapping[str, str] | None, found: Mapping[str, str]) -> None:
    """As `require_uid`, for a resource with ids of several kinds. The first kind that both have decides.

    Args:
        resource: its kind and name.
        planned: its ids in the plan, by kind; empty if it did not exist, None if the platform did not tell any.
        found: its ids now.

    Raises:
        PlatformError: NAMESAKE_FOUND.
    """
    if planned is None:
        return
    if not planned:
        require_uid(resource, "", next(iter(found.values()), None))
    elif (kind := next((kind for kind in planned if kind in found), None)) is not None:
        require_uid(resource, planned[kind], found[kind])


def require_not_undeleted(step: Step, resource: str) -> None:
    """Continue with the deletion of a live resource only if it was not planned as the purge of a deleted one.

    Raises:
        PlatformError: NAMESAKE_FOUND.
    """
    if step.facts.get(WAS_DELETED):
        raise PlatformError(
            Reason.NAMESAKE_FOUND,
            f"The {resource} was undeleted after its purge was planned. It was left alone: send this again if it "
            "should go nevertheless.",
        )


def require_cost_acknowledged(step: Step, resource: str) -> None:
    """Continue only if the operator accepted costs. The plan may have found that nothing had to be created.

    Raises:
        PlatformError: COST_NOT_ACKNOWLEDGED.
    """
    if not step.request.acknowledge_cost:
        raise PlatformError(
            Reason.COST_NOT_ACKNOWLEDGED,
            f"The {resource} has to be created or started by now, which costs money. Send this again with "
            "acknowledgeCost: true.",
        )


def require_no_changes_lost(step: Step, resource: str, count: int | None, *, sent: bool) -> None:
    """Continue only if no status change is lost against the operator's will. Some may be newer than the plan.

    Args:
        step: the step.
        resource: the kind and name of the resource to delete.
        count: how many status changes it holds; None if they cannot be counted.
        sent: whether the deletion was sent before: the changes may not be countable any more.

    Raises:
        PlatformError: STATUS_CHANGES_AT_STAKE.
    """
    if step.request.discard_status_changes or count == 0 or (count is None and sent):
        return
    held = "status changes that cannot be counted" if count is None else f"{count:,} status change(s)"
    raise PlatformError(
        Reason.STATUS_CHANGES_AT_STAKE, f"The {resource} holds {held}, which may be lost. It was left alone."
    )


def note_deletion_sent(step: Step, kind: str) -> None:
    """Remember that a deletion is about to be sent, before it is."""
    step.facts[f"{kind}_sent"] = True


def deletion_message(step: Step, kind: str) -> str:
    """The message of a deletion step at its end."""
    return f"the {kind} is gone" if step.facts.get(f"{kind}_sent") else f"there was no {kind}"
