"""The enums of orders. A member's value is the stored one."""

from __future__ import annotations

from enum import Enum

import strawberry


@strawberry.enum(description="The status of an order.")
class OrderStatus(Enum):
    """TPC-H's order statuses. A value is the stored one."""

    OPEN = strawberry.enum_value("O", description="No part of the order has been shipped. Stored as `O`.")
    FULFILLED = strawberry.enum_value("F", description="The whole order has been shipped. Stored as `F`.")
    PARTIAL = strawberry.enum_value("P", description="Part of the order has been shipped. Stored as `P`.")


_BY_STORED_VALUE = {str(status.value): status for status in OrderStatus}


def known_status(stored: str | None) -> OrderStatus | None:
    """The status with this stored value; None if the value is None or not in the schema."""
    return None if stored is None else _BY_STORED_VALUE.get(stored)


@strawberry.enum(description="How urgent an order is.")
class OrderPriority(Enum):
    """TPC-H's order priorities. A value is the stored one."""

    URGENT = strawberry.enum_value("1-URGENT", description="The most urgent. Stored as `1-URGENT`.")
    HIGH = strawberry.enum_value("2-HIGH", description="Stored as `2-HIGH`.")
    MEDIUM = strawberry.enum_value("3-MEDIUM", description="Stored as `3-MEDIUM`.")
    NOT_SPECIFIED = strawberry.enum_value(
        "4-NOT SPECIFIED", description="No priority was given. Stored as `4-NOT SPECIFIED`."
    )
    LOW = strawberry.enum_value("5-LOW", description="The least urgent. Stored as `5-LOW`.")
