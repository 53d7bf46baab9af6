"""The mutations of an order's status: they check the input, write through the port, and return the outcome."""

from __future__ import annotations

import functools
from dataclasses import replace
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID  # noqa: TC003 # Strawberry reads the annotations at run time

import strawberry

from schema.access import Requires
from schema.context import Info  # noqa: TC001 # as above
from schema.errors import InputError, Reason
from schema.orders.enums import OrderStatus, known_status
from schema.orders.status_inputs import ChangeMode, ClearOrderStatusInput, SetOrderStatusesInput, SetOrderStatusInput
from schema.orders.types import Order, OrderStatusChange, selected_order
from schema.orders.validation import listed_changes, only_change
from schema.permissions import Role
from schema.ports.changes import NOT_APPLIED, Outcome, Refusal, WriteOutcome, WriteRequest
from schema.relay.pagination import given
from schema.tables.arguments import check_list_length

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schema.orders.validation import Change

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
    VALUE_INVALID = strawberry.enum_value(
        Reason.VALUE_INVALID, description="A value is impossible: a note that is too long, an order key below 1."
    )
    ID_INVALID = strawberry.enum_value(
        Reason.ID_INVALID, description="The `id` is malformed, or is not the id of an order."
    )
    ORDER_UNDETERMINED = strawberry.enum_value(
        Reason.ORDER_UNDETERMINED, description="Either `orderKey` or `id` is needed, and not both."
    )
    ORDER_REPEATED = strawberry.enum_value(
        Reason.ORDER_REPEATED, description="An earlier change in the list is of the same order."
    )
    TOO_MANY_VALUES = strawberry.enum_value(Reason.TOO_MANY_VALUES, description="The list of changes is too long.")


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
    def of(cls, refusal: Refusal, *path: str, field: str | None = None) -> UserError:
        """The error for a refused change, whose input is at the path. `field` replaces the field of the refusal."""
        found = field or refusal.field
        return cls(
            code=UserErrorCode(refusal.reason),
            field=[*path, found] if found else list(path),
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
        description=(
            "The outcome of each change, in order. A change whose input is wrong has its `userErrors`: with "
            "INDEPENDENT the others are made, with ATOMIC none is. Empty if the whole list was refused."
        )
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
        outcome, replayed = await _change_one(info, "setOrderStatus", input)
        return SetOrderStatusPayload(**outcome, replayed=replayed)

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
        outcome, replayed = await _change_one(info, "clearOrderStatus", input)
        return ClearOrderStatusPayload(**outcome, replayed=replayed)

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
        try:
            check_list_length(input.changes, argument="input.changes")
        except InputError as error:
            too_long = Refusal(error.reason, error.message, "changes")
            return SetOrderStatusesPayload(results=[], replayed=False, user_errors=[UserError.of(too_long, "input")])
        changes = listed_changes(input.changes)
        result = await _change_many(info, input, changes)
        return SetOrderStatusesPayload(
            results=[
                SetOrderStatusResult(**_fields(outcome, change))
                for outcome, change in zip(result.outcomes, changes, strict=not result.refusal)
            ],
            replayed=result.replayed,
            user_errors=[UserError.of(result.refusal, "input")] if result.refusal else [],
        )


async def _change_one(
    info: Info, operation: str, input_: SetOrderStatusInput | ClearOrderStatusInput
) -> tuple[dict[str, Any], bool]:
    """Change the status of one order. Returns the fields of the outcome, and whether it is a replay."""
    change = only_change(input_)
    if change.mistakes:
        return _fields(_refused(change), change), False
    result = await _write(info, operation, [change], input_.idempotency_key)
    if result.refusal is None:
        return _fields(result.outcomes[0], change), result.replayed
    nothing = Outcome(order_key=None, previous_status=None, change=None, refusals=(result.refusal,))
    return _fields(nothing, change), False


async def _change_many(info: Info, input_: SetOrderStatusesInput, changes: Sequence[Change]) -> WriteOutcome:
    """Make the changes of a list that have no mistakes. In ATOMIC mode one mistake stops all of them."""
    atomic = input_.mode is ChangeMode.ATOMIC
    wrong = [change for change in changes if change.mistakes]
    if wrong and (atomic or len(wrong) == len(changes)):
        return WriteOutcome(tuple(_refused(change) for change in changes))
    result = await _write(info, "setOrderStatuses", changes, input_.idempotency_key, atomic=atomic)
    written = iter(result.outcomes)
    if result.refusal:
        return result
    return replace(result, outcomes=tuple(_refused(change) if change.mistakes else next(written) for change in changes))


async def _write(
    info: Info, operation: str, changes: Sequence[Change], key: UUID | None, *, atomic: bool = True
) -> WriteOutcome:
    request = WriteRequest(
        operation,
        tuple(change.wanted() for change in changes if not change.mistakes),
        atomic=atomic,
        idempotency_key=given(key),
        invalid=tuple((index, *change.as_sent()) for index, change in enumerate(changes) if change.mistakes),
    )
    return await info.context.statuses.write(request, info.context.principal.user)


def _refused(change: Change) -> Outcome:
    """The outcome of a change that was not tried because it, or another change of its ATOMIC list, has mistakes."""
    return Outcome(change.order_key, None, None, tuple(change.mistakes) or (NOT_APPLIED,))


def _fields(outcome: Outcome, change: Change) -> dict[str, Any]:
    return {
        "key": outcome.order_key,
        "previous_status": known_status(outcome.previous_status),
        "change": OrderStatusChange(change=outcome.change) if outcome.change else None,
        "user_errors": [
            UserError.of(
                refusal,
                *change.path,
                field=change.order_field if refusal.reason is Reason.ORDER_NOT_FOUND else None,
            )
            for refusal in outcome.refusals
        ],
    }
