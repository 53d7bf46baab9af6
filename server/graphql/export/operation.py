"""The operation of an export: which connection it asks for, and the operation that reads one page of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    VariableNode,
    Visitor,
    get_argument_values,
    get_named_type,
    get_nullable_type,
    get_operation_ast,
    is_list_type,
    parse,
    print_ast,
    visit,
)
from graphql.execution.collect_fields import FragmentDetails, collect_fields, collect_subfields
from graphql.execution.values import VariableValues, get_variable_values

from schema.errors import InputError, Reason, RequestError
from schema.limits.prices import PageArguments, size_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from graphql import Node
    from graphql.execution.collect_fields import FieldDetails

    from schema.context import PageLimits

    _Group = list[FieldDetails]

# The variables and the field that an export adds to its operation.
FIRST: Final = "_exportFirst"
AFTER: Final = "_exportAfter"
PAGE_INFO: Final = "_exportPageInfo"
_ADDED: Final = f"""
query (${FIRST}: Int, ${AFTER}: String) {{
  page(first: ${FIRST}, after: ${AFTER}) {{ {PAGE_INFO}: pageInfo {{ hasNextPage endCursor }} }}
}}
"""
_COUNTED: Final = "{ page { totalCount(precision: ESTIMATED) } }"
_PAGING: Final = ("first", "after", "last", "before")
_LISTS: Final = ("nodes", "edges")
_WHAT: Final = "An export takes a query with one connection at its root, such as `{ orders { nodes { orderKey } } }`"


class RefusedError(Exception):
    """The operation cannot be exported.

    Args:
        errors: the mistakes, with their places in the document.
        of_values: whether they are in the variables, and not in the document.
    """

    def __init__(self, errors: Sequence[GraphQLError], *, of_values: bool = False) -> None:
        super().__init__(errors[0].message)
        self.errors = [*errors]
        self.of_values = of_values


@dataclass(frozen=True, slots=True)
class Cell:
    """A column of a table of values.

    Attributes:
        path: the response keys that lead to its value in a row.
        name: its name in the header.
        text: whether its values are free text.
    """

    path: tuple[str, ...]
    name: str
    text: bool


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export reads.

    Attributes:
        document: the operation that reads a page, with the variables FIRST and AFTER.
        field: the root field.
        key: the response key of the root field.
        list_key: the response key of the list of rows below it.
        first: the most rows to export; None for all.
        after: the cursor to begin after.
        most: the most rows that a page may have.
        count: the operation that estimates how many rows there are, without regard to `after`; None if there is none.
    """

    document: DocumentNode
    field: str
    key: str
    list_key: str
    first: int | None
    after: str | None
    most: int
    count: DocumentNode | None


