"""The contract: types, arguments, rules, and the questions they ask of the world. Imports nothing of `server`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import strawberry
from strawberry.schema.config import StrawberryConfig

from schema.extensions import (
    REMEMBERED_CHARACTERS,
    CostControl,
    DocumentReading,
    DocumentValidation,
    HeadFirst,
    OperationScope,
    ValidDocuments,
)
from schema.limits.cost import Costs
from schema.limits.document import DocumentLimits, Documents
from schema.plans.remembered import Planning, Plans
from schema.roots import Mutation, Query, Subscription
from schema.scalars import SCALARS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from strawberry.extensions import SchemaExtension
    from strawberry.types.base import StrawberryObjectDefinition
    from strawberry.types.field import StrawberryField

__all__ = ["DocumentLimits", "build_schema", "new_plans"]

# Documents are the same few texts over and over; each is parsed and validated once while it is remembered.
_REMEMBERED_DOCUMENTS = 512
# A plan takes up to a hundred times its text.
_REMEMBERED_CHARACTERS = 1 << 20
_TYPES_WITH_ORDER_FIELDS = frozenset({"Order", "OrderFilter"})


class _Schema(strawberry.Schema):
    """A schema that leaves the hidden fields of an order out, where they are read and where they are filtered."""

    def __init__(self, *, hidden: Collection[str], **keywords: Any) -> None:
        # Before the fields are asked for, which is while the schema is made.
        self._hidden = frozenset(hidden)
        super().__init__(**keywords)

    def get_fields(self, type_definition: StrawberryObjectDefinition) -> list[StrawberryField]:
        fields = super().get_fields(type_definition)
        if type_definition.name not in _TYPES_WITH_ORDER_FIELDS:
            return fields
        return [field for field in fields if field.python_name not in self._hidden]


def new_plans() -> Plans:
    """Where a schema's plans are remembered, for whoever answers by them."""
    return Plans(_REMEMBERED_DOCUMENTS, characters=_REMEMBERED_CHARACTERS)


def build_schema(
    *,
    hidden_order_fields: Collection[str] = (),
    extensions: Iterable[Callable[[], SchemaExtension]] = (),
    plans: Plans | None = None,
    limits: DocumentLimits | None = None,
) -> strawberry.Schema:
    """The schema.

    Args:
        hidden_order_fields: attributes of Order ("comment", "clerk") that are left out of the schema,
            and out of the filter with them.
        extensions: what makes anything else that is to happen around every operation.
        plans: where to remember how documents can be answered without graphql-core.
        limits: how much a document may have of each thing, and what an operation may cost; None for the defaults.
    """
    limits = limits or DocumentLimits()
    documents = Documents(limits, most=_REMEMBERED_DOCUMENTS, longest=REMEMBERED_CHARACTERS)
    valid = ValidDocuments(most=_REMEMBERED_DOCUMENTS, longest=REMEMBERED_CHARACTERS)
    costs: Costs
    schema = _Schema(
        hidden=hidden_order_fields,
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        config=StrawberryConfig(scalar_map=SCALARS),
        extensions=[
            lambda: DocumentReading(documents),
            lambda: DocumentValidation(valid),
            OperationScope,
            # Before whatever asks the database for something.
            lambda: CostControl(costs),
            *extensions,
            # Among the operations in flight, and within the deadline.
            HeadFirst,
            *([lambda: Planning(plans, longest=REMEMBERED_CHARACTERS)] if plans else []),
        ],
    )
    graphql_schema = schema._schema  # noqa: SLF001 # Strawberry has no public way to it
    costs = Costs(graphql_schema, limit=limits.cost, most=_REMEMBERED_DOCUMENTS, longest=REMEMBERED_CHARACTERS)
    return schema
