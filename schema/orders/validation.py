"""Validation of the changes in an input: each mistake becomes a user error of its change."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from schema.errors import InputError, Reason
from schema.orders.arguments import checked_text
from schema.orders.status_inputs import MAX_NOTE_CHARACTERS, ClearOrderStatusInput, OrderStatusChangeInput
from schema.orders.types import order_key_of
from schema.ports.changes import Refusal, WantedStatus
from schema.relay.pagination import given

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(slots=True)
class Change:
    """A change in an input, and the mistakes in it.

    Attributes:
        input: the change, as the client sent it.
        path: where it is: `input`, or `input`, `changes` and its index.
        order_key: the key of its order; None if it does not name an order.
        mistakes: why it cannot be tried.
    """

    input: OrderStatusChangeInput | ClearOrderStatusInput
    path: tuple[str, ...]
    order_key: int | None = None
    mistakes: list[Refusal] = field(default_factory=list)

    @property
    def order_field(self) -> str:
        """The field that names the order."""
        return "orderKey" if given(self.input.id) is None else "id"

    def wanted(self) -> WantedStatus:
        """The status that a change without mistakes wants.

        Raises:
            ValueError: the change does not name an order.
        """
        if self.order_key is None:
            raise ValueError(self.mistakes)
        return WantedStatus(self.order_key, *self._rest())

    def as_sent(self) -> tuple[object, ...]:
        """The values of the input, whether or not they are valid."""
        return (given(self.input.order_key), given(self.input.id), *self._rest())

    def refuse(self, reason: Reason, message: str, field_: str | None = None) -> None:
        """Note a mistake, and the field in which it is."""
        self.mistakes.append(Refusal(reason, f"{message} Nothing was written.", field_))

    def _rest(self) -> tuple[str | None, str | None, int | None, str | None]:
        status = expected = None
        if isinstance(self.input, OrderStatusChangeInput):
            status, expected = str(self.input.status.value), given(self.input.expected_status)
        expected_status = str(expected.value) if expected else None
        return status, expected_status, given(self.input.expected_version), given(self.input.note)


def only_change(input_: OrderStatusChangeInput | ClearOrderStatusInput) -> Change:
    """The change of an input that has one."""
    return _checked(Change(input_, ("input",)))


def listed_changes(inputs: Sequence[OrderStatusChangeInput]) -> list[Change]:
    """The changes of a list. If two change the same order, the later one has the mistake."""
    changes = [_checked(Change(input_, ("input", "changes", str(index)))) for index, input_ in enumerate(inputs)]
    first: dict[int, int] = {}
    for index, change in enumerate(changes):
        key = change.order_key
        if key is not None and (earlier := first.setdefault(key, index)) != index:
            message = f"`input.changes.{earlier}` changes the same order, {key}. Send one change for each order."
            change.refuse(Reason.ORDER_REPEATED, message, change.order_field)
    return changes


def _checked(change: Change) -> Change:
    try:
        change.order_key = _order_key(change)
    except InputError as error:
        undetermined = error.reason is Reason.ORDER_UNDETERMINED
        change.refuse(error.reason, error.message, None if undetermined else change.order_field)
    try:
        _check_note(given(change.input.note))
    except InputError as error:
        change.refuse(error.reason, error.message, "note")
    return change


def _order_key(change: Change) -> int:
    key, global_id = given(change.input.order_key), given(change.input.id)
    if key is not None and global_id is None:
        found = int(key)
    elif key is None and global_id is not None:
        found = order_key_of(global_id)
    else:
        raise InputError(Reason.ORDER_UNDETERMINED, "Identify the order by either `orderKey` or `id`, not both.")
    if found < 1:
        raise InputError(Reason.VALUE_INVALID, f"The order key is {found}, and order keys start at 1.")
    return found


def _check_note(note: str | None) -> None:
    if checked_text(note, argument="note") and note is not None and len(note) > MAX_NOTE_CHARACTERS:
        raise InputError(
            Reason.VALUE_INVALID,
            f"`note` has {len(note):,} characters; at most {MAX_NOTE_CHARACTERS:,} are allowed.",
        )