class ExportedOperation:
    """An operation of a valid document, for the variables of one request.

    Args:
        schema: the schema against which the document was validated.
        document: the document.
        name: the `operationName` of the request.
        variables: its variables.

    Raises:
        RefusedError: it is not a query for one connection, or a variable does not match its type.
        RequestError: OPERATION_UNDETERMINED.
    """

    def __init__(
        self, schema: GraphQLSchema, document: DocumentNode, name: str | None, variables: Mapping[str, Any]
    ) -> None:
        self._schema = schema
        self._operation = _query(document, name)
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._details = {fragment: FragmentDetails(node) for fragment, node in self._fragments.items()}
        values = get_variable_values(schema, self._operation.variable_definitions or (), dict(variables))
        if not isinstance(values, VariableValues):
            raise RefusedError(values, of_values=True)
        self._values = values
        self._check_names()
        self._key, self._root, self._type = self._connection()
        self._list_key, self._rows = self._list()

    def exported(self, limits: PageLimits) -> Exported:
        """What the export reads.

        Raises:
            RefusedError: an argument is invalid, or pages backward.
        """
        node = self._root[0].node
        name = node.name.value
        first, after = self._window(node)
        added = _operation_of(parse(_ADDED, no_location=True))
        page = _only_field(added)
        rows = self._rows[0].node
        selections = tuple(
            selection
            for details in self._rows
            if details.node.selection_set
            for selection in details.node.selection_set.selections
        )
        listed = FieldNode(name=rows.name, alias=rows.alias, selection_set=SelectionSetNode(selections=selections))
        size = size_of("Query", name)
        own = size.limits if isinstance(size, PageArguments) else None
        return Exported(
            document=self._document(added, page, (listed, *_selections(page))),
            field=name,
            key=self._key,
            list_key=self._list_key,
            first=first,
            after=after,
            most=(own or limits).maximum,
            count=self._count(),
        )

    def cells(self) -> list[Cell]:
        """The columns of the rows as a table of values.

        Raises:
            RefusedError: a list is selected in a row.
        """
        path: list[str | int] = [self._key, self._list_key]
        type_ = get_named_type(self._type.fields[self._rows[0].node.name.value].type)
        return [*self._cells(type_, self._rows, (), "", path)]

    def _check_names(self) -> None:
        """Check that no variable has a name that the export adds."""
        for definition in self._operation.variable_definitions or ():
            if definition.variable.name.value in {FIRST, AFTER}:
                _refuse(
                    f"The export itself has a variable `${definition.variable.name.value}`: choose another name.",
                    [definition],
                    [],
                )

    def _connection(self) -> tuple[str, _Group, GraphQLObjectType]:
        query = self._schema.query_type
        if query is None:
            _refuse(f"{_WHAT}.", [self._operation], [])
        roots = collect_fields(self._schema, self._details, self._values, query, self._operation).grouped_field_set
        if len(roots) != 1:
            nodes = [group[0].node for group in roots.values()]
            _refuse(f"{_WHAT}; this one has {len(roots)} root fields.", nodes or [self._operation], [])
        ((key, group),) = roots.items()
        node = group[0].node
        field = query.fields.get(node.name.value)
        type_ = None if field is None else get_named_type(field.type)
        if not _is_connection(type_) or not {"first", "after"} <= field.args.keys():
            _refuse(f"{_WHAT}; `{node.name.value}` is no connection.", [node], [key])
        return key, group, type_  # type: ignore[return-value] # a connection is an object type

    def _list(self) -> tuple[str, _Group]:
        below = self._below(self._type, self._root)
        lists = {key: group for key, group in below.items() if group[0].node.name.value in _LISTS}
        if len(lists) != 1:
            nodes = [group[0].node for group in lists.values()] or [self._root[0].node]
            _refuse("An export takes either `nodes` or `edges`, once.", nodes, [self._key])
        ((key, group),) = lists.items()
        if key == PAGE_INFO:
            _refuse(f"The export itself has a field `{PAGE_INFO}`: choose another alias.", [group[0].node], [self._key])
        return key, group

    def _below(self, type_: GraphQLObjectType, group: _Group) -> dict[str, _Group]:
        return collect_subfields(
            self._schema, self._details, self._values, self._operation, type_, group
        ).grouped_field_set

    def _window(self, node: FieldNode) -> tuple[int | None, str | None]:
        """The arguments `first` and `after`."""
        field = self._schema.query_type.fields[node.name.value]  # type: ignore[union-attr] # it has been found there
        try:
            given = get_argument_values(field, node, self._values)
        except GraphQLError as error:
            raise RefusedError([error], of_values=True) from None
        first, after, last, before = (given.get(name) for name in _PAGING)
        if last is not None or before is not None:
            _refuse_input(
                Reason.PAGE_ARGUMENTS_CONFLICT,
                "An export goes forward: use `after` to resume, and `first` for the most rows to export.",
                node,
                self._key,
            )
        if first is not None and first < 0:
            _refuse_input(Reason.PAGE_SIZE_INVALID, f"`first` is {first}; it must be at least 0.", node, self._key)
        return first, after

    def _cells(
        self, type_: Any, group: _Group, path: tuple[str, ...], prefix: str, errors_at: list[str | int]
    ) -> Iterable[Cell]:
        for key, details in self._below(type_, group).items():
            node = details[0].node
            field = type_.fields.get(node.name.value)
            here, there = (*path, key), [*errors_at, key]
            if field is None:
                # `__typename`
                yield Cell(here, prefix + key, text=False)
                continue
            named = get_named_type(field.type)
            if _is_connection(named) or is_list_type(get_nullable_type(field.type)):
                _refuse(f"A row of CSV has no place for the list `{node.name.value}`: export NDJSON.", [node], there)
            if isinstance(named, GraphQLObjectType):
                # The node of an edge is the row itself, beside its cursor.
                is_node = node.name.value == "node" and type_.name.endswith("Edge")
                yield from self._cells(named, details, here, prefix if is_node else f"{prefix}{key}.", there)
            else:
                yield Cell(here, prefix + key, text=named.name == "String")

    def _count(self) -> DocumentNode | None:
        if "totalCount" not in self._type.fields:
            return None
        added = _operation_of(parse(_COUNTED, no_location=True))
        page = _only_field(added)
        return self._document(added, page, _selections(page))

    def _document(self, added: OperationDefinitionNode, page: FieldNode, selections: Sequence[Any]) -> DocumentNode:
        """A document with the operation's root field, with the arguments of `page` for its own of paging."""
        node, operation = self._root[0].node, self._operation
        kept = tuple(argument for argument in node.arguments or () if argument.name.value not in _PAGING)
        root = FieldNode(
            name=node.name,
            alias=node.alias,
            arguments=(*kept, *(page.arguments or ())),
            selection_set=SelectionSetNode(selections=tuple(selections)),
        )
        fragments, variables = _used(root, self._fragments)
        declared = tuple(
            definition
            for definition in operation.variable_definitions or ()
            if definition.variable.name.value in variables
        )
        query = OperationDefinitionNode(
            operation=OperationType.QUERY,
            name=operation.name,
            variable_definitions=(*declared, *(added.variable_definitions or ())),
            selection_set=SelectionSetNode(selections=(root,)),
        )
        return DocumentNode(definitions=(query, *(self._fragments[name] for name in fragments)))


