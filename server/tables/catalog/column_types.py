"""The types of PostgreSQL that a column of a synced table may have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BIGINT, DATE, INTEGER, NUMERIC, SMALLINT, TEXT

from schema.ports.columns import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping


class BlankPadded(sa.types.UserDefinedType[str]):
    """PostgreSQL's char(n).

    SQLAlchemy's CHAR would cast a parameter to `CHAR`, which is char(1) and cuts it. A cast to `BPCHAR` keeps its
    length, and PostgreSQL can use an index on the column.
    """

    cache_ok = True
    render_bind_cast = True

    def get_col_spec(self, **_keywords: object) -> str:
        """The type's name, without a length."""
        return "BPCHAR"

    def column_expression(self, column: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
        """The column in a select list: a cast to text removes the padding."""
        return sa.cast(column, TEXT())


class AsText(BlankPadded):
    """PostgreSQL's text and varchar, read with the cast that char(n) needs. The cast costs nothing here.

    A sync may recreate the table with char(n) columns. Then only statements that were prepared before fail. Without
    the cast, all others would return padded values.
    """

    cache_ok = True

    def get_col_spec(self, **_keywords: object) -> str:
        """The type's name."""
        return "TEXT"


_INTEGERS: Mapping[str, sa.types.TypeEngine[Any]] = {
    "int8": BIGINT(),
    "int4": INTEGER(),
    "int2": SMALLINT(),
}
_TEXTS: Mapping[str, sa.types.TypeEngine[Any]] = {
    "text": AsText(),
    "varchar": AsText(),
    "bpchar": BlankPadded(),
}
TYPES: Final[dict[Kind, Mapping[str, sa.types.TypeEngine[Any]]]] = {
    Kind.INTEGER: _INTEGERS,
    Kind.TEXT: _TEXTS,
    Kind.DECIMAL: {"numeric": NUMERIC()},
    Kind.DATE: {"date": DATE()},
}
