"""The inputs of filters, derived from the declaration of a table: conditions on its columns, and how they combine."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import strawberry
from strawberry import UNSET
from strawberry.types import get_object_definition
from strawberry.types.base import StrawberryOptional
from strawberry.types.enum import StrawberryEnumDefinition
from strawberry.utils.str_converters import to_camel_case

from schema.scalars import BigInt
from schema.tables.arguments import MAX_LIST_VALUES
from schema.tables.conditions import MAX_CONDITIONS, MAX_DEPTH, MAX_PATTERN_CHARACTERS, MAX_RELATED, MAX_RELATIONS
from schema.tables.declaration import is_shown, relates
from schema.tables.registry import REGISTERED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strawberry.types.field import StrawberryField

    from schema.ports.columns import Relation
    from schema.tables.rows import Row

_F = TypeVar("_F")

INDEXED: Final = "Fast if the table has the indexes that `ensureIndexes` builds."
CHANGED: Final = "Fast where only orders that were changed through this API can match: then no other order is read."
UNINDEXED: Final = "Not indexed: on a large table, combine it with an indexed condition, or the query may time out."
_LISTED: Final = f"at most {MAX_LIST_VALUES:,}"
_OPERATORS: Final[Mapping[str, str]] = {
    "eq": "Equal to this.",
    "ne": "Has a value other than this.",
    "in_": f"Equal to one of these values, {_LISTED}. An empty list matches nothing.",
    "not_in": f"Has a value that is none of these, {_LISTED}. An empty list matches whatever has a value.",
    "gt": "Greater than this.",
    "gte": "Greater than or equal to this.",
    "lt": "Less than this.",
    "lte": "Less than or equal to this.",
}
_OF_DATES: Final[Mapping[str, str]] = {
    **_OPERATORS,
    "gt": "Later than this.",
    "gte": "On this day or later.",
    "lt": "Earlier than this.",
    "lte": "On this day or earlier.",
}
_OF_MOMENTS: Final[Mapping[str, str]] = {
    "gt": "Later than this. Times are stored in microseconds and shown in milliseconds.",
    "gte": "At this time or later.",
    "lt": "Earlier than this.",
    "lte": "At this time or earlier.",
}
_EQUALITIES: Final = ("eq", "ne", "in_", "not_in")
_IS_NULL: Final = "If true: has no value. If false: has one."
_CONTAINS: Final = (
    f"Contains this text, of at most {MAX_PATTERN_CHARACTERS:,} characters. `%`, `_` and `\\` are themselves."
)
_STARTS_WITH: Final = f"Starts with this text, of at most {MAX_PATTERN_CHARACTERS:,} characters."
_CASE_SENSITIVE: Final = (
    "Whether capital and small letters are different for `contains` and `startsWith` beside it. If not, both texts are "
    "compared as PostgreSQL's `lower` writes them. If so, `startsWith` is fast on a field that pages can be sorted by."
)
# The names of inputs that serve any column of a kind.
_NAMES: Final[Mapping[object, str]] = {
    BigInt: "BigInt",
    int: "Int",
    str: "Text",
    Decimal: "Decimal",
    date: "Date",
    datetime: "DateTime",
    bool: "Boolean",
}
_LISTS: Final = frozenset({"in_", "not_in"})


def filter_of(
    row: type[Row], description: str, *, about: Mapping[str, str], named: Mapping[str, str] | None = None
) -> Callable[[type[_F]], type[_F]]:
    """Decorate the class of a table's filter, which gets a field for each column that the table is filtered by.

    Args:
        row: the type of the table's rows.
        description: which rows it returns.
        about: what the description of a field says of the time that its conditions take, if the column has an index.
        named: the names of the inputs of columns that have one of their own.
    """

    def decorate(kind: type[_F]) -> type[_F]:
        declared = REGISTERED[row.table.name]
        fields = {field.python_name: field for field in get_object_definition(row, strict=True).fields}
        own = declared.lazy(kind.__name__)
        parts = {
            column.name: (
                _comparisons(fields[column.name].type, (named or {}).get(column.name)) | None,
                f"{_words(fields[column.name])} {about.get(column.name, UNINDEXED)}",
            )
            for column in row.table.filters
        }
        relations = row.table.relations
        for name, relation in relations.items():
            parts[name] = _of_related(relation) | None, _about_related(relation, fields[name])
        parts["and_"] = list[own] | None, "All of these must match. An empty list restricts nothing."  # type: ignore[valid-type] # an annotation made at run time
        parts["or_"] = list[own] | None, "One of these must match. An empty list matches nothing."  # type: ignore[valid-type] # as above
        parts["not_"] = (
            own | None,
            "This must not match. Rows without a value in a compared field are found, too. `not: {}` matches nothing.",
        )
        return _input(kind, parts, f"{description} {_COMBINED}", relations)

    return decorate


def _of_related(relation: Relation) -> Any:
    """The input with the conditions on related rows: their filter, or which of them have to match it."""
    declared = REGISTERED[relation.target]
    own = declared.lazy(f"{declared.type_name}Filter")
    return _list_of(relation.target) if relation.many else own


@cache
def _list_of(target: str) -> Any:
    declared = REGISTERED[target]
    own = declared.lazy(f"{declared.type_name}Filter") | None
    parts = {"some": (own, _SOME), "none": (own, _NONE)}
    kind = type(
        f"{declared.type_name}ListFilter", (), {"__doc__": "Conditions on related rows.", "__module__": __name__}
    )
    return _input(kind, parts, "Conditions on the entries of a list. All of them must hold.")


def _about_related(relation: Relation, field: StrawberryField) -> str:
    name = to_camel_case(field.python_name)
    if relation.many:
        return f"Conditions on the entries of `{name}`. {_RELATED}"
    return f"Conditions on `{name}`: there is one, and it matches; with an empty object `{{}}`, any does. {_RELATED}"


_SOME: Final = "At least one of them matches. With an empty object `{}` there only has to be one."
_NONE: Final = "None of them matches. With an empty object `{}` there has to be none."
_RELATED: Final = (
    "Fast if an index finds the few that match, or if so many match that a page is soon full. Such conditions may be "
    f"nested {MAX_RELATIONS} deep, with {MAX_RELATED} altogether."
)
_COMBINED: Final = (
    "All conditions must hold; those that contradict one another match nothing. A condition that is absent, `null` or "
    f"an empty object `{{}}` restricts nothing. Objects may be nested {MAX_DEPTH} deep, with {MAX_CONDITIONS} "
    "conditions altogether. An index serves the conditions beside each other and within `and`; those within `or` and "
    "`not` only choose among the rows that the others find."
)


def _words(field: StrawberryField) -> str:
    if is_shown(field):
        return f"Conditions on `{to_camel_case(field.python_name)}`."
    return f"Conditions on the {field.python_name.replace('_', ' ')}."


def _comparisons(type_: object, name: str | None) -> Any:
    """The input with the comparisons of a column of this type."""
    optional = isinstance(type_, StrawberryOptional)
    of: Any = type_.of_type if isinstance(type_, StrawberryOptional) else type_
    enum = of.name if isinstance(of, StrawberryEnumDefinition) else None
    plain = of.wrapped_cls if isinstance(of, StrawberryEnumDefinition) else of
    default = f"{'Nullable' if optional else ''}{enum or _NAMES[plain]}Filter"
    return _comparisons_of(plain, name or default, optional=optional)


@cache
def _comparisons_of(type_: Any, name: str, *, optional: bool) -> Any:
    parts: dict[str, tuple[Any, str]] = {
        operator: ((list[type_] if operator in _LISTS else type_) | None, description)
        for operator, description in _operators(type_).items()
    }
    if type_ is str:
        parts |= {"contains": (str | None, _CONTAINS), "starts_with": (str | None, _STARTS_WITH)}
    if optional:
        parts["is_null"] = bool | None, _IS_NULL
    kind = type(name, (), {"__doc__": "Comparisons of a column.", "__module__": __name__})
    if type_ is str:
        parts["case_sensitive"] = bool | None, _CASE_SENSITIVE
    return _input(kind, parts, "Conditions on a value. All of them must hold.")


def _operators(type_: Any) -> Mapping[str, str]:
    if type_ is datetime:
        return _OF_MOMENTS
    if type_ is bool:
        return {"eq": _OPERATORS["eq"]}
    if type_ is date:
        return _OF_DATES
    return _OPERATORS if type_ in _NAMES else {name: _OPERATORS[name] for name in _EQUALITIES}


def _input(
    kind: type[_F],
    parts: Mapping[str, tuple[Any, str]],
    description: str,
    relations: Mapping[str, Relation] = MappingProxyType({}),
) -> type[_F]:
    kind.__annotations__ = {name: type_ for name, (type_, _) in parts.items()}
    for name, (_, said) in parts.items():
        default = False if name == "case_sensitive" else UNSET
        shown = to_camel_case(name.rstrip("_"))
        # A deployment leaves out what needs a table that it does not serve.
        metadata = relates(relations[name]) if name in relations else {}
        setattr(kind, name, strawberry.field(default=default, name=shown, description=said, metadata=metadata))
    return strawberry.input(kind, description=description)
