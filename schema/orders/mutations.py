"""The mutations of an order's status: they check the input, write through the port, and return the outcome."""

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


@strawberry.enum(description="Why a change was refused.")
class UserErrorCode(Enum):
    """The reasons that are reported in `userErrors`."""

    STATUS_CONFLICT = strawberry.enum_value(
        Reason.STATUS_CONFLICT,
        description="The order is not as expected. `currentStatus` and `currentVersion` say what it is.",
    )
    ORDER_NOT_FOUND = strawberry.enum_value(Reason.ORDER_NOT_FOUND, description="The order does not exist.")
    CHANGE_NOT_APPLIED = strawberry.enum_value(
        Reason.CHANGE_NOT_APPLIED, description="Another change in the same ATOMIC list was refused."
    )
    IDEMPOTENCY_KEY_REUSED = strawberry.enum_value(
        Reason.IDEMPOTENCY_KEY_REUSED, description="The idempotency key was already used with another input."
    )


@strawberry.type(description="Why a change was refused. Nothing was written for it.")
class UserError:
    """One refusal."""

    code: UserErrorCode = strawberry.field(description="The reason, for programs.")
    field: list[str] | None = strawberry.field(description="The path of the argument that the error is about.")
    message: str = strawberry.field(description="The reason, for people.")
    current_status: OrderStatus | None = strawberry.field(
        description="With STATUS_CONFLICT: the status of the order when the change was refused."
    )
    current_version: int | None = strawberry.field(
        description="With STATUS_CONFLICT: the order's `statusVersion` at that time."
    )

    @classmethod
    def of(cls, refusal: Refusal, *path: str) -> UserError:
        """The error for a refused change, whose input is at the path."""
        return cls(
            code=UserErrorCode(refusal.reason),
            field=[*path, refusal.field] if refusal.field else list(path),
            message=refusal.message,
            current_status=known_status(refusal.current_status),
            current_version=refusal.current_version,
        )


@strawberry.interface(description="The outcome of one change.")
class OrderStatusOutcome:
    """The fields of every payload and result. Without a change or an error, the order had that status already."""

    key: strawberry.Private[int | None]
    previous_status: OrderStatus | None = strawberry.field(
        description="The order's status before the change, as read in the same transaction."
    )
    change: OrderStatusChange | None = strawberry.field(
        description="The change that was made. Null if the order had that status already, or on an error."
    )
    user_errors: list[UserError] = strawberry.field(description="Why nothing was changed. Empty on success.")

    @strawberry.field(description="The order as it is now, even in a replay. Null if there is no such order.")
    async def order(self, info: Info) -> Order | None:
        """Read after the commit. All orders of an answer are read in one statement."""
        return None if self.key is None else await selected_order(info, self.key)


_REPLAYED = "Whether the idempotency key was used before. If so, this is the recorded outcome of the first time."


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
    """One outcome for each change."""

    results: list[SetOrderStatusResult] = strawberry.field(
        description="The outcome of each change, in order. Empty if the whole list was refused."
    )
    replayed: bool = strawberry.field(description=_REPLAYED)
    user_errors: list[UserError] = strawberry.field(
        description="Why the whole list was refused. Errors of a single change are in its result."
    )


@strawberry.type
class OrderMutations:
    """The root fields that change orders."""

    @_writes(
        description=(
            "Set an order's status. It takes precedence over the synced status, even after later syncs, until it is "
            "set again or cleared. Setting the status that the order already has succeeds without a change."
        )
    )
    async def set_order_status(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # the argument's name in the schema
            SetOrderStatusInput,
            strawberry.argument(description="Which order, which status, and under which condition."),
        ],
    ) -> SetOrderStatusPayload:
        """Write in one transaction, committed before the answer."""
        result = await _write(info, "setOrderStatus", [_wanted(input, "input")], input.idempotency_key)
        return SetOrderStatusPayload(**_only_outcome(result), replayed=result.replayed)

    @_writes(
        description=(
            "Go back to the synced status. This is a change like any other: it is recorded and raises `statusVersion`."
        )
    )
    async def clear_order_status(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            ClearOrderStatusInput, strawberry.argument(description="Which order, and under which condition.")
        ],
    ) -> ClearOrderStatusPayload:
        """Write in one transaction, committed before the answer."""
        result = await _write(info, "clearOrderStatus", [_wanted(input, "input")], input.idempotency_key)
        return ClearOrderStatusPayload(**_only_outcome(result), replayed=result.replayed)

    @_writes(description="Set the statuses of up to 1,000 orders in one transaction.")
    async def set_order_statuses(
        self,
        info: Info,
        input: Annotated[  # noqa: A002 # as above
            SetOrderStatusesInput,
            strawberry.argument(description="Which orders, which statuses, and whether all or none."),
        ],
    ) -> SetOrderStatusesPayload:
        """Run a constant number of statements, however many changes there are."""
        check_list_length(input.changes, argument="input.changes")
        wanted = [_wanted(change, f"input.changes.{index}") for index, change in enumerate(input.changes)]
        _check_repeats(wanted)
        atomic = input.mode is ChangeMode.ATOMIC
        result = await _write(info, "setOrderStatuses", wanted, input.idempotency_key, atomic=atomic)
        return SetOrderStatusesPayload(
            results=[
                SetOrderStatusResult(**_fields(outcome, "input", "changes", str(index)))
                for index, outcome in enumerate(result.outcomes)
            ],
            replayed=result.replayed,
            user_errors=[UserError.of(result.refusal, "input")] if result.refusal else [],
        )


async def _write(
    info: Info, operation: str, wanted: Sequence[WantedStatus], key: UUID | None, *, atomic: bool = True
) -> WriteOutcome:
    request = WriteRequest(operation, tuple(wanted), atomic=atomic, idempotency_key=given(key))
    return await info.context.statuses.write(request, info.context.principal.user)


def _only_outcome(result: WriteOutcome) -> dict[str, Any]:
    if result.refusal:
        refused = Outcome(order_key=0, previous_status=None, change=None, refusal=result.refusal)
        return {**_fields(refused, "input"), "key": None}
    return _fields(result.outcomes[0], "input")


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
            f"`{path}.note` has {len(note):,} characters; at most {MAX_NOTE_CHARACTERS:,} are allowed.",
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
            Reason.ORDER_UNDETERMINED, f"Identify the order in `{path}` by either `orderKey` or `id`, not both."
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
                f"`input.changes.{first[item.order_key]}` and `input.changes.{index}` change the same order, "
                f"{item.order_key}. Send one change for each order.",
            )
        first[item.order_key] = index
