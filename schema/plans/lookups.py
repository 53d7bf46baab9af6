"""The single rows of a plan: which of them are read in one call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from schema.errors import ApiError
from schema.plans.arguments import UnplannedError
from schema.plans.replay import is_of_nested
from schema.plans.roots import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from schema.context import Context
    from schema.plans.replay import Failures
    from schema.plans.selections import Group
    from schema.plans.templates import Templates
    from schema.ports.columns import Table
    from schema.ports.templates import NestedRequest, Template
    from schema.ports.values import Key
    from schema.tables.registry import Declared

# The JSON texts of the rows that were found, by key and then by template.
Written: TypeAlias = "Mapping[Key, tuple[str, ...]]"


@dataclass(slots=True)
class Call:
    """A call of the store for rows of a table."""

    table: Table
    nested: Templates
    templates: tuple[Template, ...] = ()

    async def written(
        self, context: Context, keys: Sequence[Key], nested: tuple[NestedRequest, ...], failures: Failures
    ) -> Written:
        """The texts of the rows with these keys.

        Raises:
            ApiError, UnplannedError: the ordinary path has to answer.
        """
        try:
            found = await context.tables.json_rows(self.table, keys, self.templates, nested=nested)
        except ApiError as error:
            if not is_of_nested(error, self.templates):
                failures.note(("rows", self.table), error)
            raise
        if found is None:
            raise UnplannedError
        return found


class RowCalls:
    """The calls for all single rows of a plan.

    Rows of a table share a call, by all of its templates, if these have nothing of other tables. A template that has
    is a call of its own: to write a row by it in vain would cost too much.

    Args:
        new: makes the templates of a statement.
    """

    def __init__(self, new: Callable[[], Templates]) -> None:
        self._new = new
        self._shared: dict[Table, int] = {}
        self._calls: list[Call] = []

    def place(self, declared: Declared, group: Group) -> Place:
        """The place of the rows with this selection.

        Raises:
            UnplannedError: plans do not cover it.
        """
        table, templates = declared.table, self._new()
        index = templates.of_row(declared, group)
        if not all(template.flat for template in templates.all()):
            self._calls.append(Call(table, templates))
            return Place(len(self._calls) - 1, index)
        if table not in self._shared:
            self._shared[table] = len(self._calls)
            self._calls.append(Call(table, templates))
        call = self._shared[table]
        return Place(call, self._calls[call].nested.of_row(declared, group))

    def all(self) -> list[Call]:
        """All calls, with their templates."""
        for call in self._calls:
            call.templates = call.nested.all()
        return self._calls
