"""A planned operation: the calls that it makes to the store, and the JSON that it writes from the results."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from graphql import DirectiveNode, FragmentDefinitionNode, VariableNode, Visitor, visit
from graphql.execution.collect_fields import FragmentDetails

from schema.errors import ApiError
from schema.limits.remembered import RememberedPrice
from schema.orders.types import ORDERS
from schema.permissions import Role
from schema.plans.arguments import Arguments, UnplannedError, Variables
from schema.plans.connections import Connection, freshness_of
from schema.plans.lookups import RowCalls
from schema.plans.roots import ID, IDS, List, Lookup, Page
from schema.plans.selections import Selections, node_of
from schema.plans.templates import Templates
from schema.tables.fields import Reads, root_of
from schema.tables.freshness import FRESHNESS
from schema.tables.registry import REGISTERED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    import strawberry
    from graphql import DocumentNode, OperationDefinitionNode

    from schema.context import Context
    from schema.limits.formulas import Formula
    from schema.plans.arguments import Values
    from schema.plans.lookups import Written
    from schema.plans.replay import Failures
    from schema.plans.roots import Place
    from schema.plans.selections import Group
    from schema.ports.columns import Table
    from schema.ports.templates import Template
    from schema.ports.values import Key
    from schema.tables.registry import Declared

# Bounds on the memory of a plan. Each combination of the variables in `@skip` and `@include` is a variant of its own.
_MOST_VARIANTS: Final = 4
_MOST_ROOTS: Final = 50
# Places in the templates of all pages and lookups; each takes some hundred bytes.
_MOST_SLOTS: Final = 300
# The root fields that fetch rows of any type by their ids, and the argument of each.
_BY_ID: Final = {"node": ID, "nodes": IDS}


class PlannedOperation:
    """A query that the store can answer in JSON. It has a plan for each combination of its `@skip` and `@include`.

    Args:
        schema: the schema against which the document was validated.
        document: the document.
        operation: the query, an operation of the document.
        cost: its cost formula.

    Raises:
        UnplannedError: the query cannot be planned.
    """

    def __init__(
        self, schema: strawberry.Schema, document: DocumentNode, operation: OperationDefinitionNode, cost: Formula
    ) -> None:
        self.name = operation.name.value if operation.name else None
        self.cost = RememberedPrice(cost)
        self._schema = schema
        self._operation = operation
        self._fragments = {
            node.name.value: FragmentDetails(node)
            for node in document.definitions
            if isinstance(node, FragmentDefinitionNode)
        }
        self._variables = Variables(schema._schema, document, operation)  # noqa: SLF001 # Strawberry has no public way to it
        self._deciding = _deciding(document)
        self._variants: dict[tuple[Any, ...], _Plan | None] = {}
        # If no variable decides what is selected, there is one plan or none.
        if not self._deciding and self._plan(()) is None:
            raise UnplannedError

    async def write(self, context: Context, variables: Mapping[str, Any], failures: Failures) -> list[str] | None:
        """The answer's `data` in JSON, in pieces; None if the ordinary path has to answer and replay `failures`."""
        try:
            values = self._variables.coerce(variables)
            choice = tuple(values.by_name.get(name) for name in self._deciding)
            plan = self._plan(choice)
            if plan is None:
                return None
            context.principal.demand(Role.READER)
            return await plan.write(context, values, failures)
        except (ApiError, UnplannedError):
            # The resolvers report the caller's mistakes, each at its place in the document.
            return None

    def _plan(self, choice: tuple[Any, ...]) -> _Plan | None:
        if choice in self._variants:
            return self._variants[choice]
        if len(self._variants) >= _MOST_VARIANTS or not all(type(value) is bool for value in choice):
            return None
        booleans = dict(zip(self._deciding, choice, strict=True))
        try:
            selections = Selections(self._schema._schema, self._operation, self._fragments, booleans)  # noqa: SLF001 # as above
            plan: _Plan | None = _Plan(self._schema, selections, self._variables)
        except UnplannedError:
            plan = None
        self._variants[choice] = plan
        return plan


