"""Owns what becomes of each change that is asked for: decided from the orders as they are locked, and as it is kept."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from schema.errors import Reason
from schema.orders.arguments import OrderStatus
from schema.ports.changes import Outcome, Refusal

if TYPE_CHECKING:
    from schema.ports.changes import StatusChange, WantedStatus, WriteRequest

_STATUS_NAMES: Final[dict[str | None, str]] = {str(status.value): status.name for status in OrderStatus}


@dataclass(frozen=True, slots=True)
class State:
    """An order as it is while it is locked."""

    there: bool
    synced: str | None
    set_here: str | None
    version: int

    @property
    def status(self) -> str | None:
        """The one that counts."""
        return self.synced if self.set_here is None else self.set_here


def outcomes_of(request: WriteRequest, states: dict[int, State]) -> list[Outcome | None]:
    """What becomes of each wanted status; None where it is to be changed."""
    outcomes = [_outcome(wanted, states[wanted.order_key]) for wanted in request.wanted]
    if not request.atomic or not any(outcome and outcome.refusal for outcome in outcomes):
        return outcomes
    others = Refusal(Reason.CHANGE_NOT_APPLIED, "Another change of the list was refused, so none was made.")
    return [
        outcome or Outcome(wanted.order_key, states[wanted.order_key].status, None, others)
        for wanted, outcome in zip(request.wanted, outcomes, strict=True)
    ]


def _outcome(wanted: WantedStatus, state: State) -> Outcome | None:
    if not state.there:
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


def yet_to_change(wanted: WantedStatus, state: State) -> Outcome:
    """The outcome of one that will be changed, before its change is made."""
    return Outcome(wanted.order_key, state.status, None, None)


def status_after(wanted: WantedStatus, state: State) -> str | None:
    """The status that the order will have; without one that is set here it has the synced one."""
    return state.synced if wanted.status is None else wanted.status


def with_change(outcome: Outcome, made: dict[int, StatusChange]) -> Outcome:
    """The outcome with the change that was made of its order, if there was one."""
    change = made.get(outcome.order_key)
    return Outcome(outcome.order_key, outcome.previous_status, change, None) if change else outcome


def recorded_as(outcomes: list[Outcome], states: dict[int, State], changing: list[WantedStatus]) -> str:
    """The outcomes as they are kept. A change is found again by its order and version."""
    versions = {wanted.order_key: states[wanted.order_key].version + 1 for wanted in changing}
    return json.dumps(
        [
            {
                "key": outcome.order_key,
                "previous": outcome.previous_status,
                "version": versions.get(outcome.order_key),
                "refusal": outcome.refusal
                and [
                    outcome.refusal.reason.name,
                    outcome.refusal.message,
                    outcome.refusal.field,
                    outcome.refusal.current_status,
                    outcome.refusal.current_version,
                ],
            }
            for outcome in outcomes
        ]
    )


def refusal_from(recorded: list[Any]) -> Refusal:
    """A refusal as `recorded_as` has kept it."""
    reason, *rest = recorded
    return Refusal(Reason[reason], *rest)


def hash_of(request: WriteRequest) -> bytes:
    """Of the input as it is meant: by whichever of its names an order was called."""
    wanted = [
        [item.order_key, item.status, item.expected_status, item.expected_version, item.note] for item in request.wanted
    ]
    return hashlib.sha256(json.dumps([request.operation, request.atomic, wanted]).encode()).digest()
