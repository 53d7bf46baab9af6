"""Owns the three roots: what orders and administration each bring to them."""

from __future__ import annotations

import strawberry

from schema.admin_mutations import AdminMutations
from schema.admin_queries import AdminQueries
from schema.admin_subscriptions import AdminSubscriptions
from schema.mutations import OrderMutations
from schema.queries import OrderQueries
from schema.subscriptions import OrderSubscriptions


@strawberry.type(description="Everything that can be read.")
class Query(OrderQueries, AdminQueries):
    """The root of all queries. A field that fails is null and leaves the others alone."""


@strawberry.type(description="Everything that can be changed.")
class Mutation(OrderMutations, AdminMutations):
    """The root of all mutations."""


@strawberry.type(description="Everything that can be listened to.")
class Subscription(OrderSubscriptions, AdminSubscriptions):
    """The root of all subscriptions."""
