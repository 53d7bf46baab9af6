"""The inputs of the mutations of an order's status."""

from __future__ import annotations

from enum import Enum
from typing import Final
from uuid import UUID  # noqa: TC003 # Strawberry reads the annotations at run time

import strawberry
from strawberry import UNSET

from schema.orders.enums import OrderStatus  # noqa: TC001 # as above
from schema.orders.made_by_names import made_by_names
from schema.scalars import BigInt  # noqa: TC001 # as above

MAX_NOTE_CHARACTERS: Final = 1000
_ORDER_KEY = "The order's key. Give either this or `id`."
_ID = "The order's global id. Give either this or `orderKey`."
_EXPECTED_VERSION = (
    "Change the status only if the order's `statusVersion` is still this. It is 0 if the status was never changed here."
)
_EXPECTED_STATUS = "Change the status only if it is still this."
_NOTE = f"A note for the history, at most {MAX_NOTE_CHARACTERS:,} characters."
_IDEMPOTENCY_KEY = (
    "Makes a repetition safe: the same key with the same input changes nothing again and returns the first outcome, "
    "with `replayed: true`. Create a new key for each intended change, and keep it until you have an answer."
)


@strawberry.enum(description="What happens to the other changes of a list if one is refused.")
class ChangeMode(Enum):
    """The mode of setOrderStatuses."""

    ATOMIC = strawberry.enum_value("atomic", description="Either all changes are made, or none.")
    INDEPENDENT = strawberry.enum_value("independent", description="Every change that can be made is made.")


@made_by_names
@strawberry.input(description="A status for one order. Give exactly one of `orderKey` and `id`.")
class OrderStatusChangeInput:
    """One element of setOrderStatuses.changes."""

    status: OrderStatus = strawberry.field(description="The status to set.")
    order_key: BigInt | None = strawberry.field(default=UNSET, description=_ORDER_KEY)
    id: strawberry.ID | None = strawberry.field(default=UNSET, description=_ID)
    expected_status: OrderStatus | None = strawberry.field(default=UNSET, description=_EXPECTED_STATUS)
    expected_version: int | None = strawberry.field(default=UNSET, description=_EXPECTED_VERSION)
    note: str | None = strawberry.field(default=UNSET, description=_NOTE)


@made_by_names
@strawberry.input(description="A status for one order. Give exactly one of `orderKey` and `id`.")
class SetOrderStatusInput(OrderStatusChangeInput):
    """The input of setOrderStatus."""

    idempotency_key: UUID | None = strawberry.field(default=UNSET, description=_IDEMPOTENCY_KEY)


@made_by_names
@strawberry.input(description="The order whose status is cleared. Give exactly one of `orderKey` and `id`.")
class ClearOrderStatusInput:
    """The input of clearOrderStatus."""

    order_key: BigInt | None = strawberry.field(default=UNSET, description=_ORDER_KEY)
    id: strawberry.ID | None = strawberry.field(default=UNSET, description=_ID)
    expected_version: int | None = strawberry.field(default=UNSET, description=_EXPECTED_VERSION)
    note: str | None = strawberry.field(default=UNSET, description=_NOTE)
    idempotency_key: UUID | None = strawberry.field(default=UNSET, description=_IDEMPOTENCY_KEY)


@made_by_names
@strawberry.input(description="Statuses for many orders.")
class SetOrderStatusesInput:
    """The input of setOrderStatuses."""

    changes: list[OrderStatusChangeInput] = strawberry.field(
        description="At most 1,000 changes, each of a different order. They are made in one transaction."
    )
    mode: ChangeMode = strawberry.field(
        default=ChangeMode.ATOMIC, description="What happens to the other changes if one is refused."
    )
    idempotency_key: UUID | None = strawberry.field(default=UNSET, description=_IDEMPOTENCY_KEY)
