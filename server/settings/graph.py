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
_TABLE: Final = rf"({_IDENTIFIER}\.)?{_IDENTIFIER}"
# As in the schema, with the attribute of each.
_HIDEABLE: Final = {
    f"{declared.type_name}.{to_camel_case(column.name)}": f"{declared.type_name}.{column.name}"
    for declared in REGISTERED.values()
    for column in declared.table.columns
    if column.may_hide
}


def _pairs(value: object) -> object:
    """`customers=public.customer_synced,parts=...` as a mapping."""
    if not isinstance(value, str):
        return value
    pairs = [part.strip().partition("=") for part in value.split(",") if part.strip()]
    if wrong := [name for name, equals, table in pairs if not (name and equals and table)]:
        raise ValueError(f"write it as name=schema.table, separated by commas: {', '.join(wrong)}")
    names = [name.strip() for name, _, _ in pairs]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{', '.join(repeated)} is there twice")
    return {name.strip(): table.strip() for name, _, table in pairs}


class GraphSettings(BaseSettings):
    """The tables, and the fields that are left out."""

    orders_table: str = Field(
        "public.orders_synced",
        pattern=rf"^{_TABLE}$",
        description="The orders table: `schema.table`, or a table in `public`.",
    )
    tables: Annotated[dict[str, str], NoDecode, BeforeValidator(_pairs)] = Field(
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

    @field_validator("tables")
    @classmethod
    def _known_tables(cls, value: dict[str, str]) -> dict[str, str]:
        if unknown := sorted(value.keys() - TABLES.keys()):
            raise ValueError(f"there is no table {', '.join(unknown)}; there are {', '.join(TABLES)}")
        if wrong := sorted(name for name in value.values() if not re.fullmatch(_TABLE, name)):
            raise ValueError(f"{', '.join(wrong)} is no name of a table: write schema.table")
        return value

    @field_validator("hidden_fields")
    @classmethod
    def _known_fields(cls, value: frozenset[str]) -> frozenset[str]:
        """With the attributes of the types."""
        if unknown := sorted(value - _HIDEABLE.keys() - set(_HIDEABLE.values())):
            raise ValueError(f"{', '.join(unknown)} cannot be left out; these can: {', '.join(sorted(_HIDEABLE))}")
        return frozenset(_HIDEABLE.get(name, name) for name in value)

    def mistakes(self) -> Iterator[str]:
        """The tables that two names share."""
        names: dict[str, list[str]] = {}
        for name, table in {"ORDERS_TABLE": self.orders_table, **self.tables}.items():
            names.setdefault(table if "." in table else f"public.{table}", []).append(name)
        for table, several in names.items():
            if len(several) > 1:
                yield f"TABLES: {' and '.join(several)} are both {table}"
