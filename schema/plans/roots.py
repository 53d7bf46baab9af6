"""The root fields of a plan: what each asks the store for, and how its answer is written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from schema.errors import ApiError
from schema.plans.arguments import UnplannedError
from schema.plans.connections import Found
from schema.plans.replay import is_of_nested
from schema.relay.node import decode_global_id
from schema.relay.pagination import given, page_request
from schema.tables.arguments import MAX_LIST_VALUES, ordering_of
from schema.tables.conditions import conditions_of
from schema.tables.fields import all_rows
from schema.tables.pages import CountPrecision
from schema.tables.rows import key_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from schema.context import Context, PageLimits
    from schema.plans.arguments import Arguments, Values
    from schema.plans.connections import Connection
    from schema.plans.replay import Failures
    from schema.plans.templates import Templates
    from schema.ports.columns import Table
    from schema.ports.templates import JsonPage, NestedRequest, Template
    from schema.ports.values import Conditions, Key, Ordering, PageRequest

_INTS: Final = range(-(2**31), 2**31)
_FILTER_AND_ORDER: Final = frozenset({"filter", "order_by"})
ID: Final = "id"
IDS: Final = "ids"


@dataclass(slots=True)
class Page:
    """A root field for pages of a table."""

    table: Table
    connection: Connection
    templates: Templates
    arguments: Arguments
    counted: dict[str, Arguments]
    _chosen: tuple[Ordering, Conditions] | None = None

    def request(self, values: Values, limits: PageLimits) -> tuple[PageRequest, tuple[NestedRequest, ...]]:
        """The page that the request asks for, and those nested in it.

        Raises:
            InputError, UnplannedError: an argument is invalid.
        """
        arguments = self.arguments.coerce(values)
        ordering, conditions = self._chosen or (
            ordering_of(self.table, given(arguments.get("order_by"))),
            conditions_of(self.table, given(arguments.get("filter"))),
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
        wanted = replace(request, look_back=True) if look_back else request
        return wanted, self.templates.requests(values, limits)

    async def written(
        self,
        context: Context,
        request: tuple[PageRequest, tuple[NestedRequest, ...]],
        values: Values,
        failures: Failures,
    ) -> list[str]:
        """The connection in JSON, in pieces.

        Raises:
            ApiError, UnplannedError: the ordinary path has to answer.
        """
        wanted, nested = request
        page: JsonPage | None = None
        if self.connection.reads_page(wanted.size):
            page = await _read(context, wanted, self.connection.templates, nested, failures, ends=self.connection.ends)
        totals = {}
        for key, arguments in self.counted.items():
            totals[key] = await self._total(context, wanted.conditions, arguments.coerce(values), failures)
        return self.connection.write(Found(wanted, page, totals, context))

    async def _total(
        self, context: Context, conditions: Conditions, arguments: dict[str, Any], failures: Failures
    ) -> int | None:
        estimated = arguments.get("precision") is CountPrecision.ESTIMATED
        total: int | None
        try:
            if estimated:
                total = await context.tables.estimated_count(self.table, conditions)
            else:
                total = (await context.tables.count(self.table, conditions)).count
        except ApiError as error:
            failures.note(("estimate" if estimated else "count", self.table, conditions), error)
            raise
        if total is not None and total not in _INTS:
            raise UnplannedError
        return total


@dataclass(slots=True)
class List:
    """A root field for all rows of a table, of which there are few."""

    table: Table
    nested: Templates
    templates: tuple[Template, ...]

    def request(self, values: Values, limits: PageLimits) -> tuple[PageRequest, tuple[NestedRequest, ...]]:
        """The page of all rows, and the pages nested in it."""
        return all_rows(self.table), self.nested.requests(values, limits)

    async def written(
        self,
        context: Context,
        request: tuple[PageRequest, tuple[NestedRequest, ...]],
        _values: Values,
        failures: Failures,
    ) -> list[str]:
        """The list in JSON, in pieces."""
        wanted, nested = request
        page = await _read(context, wanted, self.templates, nested, failures, ends=False)
        return ["[", *page.rows, "]"]


class Place(NamedTuple):
    """Where the text of a row is found: in the results of this call, at this index."""

    call: int
    template: int


@dataclass(slots=True)
class Lookup:
    """A root field for single rows: by the argument that is the key, by an id, or by several ids.

    Attributes:
        arguments: its arguments.
        argument: the name of the one that says which rows.
        places: where the texts are found, by the name of the rows' type. A type whose selection has no plan is missing.
        tables: the tables of its rows, by the name of their type.
    """

    arguments: Arguments
    argument: str
    places: Mapping[str, Place]
    tables: Mapping[str, Table]

    @property
    def listed(self) -> bool:
        """Whether it answers with a list."""
        return self.argument == IDS

    def wanted(self, values: Values) -> list[tuple[Place, Key]]:
        """The rows that the request asks for.

        Raises:
            InputError, UnplannedError: an argument is invalid, or the plan does not cover the rows.
        """
        value = self.arguments.coerce(values)[self.argument]
        if self.argument == IDS:
            if len(value) > MAX_LIST_VALUES:
                raise UnplannedError
            return [self._row(global_id) for global_id in value]
        if self.argument == ID:
            return [self._row(value)]
        (place,) = self.places.values()
        return [(place, (value,))]

    def written(self, texts: Sequence[str]) -> str:
        """The row, or the list of rows, in JSON."""
        return f"[{','.join(texts)}]" if self.listed else texts[0]

    def _row(self, global_id: str) -> tuple[Place, Key]:
        type_name, text = decode_global_id(global_id)
        if type_name not in self.places:
            raise UnplannedError
        key = key_of(self.tables[type_name], text)
        if key is None:
            raise UnplannedError
        return self.places[type_name], key


async def _read(
    context: Context,
    request: PageRequest,
    templates: tuple[Template, ...],
    nested: tuple[NestedRequest, ...],
    failures: Failures,
    *,
    ends: bool,
) -> JsonPage:
    try:
        page = await context.tables.json_page(request, templates, ends=ends, nested=nested)
    except ApiError as error:
        if not is_of_nested(error, templates):
            failures.note(("page", request), error)
        raise
    if page is None:
        raise UnplannedError
    return page
