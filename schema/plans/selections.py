"""The selections of an operation: which fields are selected on objects of a type."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from graphql import GraphQLObjectType, OperationDefinitionNode
from graphql.execution.collect_fields import FragmentDetails, collect_fields, collect_subfields
from graphql.execution.values import VariableValues

from schema.plans.arguments import UnplannedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from graphql import FieldNode, GraphQLSchema
    from graphql.execution.collect_fields import FieldDetails

Group: TypeAlias = list["FieldDetails"]


class Selections:
    """The selections of one operation, for given values of the variables in `@skip` and `@include`.

    graphql-core's own functions collect the fields, so they resolve fragments, merge fields and apply directives.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: dict[str, FragmentDetails],
        booleans: Mapping[str, bool],
    ) -> None:
        self.schema = schema
        self._operation = operation
        self._fragments = fragments
        self._booleans = VariableValues({}, dict(booleans))

    def roots(self) -> dict[str, Group]:
        """The root fields by response key."""
        query = self.schema.query_type
        if query is None:
            raise UnplannedError
        collected = collect_fields(self.schema, self._fragments, self._booleans, query, self._operation)
        return collected.grouped_field_set

    def below(self, type_name: str, group: Group) -> Iterable[tuple[str, str, Group]]:
        """The fields selected on an object of this type: response key, name and nodes of each."""
        collected = collect_subfields(
            self.schema, self._fragments, self._booleans, self._operation, self.object_type(type_name), group
        )
        return [(key, node_of(details).name.value, details) for key, details in collected.grouped_field_set.items()]

    def object_type(self, name: str) -> GraphQLObjectType:
        """The object type with this name."""
        named = self.schema.type_map.get(name)
        if not isinstance(named, GraphQLObjectType):
            raise UnplannedError
        return named


def node_of(group: Group) -> FieldNode:
    """The first of the fields that share a response key; all of them have the same name and arguments."""
    return group[0].node
