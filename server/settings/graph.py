"""The settings of the graph: which tables are served, and which fields are left out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import BeforeValidator, Field, field_validator
from pydantic_settings import BaseSettings, NoDecode
from strawberry.utils.str_converters import to_camel_case

from schema.graph import TABLES
from schema.tables.registry import REGISTERED
from server.settings.auth import Separated

if TYPE_CHECKING:
    from collections.abc import Iterator

_IDENTIFIER: Final = r"[A-Za-z_][A-Za-z0-9_$]{0,62}"
_PUBLIC: Final = "public"
_TABLE: Final = rf"({_IDENTIFIER}\.)?{_IDENTIFIER}"
# As in the schema, with the attribute of each.
_HIDEABLE: Final = {
    f"{declared.type_name}.{to_camel_case(column.name)}": f"{declared.type_name}.{column.name}"
    for declared in REGISTERED.values()
    for column in declared.table.columns
    if column.may_hide
}


def parse_tables(value: object) -> object:
    """`customers=public.customer_synced,parts=...` as a mapping of names to tables, each as schema.table.

    Raises:
        ValueError: with a sentence for each mistake. None repeats more than a name that there is: the rest may be a
            secret in the wrong place.
    """
    if not isinstance(value, str):
        return value
    tables: dict[str, str] = {}
    mistakes = []
    for number, part in enumerate(filter(None, map(str.strip, value.split(","))), 1):
        name, equals, table = (piece.strip() for piece in part.partition("="))
        if not equals:
            mistakes.append(f"entry {number} is not name=table, such as customers=public.customer_synced")
        elif name not in TABLES:
            mistakes.append(f"the name in entry {number} is not one of {', '.join(TABLES)}")
        elif name in tables:
            mistakes.append(f"{name} is there twice")
        elif not re.fullmatch(_TABLE, table):
            mistakes.append(f"the table of {name} is neither schema.table nor a table in {_PUBLIC}")
        tables.setdefault(name, _qualified(table))
    if mistakes:
        raise ValueError("\n".join(mistakes))
    return tables


def _qualified(table: str) -> str:
    return table if "." in table else f"{_PUBLIC}.{table}"


class GraphSettings(BaseSettings):
    """The tables, and the fields that are left out."""

    orders_table: str = Field(
        "public.orders_synced",
        pattern=rf"^{_TABLE}$",
        description="The orders table: `schema.table`, or a table in `public`.",
    )
    tables: Annotated[dict[str, str], NoDecode, BeforeValidator(parse_tables)] = Field(
        default_factory=dict,
        description=(
            "The tables that are served beside the orders, for example "
            "`customers=public.customer_synced,nations=public.nation_synced`. The schema has the types and fields of "
            f"these alone. The names are {', '.join(f'`{name}`' for name in TABLES)}."
        ),
    )
    hidden_fields: Annotated[frozenset[str], NoDecode, Separated] = Field(
        frozenset(),
        description=(
            "Fields to leave out of their types and of their filters, separated by commas, for example "
            "`Order.clerk,Customer.phone`. The tables need not have their columns."
        ),
    )

    @field_validator("hidden_fields")
    @classmethod
    def _known_fields(cls, value: frozenset[str]) -> frozenset[str]:
        """With the attributes of the types."""
        if unknown := sorted(value - _HIDEABLE.keys() - set(_HIDEABLE.values())):
            raise ValueError(f"{', '.join(unknown)} cannot be left out; these can: {', '.join(sorted(_HIDEABLE))}")
        return frozenset(_HIDEABLE.get(name, name) for name in value)

    def mistakes(self) -> Iterator[str]:
        """The names that have the table of another one, a sentence each. Unity Catalog ignores case in names."""
        seen = {_qualified(self.orders_table).lower(): "ORDERS_TABLE"}
        for name, table in self.tables.items():
            if (other := seen.setdefault(table.lower(), name)) != name:
                yield f"TABLES: {name} has the same table as {other}"
