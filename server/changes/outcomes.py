"""The outcome of each requested change: decided from the state of the locked orders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from schema.errors import Reason
from schema.orders.arguments import OrderStatus
from schema.ports.changes import Outcome, Refusal

if TYPE_CHECKING:
    from schema.ports.changes import StatusChange, WantedStatus, WriteRequest

_STATUS_NAMES: Final[dict[str | None, str]] = {str(status.value): status.name for status in OrderStatus}


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
    if not request.atomic or not any(outcome and outcome.refusal for outcome in outcomes):
        return outcomes
    not_applied = Refusal(Reason.CHANGE_NOT_APPLIED, "Another change of the list was refused, so none was made.")
    return [
        outcome or Outcome(wanted.order_key, states[wanted.order_key].status, None, not_applied)
        for wanted, outcome in zip(request.wanted, outcomes, strict=True)
    ]


def _outcome(wanted: WantedStatus, state: State) -> Outcome | None:
    if not state.exists:
        message = f"There is no order {wanted.order_key}. Nothing was written."
        return Outcome(wanted.order_key, None, None, Refusal(Reason.ORDER_NOT_FOUND, message))
    if refusal := _conflict(wanted, state):
        return Outcome(wanted.order_key, state.status, None, refusal)
    unchanged = state.set_here is None if wanted.status is None else state.status == wanted.status
    return Outcome(wanted.order_key, state.status, None, None) if unchanged else None


def _conflict(wanted: WantedStatus, state: State) -> Refusal | None:
    for field, expected, found in (
        ("expectedVersion", wanted.expected_version, state.version),
        ("expectedStatus", wanted.expected_status, state.status),
    ):
        if expected is not None and expected != found:
            message = f"Order {wanted.order_key} is not as expected: it has {_described(state)}. Nothing was written."
            return Refusal(Reason.STATUS_CONFLICT, message, field, state.status, state.version)
    return None


def _described(state: State) -> str:
    name = _STATUS_NAMES.get(state.status, f"the unknown status {state.status!r}")
    return f"{name} and version {state.version}"


def outcome_before_change(wanted: WantedStatus, state: State) -> Outcome:
    """The outcome of a change that will be made: it lacks only the change itself."""
    return Outcome(wanted.order_key, state.status, None, None)


def status_after(wanted: WantedStatus, state: State) -> str | None:
    """The status that the order will have: the wanted one, or the synced one if the overlay's is cleared."""
    return state.synced if wanted.status is None else wanted.status


def with_change(outcome: Outcome, made: dict[int, StatusChange]) -> Outcome:
    """The outcome with the change of its order, if there was one."""
    change = made.get(outcome.order_key)
    return Outcome(outcome.order_key, outcome.previous_status, change, None) if change else outcome