class _Plan:
    """The root fields of one selection."""

    def __init__(self, schema: strawberry.Schema, selections: Selections, variables: Variables) -> None:
        self._schema = schema
        self._selections = selections
        self._variables = variables
        self._constants: dict[str, str] = {}
        self._pages: dict[str, Page | List] = {}
        self._lookups: dict[str, Lookup] = {}
        self._freshness: dict[str, Callable[[Context, Table], str]] = {}
        rows = RowCalls(self._templates)
        roots = selections.roots()
        if len(roots) > _MOST_ROOTS:
            raise UnplannedError
        self._keys = list(roots)
        for key, group in roots.items():
            self._add(key, group, rows)
        self._calls = rows.all()
        if sum(template.places for template in self._written()) > _MOST_SLOTS:
            raise UnplannedError

    async def write(self, context: Context, values: Values, failures: Failures) -> list[str]:
        """The data in JSON, in pieces. Pages are read side by side, and so are single rows.

        Raises:
            ApiError, UnplannedError: the ordinary path has to answer.
        """
        if len(self._keys) == len(self._pages) == 1:
            # As below. Nearly every query has one root field.
            ((key, page),) = self._pages.items()
            return [
                f'{{"{key}":',
                *await page.written(context, page.request(values, context.limits), values, failures),
                "}",
            ]
        # All arguments are checked before the first call to the store.
        requests = [root.request(values, context.limits) for root in self._pages.values()]
        wanted = [root.wanted(values) for root in self._lookups.values()]
        keys: dict[int, dict[Key, None]] = {}
        for some in wanted:
            for place, row in some:
                keys.setdefault(place.call, {})[row] = None
        nested = {call: self._calls[call].nested.requests(values, context.limits) for call in keys}
        work: list[Awaitable[Any]] = [
            root.written(context, request, values, failures)
            for root, request in zip(self._pages.values(), requests, strict=True)
        ]
        work += [
            self._calls[call].written(context, sorted(some), nested[call], failures) for call, some in keys.items()
        ]
        results = await _together(work)
        texts: dict[str, list[str]] = {key: [text] for key, text in self._constants.items()}
        texts |= {key: [write(context, ORDERS)] for key, write in self._freshness.items()}
        texts |= zip(self._pages, results[: len(requests)], strict=True)
        found = dict(zip(keys, results[len(requests) :], strict=True))
        for (key, root), some in zip(self._lookups.items(), wanted, strict=True):
            texts[key] = [root.written([_text(found[place.call], row, place) for place, row in some])]
        pieces = ["{"]
        for key in self._keys:
            pieces.append(f'{"," if len(pieces) > 1 else ""}"{key}":')
            pieces += texts[key]
        pieces.append("}")
        return pieces

    def _add(self, key: str, group: Group, rows: RowCalls) -> None:
        name = node_of(group).name.value
        if name == "__typename":
            self._constants[key] = '"Query"'
            return
        if name == FRESHNESS:
            self._freshness[key] = freshness_of(self._selections, group)
            return
        field = self._schema.get_field_for_type(name, "Query")
        root = None if field is None else root_of(field)
        if name in _BY_ID:
            self._lookups[key] = self._by_id(group, _BY_ID[name], rows)
        elif root is None:
            raise UnplannedError
        elif root.reads is Reads.PAGE:
            self._pages[key] = self._page(group, REGISTERED[root.table])
        elif root.reads is Reads.LIST:
            self._pages[key] = self._list(group, REGISTERED[root.table])
        else:
            self._lookups[key] = self._by_key(group, REGISTERED[root.table], rows)

    def _page(self, group: Group, declared: Declared) -> Page:
        templates = self._templates()
        connection = Connection.of(templates, declared, group, self._selections)
        counted = {
            key: Arguments(self._schema, declared.connection_name, node, self._variables)
            for key, node in connection.counted.items()
        }
        return Page(declared.table, connection, templates, self._arguments(group), counted)

    def _list(self, group: Group, declared: Declared) -> List:
        templates = self._templates()
        templates.of_row(declared, group)
        return List(declared.table, templates, templates.all())

    def _by_key(self, group: Group, declared: Declared, rows: RowCalls) -> Lookup:
        (key,) = declared.table.key
        return Lookup(self._arguments(group), key.name, {declared.type_name: rows.place(declared, group)}, {})

    def _by_id(self, group: Group, argument: str, rows: RowCalls) -> Lookup:
        places, tables = {}, {}
        for declared in REGISTERED.values():
            # The schema lacks the types of tables that are not served.
            with contextlib.suppress(UnplannedError):
                places[declared.type_name] = rows.place(declared, group)
                tables[declared.type_name] = declared.table
        return Lookup(self._arguments(group), argument, places, tables)

    def _templates(self) -> Templates:
        return Templates(self._schema, self._selections, self._variables)

    def _arguments(self, group: Group) -> Arguments:
        return Arguments(self._schema, "Query", node_of(group), self._variables)

    def _written(self) -> Iterator[Template]:
        """All templates."""
        for call in self._calls:
            yield from call.templates
        for root in self._pages.values():
            yield from root.connection.templates if isinstance(root, Page) else root.templates


def _text(found: Written, row: Key, place: Place) -> str:
    return found[row][place.template] if row in found else "null"


async def _together(work: Sequence[Awaitable[Any]]) -> list[Any]:
    """Wait for all, even if one fails: otherwise the ordinary path would repeat calls that are still running.

    Raises:
        Exception: the first in order that was raised.
    """
    if len(work) == 1:
        return [await work[0]]
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


class _Directives(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, None] = {}

    def enter_directive(self, node: DirectiveNode, *_: Any) -> None:
        self.names |= {
            argument.value.name.value: None
            for argument in node.arguments or ()
            if isinstance(argument.value, VariableNode)
        }


def _deciding(document: DocumentNode) -> tuple[str, ...]:
    """The variables in directives, which decide what is selected."""
    visitor = _Directives()
    visit(document, visitor)
    return tuple(visitor.names)
