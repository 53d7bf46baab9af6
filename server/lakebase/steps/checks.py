"""Owns what the steps of operations have in common: asking once, being sure, telling one from its namesake."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from schema.errors import PlatformError, Reason
from server.lakebase.plans.differences import said

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from schema.ports.administration import Difference
    from server.lakebase.steps.step import Step

# What has been asked for may not be shown for a moment, and is not asked for again before this. Making it again would
# be refused; deleting it again does no harm.
_UNSEEN_SECONDS: Final = 20.0
UNGONE_SECONDS: Final = 3.0
# How far a step is that has asked for what takes time.
ASKED: Final = 0.05


class Once:
    """Something that is asked for, and not again while its effect may merely not be visible yet."""

    def __init__(self, seconds: float = _UNSEEN_SECONDS) -> None:
        self._seconds = seconds
        self._at: float | None = None

    def due(self) -> bool:
        """Whether to ask (again)."""
        return self._at is None or time.monotonic() - self._at > self._seconds

    def done(self) -> None:
        """It has been asked for."""
        self._at = time.monotonic()


class Absence:
    """What is not found may be merely not shown for a moment: it is gone where it is not found twice in a row."""

    def __init__(self) -> None:
        self._looks = 0

    def sure(self) -> bool:
        """It has not been found, again: whether it is certain now that it is gone."""
        self._looks += 1
        return self._looks > 1

    def over(self) -> None:
        """It has been found."""
        self._looks = 0


def given(value: Any) -> Any:
    """What the request of this kind of operation always has."""
    if value is None:
        raise ValueError("the request lacks what its kind needs")
    return value


async def unless_there(creating: Awaitable[None]) -> None:
    """Somebody else may have made it, or we ourselves, whose reply was lost: what is there is looked at next."""
    try:
        await creating
    except PlatformError as error:
        if error.reason is not Reason.SPEC_CONFLICT:
            raise


def same(what: str, differences: list[Difference]) -> None:
    """Go on only where what is found is as it is wanted.

    Raises:
        PlatformError: SPEC_CONFLICT, with what differs.
    """
    if differences:
        raise PlatformError(
            Reason.SPEC_CONFLICT, f"The {what} exists and is otherwise: {said(differences)}. It was left alone."
        )


def check_uid(what: str, planned: str | None, found: str | None) -> None:
    """Go on only where what is found is what was meant when the operation was planned.

    Args:
        what: its kind and name.
        planned: its uid then; empty where there was none, None where it was not told.
        found: its uid now.

    Raises:
        PlatformError: NAMESAKE_FOUND.
    """
    if planned is None or found is None or planned == found:
        return
    was = "that one is gone" if planned else "there was none"
    raise PlatformError(
        Reason.NAMESAKE_FOUND,
        f"The {what} is another than the one that was planned for: {was}. This one was left alone.",
    )


def acknowledged(step: Step, what: str) -> None:
    """Go on to what costs only where that was acknowledged; the plan may have found that nothing has to be made.

    Raises:
        PlatformError: COST_NOT_ACKNOWLEDGED.
    """
    if not step.request.acknowledge_cost:
        raise PlatformError(
            Reason.COST_NOT_ACKNOWLEDGED,
            f"The {what} has to be made or started by now, which costs money: send it again with acknowledgeCost: "
            "true.",
        )


async def count_again(step: Step, what: str, instance: str, database: str | None = None, *, sent: bool) -> None:
    """Go on only where no status change is lost that the request did not give up; some may be newer than the plan.

    Args:
        step: the step.
        what: the kind and name of what is deleted.
        instance: where changes may be.
        database: in which database of it; None for all.
        sent: whether the deletion has been sent before: it may no longer be possible to count.

    Raises:
        PlatformError: STATUS_CHANGES_AT_STAKE.
    """
    if step.request.discard_status_changes:
        return
    count = await step.tools.postgres.count_changes(instance, database)
    if count == 0 or (count is None and sent):
        return
    held = "status changes that cannot be counted" if count is None else f"{count:,} status change(s)"
    raise PlatformError(
        Reason.STATUS_CHANGES_AT_STAKE, f"The {what} holds {held}, which may be lost. It was left alone."
    )


def gone(step: Step, kind: str) -> str:
    """What to say at the end of a deletion."""
    return f"the {kind} is gone" if step.facts.get(f"{kind}_sent") else f"there was no {kind}"


def sending(kind: str, step: Step) -> None:
    """Remember, before it is sent, that it may have been."""
    step.facts[f"{kind}_sent"] = True
