"""Owns the mutations of an order's status: their inputs checked, their outcomes as payloads."""

from __future__ import annotations

import functools
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID  # noqa: TC003 # Strawberry reads the annotations at run time

import strawberry

from schema.access import Requires
from schema.context import Info  # noqa: TC001 # as above
from schema.errors import InputError, Reason
from schema.orders.arguments import OrderStatus, check_list_length, checked_text, known_status
from schema.orders.status_inputs import (
    MAX_NOTE_CHARACTERS,
    ChangeMode,
    ClearOrderStatusInput,
    OrderStatusChangeInput,
    SetOrderStatusesInput,
    SetOrderStatusInput,
)
from schema.orders.types import Order, OrderStatusChange, order_key_of, selected_order
from schema.permissions import Role
from schema.ports.changes import Outcome, Refusal, WantedStatus, WriteOutcome, WriteRequest
from schema.relay.pagination import given

if TYPE_CHECKING:
    from collections.abc import Sequence

_writes = functools.partial(strawberry.field, extensions=(Requires(Role.WRITER),))


@strawberry.enum(description="Why a change was not made.")
class UserErrorCode(Enum):
    """The reasons that stand in `userErrors`."""

    STATUS_CONFLICT = strawberry.enum_value(
        Reason.STATUS_CONFLICT,
        description="The order is not as expected. `currentStatus` and `currentVersion` say how it is.",
    )
    ORDER_NOT_FOUND = strawberry.enum_value(Reason.ORDER_NOT_FOUND, description="There is no such order.")
    CHANGE_NOT_APPLIED = strawberry.enum_value(
        Reason.CHANGE_NOT_APPLIED, description="Another change of the same ATOMIC list was refused."
    )
    IDEMPOTENCY_KEY_REUSED = strawberry.enum_value(
        Reason.IDEMPOTENCY_KEY_REUSED, description="The key was used for another input before."
    )


@strawberry.type(description="Why a change was not made. Nothing was written for it.")
class UserError:
    """One refusal."""

    code: UserErrorCode = strawberry.field(description="Why, for programs.")
    field: list[str] | None = strawberry.field(description="The path of the argument that it is about.")
    message: str = strawberry.field(description="Why, for people.")
    current_status: OrderStatus | None = strawberry.field(
        description="With STATUS_CONFLICT: the status that the order had when this was decided."
    )
    current_version: int | None = strawberry.field(description="With STATUS_CONFLICT: the version that it had then.")

    @classmethod
    def of(cls, refusal: Refusal, *path: str) -> UserError:
        """The refusal of a change whose own input stands at the path."""
        return cls(
            code=UserErrorCode(refusal.reason),
            field=[*path, refusal.field] if refusal.field else list(path),
            message=refusal.message,
            current_status=known_status(refusal.current_status),
            current_version=refusal.current_version,
        )


@strawberry.interface(description="What became of one wanted change.")
class OrderStatusOutcome:
    """The fields of every payload and result. Without change and error the order had that status already."""

    key: strawberry.Private[int | None]
    previous_status: OrderStatus | None = strawberry.field(
        description="The order's status before, as it was when this was decided."
    )
    change: OrderStatusChange | None = strawberry.field(
        description="The change that was made; null where the order had that status already, or with an error."
    )
    user_errors: list[UserError] = strawberry.field(description="Why nothing was changed; empty where all is well.")

    @strawberry.field(description="The order as it is now, also in a replay. Null where there is none.")
    async def order(self, info: Info) -> Order | None:
        """Read after the commit; all orders of an answer are one statement."""
        return None if self.key is None else await selected_order(info, self.key)


_REPLAYED = "Whether the key had been used before, and this is the recorded outcome of that first time."


@strawberry.type(description="The outcome of setOrderStatus.")
class SetOrderStatusPayload(OrderStatusOutcome):
    """One outcome."""

    replayed: bool = strawberry.field(description=_REPLAYED)


@strawberry.type(description="The outcome of clearOrderStatus.")
class ClearOrderStatusPayload(OrderStatusOutcome):
    """One outcome."""

    replayed: bool = strawberry.field(description=_REPLAYED)


@strawberry.type(description="The outcome of one change of a list.")
class SetOrderStatusResult(OrderStatusOutcome):
    """One outcome."""


@strawberry.type(description="The outcomes of setOrderStatuses.")
class SetOrderStatusesPayload:
    """As many outcomes as changes."""

    results: list[SetOrderStatusResult] = strawberry.field(
        description="What became of each change, in their order. Empty where the whole list was refused."
    )
    replayed: bool = strawberry.field(description=_REPLAYED)
    user_errors: list[UserError] = strawberry.field(
        description="Why the whole list was refused; what is wrong with one change stands in its result."
    )


