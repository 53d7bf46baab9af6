"""The fields selected below a field, so that the store reads only these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from graphql import GraphQLObjectType, get_named_type, is_object_type
from graphql.execution.collect_fields import FieldDetails, FragmentDetails, collect_subfields
from graphql.execution.values import VariableValues

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from graphql import GraphQLResolveInfo

    from schema.context import Info

_ENTRIES: Final = frozenset({"edges", "nodes"})
_FLAGS: Final = frozenset({"hasNextPage", "hasPreviousPage"})
_CURSORS: Final = frozenset({"startCursor", "endCursor"})


@dataclass(frozen=True, slots=True)
class Selection:
    """The fields selected below a field, with fragments, `@skip` and `@include` applied.

    graphql-core's own collect_subfields finds them, so exactly the fields that will be resolved are read.
    """

    _info: GraphQLResolveInfo[Any]
    _type: GraphQLObjectType
    _details: list[FieldDetails]

    @classmethod
    def below(cls, info: Info, type_name: str) -> Selection:
        """The selection below the field being resolved, for a value of the named object type."""
        raw = info._raw_info  # noqa: SLF001 # Strawberry has no public access to the fragments and field nodes
        return cls(raw, _object_type(raw, type_name), [FieldDetails(node, None) for node in raw.field_nodes])

    def fields(self) -> dict[str, Selection | None]:
        """The selected fields by their name in the schema, each with its own selection.

        A field selected under several aliases is listed once, with the selections of all of them.
        """
        details: dict[str, list[FieldDetails]] = {}
        for group in self._collect():
            details.setdefault(group[0].node.name.value, []).extend(group)
        return {name: self._child(name, group) for name, group in details.items()}

    def _collect(self) -> Iterator[list[FieldDetails]]:
        info = self._info
        collected = collect_subfields(
            info.schema,
            {name: FragmentDetails(fragment) for name, fragment in info.fragments.items()},
            VariableValues({}, cast("dict[str, object]", info.variable_values)),
            info.operation,
            self._type,
            self._details,
        )
        return iter(collected.grouped_field_set.values())

    def _child(self, name: str, details: list[FieldDetails]) -> Selection | None:
        field = self._type.fields.get(name)
        if field is None:  # __typename
            return None
        named = get_named_type(field.type)
        return Selection(self._info, named, details) if is_object_type(named) else None


def reads_page_below(info: Info, type_name: str, size: int) -> bool:
    """Whether the connection being resolved needs its page.

    The answer is remembered for the operation: the same field may be resolved for each of a thousand orders.
    """
    # The nodes live as long as the operation. They decide the arguments, too.
    field = tuple(map(id, info._raw_info.field_nodes))  # noqa: SLF001 # as above
    known = info.context.page_reads
    if field not in known:
        known[field] = reads_page(Selection.below(info, type_name).fields(), size)
    return known[field]


def reads_page(selected: Mapping[str, Selection | None], size: int) -> bool:
    """Whether a connection needs its page for these selected fields.

    A page of size 0 has no entries and no cursors, so only the flags need it.
    """
    part = selected.get("pageInfo")
    page_info = part.fields().keys() if part else set()
    if size == 0:
        return bool(_FLAGS & page_info)
    return bool(_ENTRIES & selected.keys() or (_FLAGS | _CURSORS) & page_info)


def _object_type(info: GraphQLResolveInfo[Any], name: str) -> GraphQLObjectType:
    named = info.schema.type_map[name]
    if not is_object_type(named):
        raise TypeError(f"{name} is not an object type")
    return named
