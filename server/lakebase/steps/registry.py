"""All steps by their names.

Any process may run any step again at any time, from its beginning: a step finds what is done already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from server.lakebase.steps.branch import (
    create_branch,
    create_endpoint,
    create_safety_net,
    create_snapshot,
    delete_branch,
    delete_snapshot,
    make_default,
    undelete_branch,
    update_branch,
)
from server.lakebase.steps.catalog import create_catalog, delete_catalog
from server.lakebase.steps.instance import create_instance, delete_instance, undelete_instance, update_instance
from server.lakebase.steps.synced_table import (
    build_indexes,
    create_synced_table,
    delete_synced_table,
    keep_grants_and_indexes,
    restore_grants_and_indexes,
    sync_table,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from server.lakebase.steps.step import Step

# Rows of operations hold these names and the API shows them, so a name never changes.
STEPS: Final[Mapping[str, Callable[[Step], Awaitable[str]]]] = {
    "create_instance": create_instance,
    "update_instance": update_instance,
    "delete_instance": delete_instance,
    "undelete_instance": undelete_instance,
    "create_catalog": create_catalog,
    "delete_catalog": delete_catalog,
    "create_synced_table": create_synced_table,
    "delete_synced_table": delete_synced_table,
    "note_belongings": keep_grants_and_indexes,
    "sync_table": sync_table,
    "restore_belongings": restore_grants_and_indexes,
    "build_indexes": build_indexes,
    "create_branch": create_branch,
    "create_endpoint": create_endpoint,
    "make_default": make_default,
    "update_branch": update_branch,
    "delete_branch": delete_branch,
    "undelete_branch": undelete_branch,
    "create_snapshot": create_snapshot,
    "delete_snapshot": delete_snapshot,
    "create_safety_net": create_safety_net,
}
