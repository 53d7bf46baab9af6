"""The root types Query, Mutation and Subscription, composed of the fields of orders, nodes and administration."""

from __future__ import annotations

import strawberry

from schema.admin.branch_mutations import BranchMutations
from schema.admin.mutations import AdminMutations
from schema.admin.operations import AdminSubscriptions
from schema.admin.queries import AdminQueries
from schema.nodes import NodeQueries
from schema.orders.mutations import OrderMutations
from schema.orders.queries import OrderQueries
from schema.orders.subscriptions import OrderSubscriptions


@strawberry.type(description="Everything you can read.")
class Query(OrderQueries, NodeQueries, AdminQueries):
    """The root of all queries. A field that fails is null; the others keep their data."""


@strawberry.type(description="Everything you can change.")
class Mutation(OrderMutations, AdminMutations, BranchMutations):
    """The root of all mutations."""


@strawberry.type(description="Everything you can subscribe to.")
class Subscription(OrderSubscriptions, AdminSubscriptions):
    """The root of all subscriptions."""
