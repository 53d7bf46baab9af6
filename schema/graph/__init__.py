"""The tables around the orders: the type of each, its pages and its root fields, in a module of its own.

schema/README.md says how to add one. `schema/tables/registry.py` names them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schema.tables.registry import ORDERS_NAME, REGISTERED

if TYPE_CHECKING:
    from schema.ports.columns import Table

# The tables that a deployment may serve beside the orders, by their names in settings.
TABLES: Final[dict[str, Table]] = {name: declared.table for name, declared in REGISTERED.items() if name != ORDERS_NAME}