def text_of(document: DocumentNode) -> str:
    """The text of a document."""
    return print_ast(document)


def _query(document: DocumentNode, name: str | None) -> OperationDefinitionNode:
    operation = get_operation_ast(document, name)
    if operation is None:
        message = "The document has no operation with this name, or several: say which in `operationName`."
        raise RequestError(Reason.OPERATION_UNDETERMINED, message)
    if operation.operation is not OperationType.QUERY:
        _refuse(f"{_WHAT}; this is a {operation.operation.value}.", [operation], [])
    return operation


def _is_connection(type_: object) -> bool:
    return isinstance(type_, GraphQLObjectType) and {"nodes", "edges", "pageInfo"} <= type_.fields.keys()


def _operation_of(document: DocumentNode) -> OperationDefinitionNode:
    (operation,) = document.definitions
    return operation  # type: ignore[return-value] # the text has nothing else


def _only_field(operation: OperationDefinitionNode) -> FieldNode:
    (field,) = operation.selection_set.selections
    return field  # type: ignore[return-value] # as above


def _selections(field: FieldNode) -> tuple[Any, ...]:
    return tuple(field.selection_set.selections) if field.selection_set else ()


class _Names(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.fragments: dict[str, None] = {}
        self.variables: set[str] = set()

    def enter_fragment_spread(self, node: FragmentSpreadNode, *_: Any) -> None:
        self.fragments[node.name.value] = None

    def enter_variable(self, node: VariableNode, *_: Any) -> None:
        self.variables.add(node.name.value)


def _used(root: Node, fragments: Mapping[str, FragmentDefinitionNode]) -> tuple[list[str], set[str]]:
    """The names of the fragments and the variables that a field uses, also within fragments."""
    names, visited = _Names(), 0
    visit(root, names)
    while visited < len(names.fragments):
        name = [*names.fragments][visited]
        visit(fragments[name], names)
        visited += 1
    return [*names.fragments], names.variables


def _refuse(message: str, nodes: Sequence[Node], path: list[str | int]) -> NoReturn:
    raise RefusedError([GraphQLError(message, nodes, path=path or None)])


def _refuse_input(reason: Reason, message: str, node: Node, key: str) -> NoReturn:
    error = InputError(reason, message)
    raise RefusedError([GraphQLError(message, node, path=[key], original_error=error)])
