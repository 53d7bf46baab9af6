"""The outcome of each requested change: decided from the state of the locked orders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from schema.errors import Reason
from schema.orders.arguments import OrderStatus
from schema.ports.changes import NOT_APPLIED, Outcome, Refusal

if TYPE_CHECKING:
    from schema.ports.changes import StatusChange, WantedStatus, WriteRequest

_STATUS_NAMES: Final = {str(status.value): status.name for status in OrderStatus}


@dataclass(frozen=True, slots=True)
class State:
    """The state of an order while it is locked.

    Attributes:
        exists: whether the synced table has the order.
        synced: the synced status.
        set_here: the overlay's status; None if none is set.
        version: the number of changes that the order has had.
    """

    exists: bool
    synced: str | None
    set_here: str | None
    version: int

    @property
    def status(self) -> str | None:
        """The merged status."""
        return self.synced if self.set_here is None else self.set_here


def outcomes_of(request: WriteRequest, states: dict[int, State]) -> list[Outcome | None]:
    """The outcome of each requested status; None if the status has to be changed."""
    outcomes = [_outcome(wanted, states[wanted.order_key]) for wanted in request.wanted]
    if not request.atomic or not any(outcome and outcome.refusals for outcome in outcomes):
        return outcomes
    return [
        outcome or Outcome(wanted.order_key, states[wanted.order_key].status, None, (NOT_APPLIED,))
        for wanted, outcome in zip(request.wanted, outcomes, strict=True)
    ]


def _outcome(wanted: WantedStatus, state: State) -> Outcome | None:
    if not state.exists:
        message = f"There is no order {wanted.order_key}. Nothing was written."
        return Outcome(wanted.order_key, None, None, (Refusal(Reason.ORDER_NOT_FOUND, message),))
    if conflicts := _conflicts(wanted, state):
        return Outcome(wanted.order_key, state.status, None, conflicts)
    unchanged = state.set_here is None if wanted.status is None else state.status == wanted.status
    return Outcome(wanted.order_key, state.status, None) if unchanged else None


def _conflicts(wanted: WantedStatus, state: State) -> tuple[Refusal, ...]:
    """A conflict for each expectation that does not hold."""
    status, version = wanted.expected_status, wanted.expected_version
    wrong = []
    if version is not None and version != state.version:
        wrong.append(("expectedVersion", f"version {version}"))
    if status is not None and status != state.status:
        wrong.append(("expectedStatus", _described(status)))
    return tuple(
        Refusal(
            Reason.STATUS_CONFLICT,
            f"Order {wanted.order_key} does not have {expected}: it has {_described(state.status)} and version "
            f"{state.version}. Nothing was written.",
            field,
            state.status,
            state.version,
        )
        for field, expected in wrong
    )


def _described(status: str | None) -> str:
    if status is None:
        return "no status"
    return _STATUS_NAMES.get(status, f'the unknown status "{status}"')


def outcome_before_change(wanted: WantedStatus, state: State) -> Outcome:
    """The outcome of a change that will be made: it lacks only the change itself."""
    return Outcome(wanted.order_key, state.status, None)


def status_after(wanted: WantedStatus, state: State) -> str | None:
    """The status that the order will have: the wanted one, or the synced one if the overlay's is cleared."""
    return state.synced if wanted.status is None else wanted.status


def with_change(outcome: Outcome, made: dict[int, StatusChange]) -> Outcome:
    """The outcome with the change of its order, if there was one."""
    change = made.get(outcome.order_key) if outcome.order_key is not None else None
    return Outcome(outcome.order_key, outcome.previous_status, change) if change else outcome
