"""The GraphQL contract: types, arguments, rules, and the ports through which resolvers ask for data.

It imports nothing of `server`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import strawberry
from strawberry.schema.config import StrawberryConfig

from schema.admin.mutations import AdminMutations
from schema.admin.operations import AdminSubscriptions
from schema.admin.queries import AdminQueries
from schema.extensions import CostControl, DocumentPreparation, HeadFirst, OperationScope, Planning
from schema.limits.document import DocumentLimits
from schema.limits.prices import check_sizes
from schema.messages.values import quote_values_in_json
from schema.nodes import NodeQueries
from schema.orders.groups import OrderGroup, OrderGroupBy, unserved_keys
from schema.orders.mutations import OrderMutations
from schema.orders.subscriptions import OrderSubscriptions
from schema.plans.documents import DocumentCache
from schema.scalars import SCALARS
from schema.stages import Executor, Stages
from schema.tables.declaration import is_shown
from schema.tables.fields import table_read_by
from schema.tables.registry import ORDERS_NAME, REGISTERED

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from graphql import GraphQLEnumType
    from strawberry.extensions import SchemaExtension
    from strawberry.types.base import StrawberryObjectDefinition
    from strawberry.types.execution import ExecutionContext
    from strawberry.types.field import StrawberryField

__all__ = ["DocumentCache", "DocumentLimits", "build_schema"]

_QUERIES = [queries for declared in REGISTERED.values() if (queries := declared.queries) is not None]


@strawberry.type(description="Everything you can read.")
class Query(*_QUERIES, NodeQueries, AdminQueries):  # type: ignore[misc] # the bases are those that are registered
    """The root of all queries. A field that fails is null; the others keep their data."""


@strawberry.type(description="Everything you can change.")
class Mutation(OrderMutations, AdminMutations):
    """The root of all mutations."""


@strawberry.type(description="Everything you can subscribe to.")
class Subscription(OrderSubscriptions, AdminSubscriptions):
    """The root of all subscriptions."""


class _Schema(strawberry.Schema):
    """A schema with our stages, and without the fields and group keys that a deployment does not serve.

    Args:
        tables: the names of the tables that it serves.
        hidden: the fields that it leaves out of a type and of the type's filter, as "Type.attribute".
        keywords: Strawberry's own.
    """

    def __init__(self, *, tables: Collection[str], hidden: Collection[str], **keywords: Any) -> None:
        # Set first, since Strawberry's constructor asks for the fields.
        self._tables = frozenset(tables)
        self._hidden = {*hidden, *(f"{type_name}Filter.{name}" for type_name, name in map(_parts, hidden))}
        unserved = frozenset(unserved_keys(self._tables, hidden))
        self._hidden |= {f"{OrderGroup.__name__}.{key.value}" for key in unserved}
        super().__init__(**keywords)
        keys = cast("GraphQLEnumType", self._schema.type_map[OrderGroupBy.__name__])
        for key in unserved:
            del keys.values[OrderGroupBy(key.value).name]

    def create_extensions_runner(
        self, execution_context: ExecutionContext, extensions: list[SchemaExtension]
    ) -> Stages:
        return Stages(execution_context, extensions)

    def get_fields(self, type_definition: StrawberryObjectDefinition) -> list[StrawberryField]:
        return [
            field
            for field in super().get_fields(type_definition)
            if is_shown(field)
            and table_read_by(field) in {None, *self._tables}
            and f"{type_definition.name}.{field.python_name}" not in self._hidden
        ]


def _parts(name: str) -> tuple[str, str]:
    type_name, _, attribute = name.partition(".")
    return type_name, attribute


def build_schema(
    *,
    tables: Collection[str] = (),
    hidden_fields: Collection[str] = (),
    extensions: Iterable[Callable[[], SchemaExtension]] = (),
    documents: DocumentCache | None = None,
    plans: bool = False,
    limits: DocumentLimits | None = None,
    executor: type[Executor] | None = None,
) -> strawberry.Schema:
    """Build the schema.

    Args:
        tables: the names of the tables that are served beside the orders, of schema/tables/registry.py.
        hidden_fields: fields to leave out of their type and of its filter, as "Order.comment": the type and the
            attribute.
        extensions: factories of further extensions, which run around every operation.
        documents: the cache of documents, if the caller shares it; None makes a new one.
        plans: whether to plan queries, so that the caller can answer them from their plans.
        limits: the limits of a document and the cost limit of an operation; None for the defaults.
        executor: the class that executes operations; None for the schema's own.
    """
    quote_values_in_json()
    limits = limits or DocumentLimits()
    cache = DocumentCache() if documents is None else documents
    schema = _Schema(
        tables={ORDERS_NAME, *tables},
        hidden=hidden_fields,
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        config=StrawberryConfig(scalar_map=SCALARS),
        execution_context_class=executor or Executor,
        extensions=[
            lambda: DocumentPreparation(cache, limits),
            OperationScope,
            # Before any extension that queries the database.
            lambda: CostControl(cache, limit=limits.cost),
            *extensions,
            # With an admission slot, and within the deadline.
            HeadFirst,
            *([lambda: Planning(cache)] if plans else []),
        ],
    )
    check_sizes(schema._schema)  # noqa: SLF001 # Strawberry has no public way to it
    return schema