@strawberry.type
class OrderMutations:
    """The root fields that change orders."""

    @_writes(
        description=(
            "Set an order's status. It wins over the synced one, now and after every sync, until it is set anew or "
            "cleared. Setting the status that the order has already is a success without a change."
        )
    )
    async def set_order_status(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # the argument's name in the schema
            SetOrderStatusInput, strawberry.argument(description="Which order, which status, and on what condition.")
        ],
    ) -> SetOrderStatusPayload:
        """One transaction, committed before the answer."""
        done = await _write(info, "setOrderStatus", [_wanted(input, "input")], input.idempotency_key)
        return SetOrderStatusPayload(**_only(done), replayed=done.replayed)

    @_writes(description="Go back to the synced status, as a change like any other: its version keeps rising.")
    async def clear_order_status(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            ClearOrderStatusInput, strawberry.argument(description="Which order, and on what condition.")
        ],
    ) -> ClearOrderStatusPayload:
        """One transaction, committed before the answer."""
        done = await _write(info, "clearOrderStatus", [_wanted(input, "input")], input.idempotency_key)
        return ClearOrderStatusPayload(**_only(done), replayed=done.replayed)

    @_writes(description="Set the statuses of up to 1,000 orders in one transaction.")
    async def set_order_statuses(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            SetOrderStatusesInput, strawberry.argument(description="Which orders, which statuses, and all or each.")
        ],
    ) -> SetOrderStatusesPayload:
        """A constant number of statements, whatever the number of changes."""
        check_list_length(input.changes, argument="input.changes")
        wanted = [_wanted(change, f"input.changes.{index}") for index, change in enumerate(input.changes)]
        _check_repeats(wanted)
        atomic = input.mode is ChangeMode.ATOMIC
        done = await _write(info, "setOrderStatuses", wanted, input.idempotency_key, atomic=atomic)
        return SetOrderStatusesPayload(
            results=[
                SetOrderStatusResult(**_fields(outcome, "input", "changes", str(index)))
                for index, outcome in enumerate(done.outcomes)
            ],
            replayed=done.replayed,
            user_errors=[UserError.of(done.refusal, "input")] if done.refusal else [],
        )


async def _write(
    info: Info, operation: str, wanted: Sequence[WantedStatus], key: UUID | None, *, atomic: bool = True
) -> WriteOutcome:
    request = WriteRequest(operation, tuple(wanted), atomic=atomic, idempotency_key=given(key))
    return await info.context.statuses.write(request, info.context.principal.user)


def _only(done: WriteOutcome) -> dict[str, Any]:
    if done.refusal:
        refused = Outcome(order_key=0, previous_status=None, change=None, refusal=done.refusal)
        return {**_fields(refused, "input"), "key": None}
    return _fields(done.outcomes[0], "input")


def _fields(outcome: Outcome, *path: str) -> dict[str, Any]:
    return {
        "key": outcome.order_key,
        "previous_status": known_status(outcome.previous_status),
        "change": OrderStatusChange(change=outcome.change) if outcome.change else None,
        "user_errors": [UserError.of(outcome.refusal, *path)] if outcome.refusal else [],
    }


def _wanted(change: OrderStatusChangeInput | ClearOrderStatusInput, path: str) -> WantedStatus:
    status = expected = None
    if isinstance(change, OrderStatusChangeInput):
        status, expected = str(change.status.value), given(change.expected_status)
    note = checked_text(given(change.note), argument=f"{path}.note")
    if note and len(note) > MAX_NOTE_CHARACTERS:
        raise InputError(
            Reason.VALUE_INVALID,
            f"`{path}.note` has {len(note):,} characters; at most {MAX_NOTE_CHARACTERS:,} are kept.",
        )
    return WantedStatus(
        order_key=_order_key(given(change.order_key), given(change.id), path),
        status=status,
        expected_status=str(expected.value) if expected else None,
        expected_version=given(change.expected_version),
        note=note,
    )


def _order_key(key: int | None, global_id: str | None, path: str) -> int:
    if (key is None) == (global_id is None):
        raise InputError(
            Reason.ORDER_UNDETERMINED, f"Name the order in `{path}` by either `orderKey` or `id`, and not both."
        )
    key = order_key_of(global_id) if global_id is not None else key
    if key is None or key < 1:
        raise InputError(Reason.VALUE_INVALID, f"`{path}.orderKey` is {key}; order keys start at 1.")
    return key


def _check_repeats(wanted: Sequence[WantedStatus]) -> None:
    first: dict[int, int] = {}
    for index, item in enumerate(wanted):
        if item.order_key in first:
            raise InputError(
                Reason.ORDER_REPEATED,
                f"`input.changes.{first[item.order_key]}` and `input.changes.{index}` are one order, {item.order_key}.",
            )
        first[item.order_key] = index
