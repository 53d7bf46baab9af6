"""A planned operation: the calls that it makes to the store, and the JSON that it writes from the results."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from graphql import DirectiveNode, FragmentDefinitionNode, VariableNode, Visitor, visit
from graphql.execution.collect_fields import FragmentDetails

from schema.errors import ApiError
from schema.orders.types import ORDERS, order_key_of
from schema.permissions import Role
from schema.plans.arguments import Arguments, UnplannedError, Variables
from schema.plans.selections import Connection, Found, Selections, Templates, node_of
from schema.relay.pagination import given, page_request
from schema.tables.arguments import MAX_LIST_VALUES, conditions_of, ordering_of
from schema.tables.pages import CountPrecision

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    import strawberry
    from graphql import DocumentNode, OperationDefinitionNode

    from schema.context import Context, PageLimits
    from schema.limits.formulas import Formula
    from schema.plans.arguments import Values
    from schema.plans.replay import Failures
    from schema.plans.selections import Group
    from schema.ports.templates import JsonPage
    from schema.ports.values import Conditions, Ordering, PageRequest

# Bounds on the memory of a plan. Each combination of the variables in `@skip` and `@include` is a variant of its own.
_MOST_VARIANTS: Final = 4
_MOST_ROOTS: Final = 50
# Slots in the templates of all pages and lookups; each takes some hundred bytes.
_MOST_SLOTS: Final = 300
_INTS: Final = range(-(2**31), 2**31)
_FILTER_AND_ORDER: Final = frozenset({"filter", "order_by"})

# The JSON texts of the orders that were found, by key and then by template.
_Written: TypeAlias = "Mapping[int, tuple[str, ...]]"


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
        self.cost = cost
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


@dataclass(slots=True)
class _Page:
    """A root field `orders`."""

    connection: Connection
    arguments: Arguments
    counted: dict[str, Arguments]
    _chosen: tuple[Ordering, Conditions] | None = None

    def request(self, values: Values, limits: PageLimits) -> PageRequest:
        """The page that the request asks for."""
        arguments = self.arguments.coerce(values)
        ordering, conditions = self._chosen or (
            ordering_of(ORDERS, given(arguments.get("order_by"))),
            conditions_of(ORDERS, given(arguments.get("filter"))),
        )
        if not self.arguments.changing & _FILTER_AND_ORDER:
            self._chosen = ordering, conditions
        request = page_request(
            limits,
            ordering,
            conditions,
            first=given(arguments.get("first")),
            after=given(arguments.get("after")),
            last=given(arguments.get("last")),
            before=given(arguments.get("before")),
        )
        connection = self.connection
        look_back = connection.looks_forward if request.backward else connection.looks_backward
        return replace(request, look_back=True) if look_back else request

    async def written(self, context: Context, request: PageRequest, values: Values, failures: Failures) -> list[str]:
        """The connection in JSON, in pieces."""
        page: JsonPage | None = None
        if self.connection.reads_page(request.size):
            try:
                page = await context.tables.json_page(request, self.connection.templates, ends=self.connection.ends)
            except ApiError as error:
                failures.note(("page", request), error)
                raise
            if page is None:
                raise UnplannedError
        totals = {}
        for key, arguments in self.counted.items():
            totals[key] = await self._total(context, request.conditions, arguments.coerce(values), failures)
        return self.connection.write(Found(request, page, totals))

    @staticmethod
    async def _total(
        context: Context, conditions: Conditions, arguments: dict[str, Any], failures: Failures
    ) -> int | None:
        estimated = arguments.get("precision") is CountPrecision.ESTIMATED
        total: int | None
        try:
            if estimated:
                total = await context.tables.estimated_count(ORDERS, conditions)
            else:
                total = (await context.tables.count(ORDERS, conditions)).count
        except ApiError as error:
            failures.note(("estimate" if estimated else "count", ORDERS, conditions), error)
            raise
        if total is not None and total not in _INTS:
            raise UnplannedError
        return total


@dataclass(slots=True)
class _Lookup:
    """A root field `order`, `node` or `nodes`: the keys of its orders, and the index of the template for them."""

    arguments: Arguments
    keys_of: Callable[[dict[str, Any]], Sequence[int]]
    template: int
    listed: bool

    def written(self, keys: Sequence[int], orders: _Written) -> str:
        """The order, or the list of orders, in JSON; null for an order that does not exist."""
        texts = [orders[key][self.template] if key in orders else "null" for key in keys]
        return f"[{','.join(texts)}]" if self.listed else texts[0]


class _Plan:
    """The root fields of one selection."""

    def __init__(self, schema: strawberry.Schema, selections: Selections, variables: Variables) -> None:
        self._roots: dict[str, str | _Page | _Lookup] = {}
        templates = Templates(selections)
        roots = selections.roots()
        if len(roots) > _MOST_ROOTS:
            raise UnplannedError
        for key, group in roots.items():
            name = node_of(group).name.value
            if name == "__typename":
                self._roots[key] = '"Query"'
            elif name == "orders":
                self._roots[key] = _page(schema, selections, variables, group)
            elif name in _LOOKUPS:
                arguments = Arguments(schema, "Query", node_of(group), variables)
                keys_of, listed = _LOOKUPS[name]
                self._roots[key] = _Lookup(arguments, keys_of, templates.of_order(group), listed)
            else:
                raise UnplannedError
        self._templates = templates.all()
        self._pages = [(key, root) for key, root in self._roots.items() if isinstance(root, _Page)]
        self._lookups = [(key, root) for key, root in self._roots.items() if isinstance(root, _Lookup)]
        written = [*self._templates, *(template for _, page in self._pages for template in page.connection.templates)]
        if sum(len(template.slots) for template in written) > _MOST_SLOTS:
            raise UnplannedError

    async def write(self, context: Context, values: Values, failures: Failures) -> list[str]:
        """The data in JSON, in pieces. Pages are read side by side, and all single orders in one call.

        Raises:
            ApiError, UnplannedError: the ordinary path has to answer.
        """
        # All arguments are checked before the first call to the store.
        requests = [root.request(values, context.limits) for _, root in self._pages]
        keys = [root.keys_of(root.arguments.coerce(values)) for _, root in self._lookups]
        work: list[Awaitable[Any]] = [
            root.written(context, request, values, failures)
            for (_, root), request in zip(self._pages, requests, strict=True)
        ]
        wanted = {key for some in keys for key in some}
        if wanted:
            work.append(self._looked_up(context, sorted(wanted), failures))
        results = await _together(work)
        orders: _Written = results.pop() if wanted else {}
        texts: dict[str, list[str]] = {key: text for (key, _), text in zip(self._pages, results, strict=True)}
        for (key, root), some in zip(self._lookups, keys, strict=True):
            texts[key] = [root.written(some, orders)]
        pieces = ["{"]
        for key, constant in self._roots.items():
            pieces.append(f'{"," if len(pieces) > 1 else ""}"{key}":')
            pieces += texts[key] if key in texts else [str(constant)]
        pieces.append("}")
        return pieces

    async def _looked_up(self, context: Context, keys: list[int], failures: Failures) -> _Written:
        try:
            found = await context.tables.json_rows(ORDERS, [(key,) for key in keys], self._templates)
            orders = None if found is None else {key: texts for (key,), texts in found.items()}
        except ApiError as error:
            failures.note(("orders",), error)
            raise
        if orders is None:
            raise UnplannedError
        return orders


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


def _page(schema: strawberry.Schema, selections: Selections, variables: Variables, group: Group) -> _Page:
    connection = Connection.of(selections, group)
    counted = {key: Arguments(schema, "OrderConnection", node, variables) for key, node in connection.counted.items()}
    return _Page(connection, Arguments(schema, "Query", node_of(group), variables), counted)


def _of_key(arguments: dict[str, Any]) -> Sequence[int]:
    return [arguments["order_key"]]


def _of_id(arguments: dict[str, Any]) -> Sequence[int]:
    return [order_key_of(arguments["id"])]


def _of_ids(arguments: dict[str, Any]) -> Sequence[int]:
    if len(arguments["ids"]) > MAX_LIST_VALUES:
        raise UnplannedError
    return [order_key_of(id_) for id_ in arguments["ids"]]


_LOOKUPS: Final[dict[str, tuple[Callable[[dict[str, Any]], Sequence[int]], bool]]] = {
    "order": (_of_key, False),
    "node": (_of_id, False),
    "nodes": (_of_ids, True),
}


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
