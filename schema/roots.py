"""Owns the three roots: what orders and administration each bring to them."""

from __future__ import annotations

import strawberry

from schema.admin.mutations import AdminMutations
from schema.admin.queries import AdminQueries
from schema.admin.subscriptions import AdminSubscriptions
from schema.nodes import NodeQueries
from schema.orders.mutations import OrderMutations
from schema.orders.queries import OrderQueries
from schema.orders.subscriptions import OrderSubscriptions


@strawberry.type(description="Everything that can be read.")
class Query(OrderQueries, NodeQueries, AdminQueries):
    """The root of all queries. A field that fails is null and leaves the others alone."""


@strawberry.type(description="Everything that can be changed.")
class Mutation(OrderMutations, AdminMutations):
    """The root of all mutations."""


@strawberry.type(description="Everything that can be listened to.")
class Subscription(OrderSubscriptions, AdminSubscriptions):
    """The root of all subscriptions."""
