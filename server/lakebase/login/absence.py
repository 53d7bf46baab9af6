"""Why an instance or endpoint accepts no connections, in words that say what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schema.ports.admin.instances import InstanceState
from server.db.database import DatabaseAbsentError, DatabaseMissingError

if TYPE_CHECKING:
    from server.lakebase.platform.conversions import DatabaseAddress

# An endpoint or a branch of the Autoscaling API is named by its path; an instance's name cannot contain a slash.
ENDPOINT_PREFIX: Final = "projects/"


def absence_of(name: str, found: DatabaseAddress | None) -> DatabaseAbsentError | None:
    """Why the instance accepts no connections; None if it does."""
    if found is None:
        return DatabaseMissingError(not_found(name))
    if found.stopped:
        # That mutation changes the endpoint of an instance's default branch, as this one usually is.
        return DatabaseAbsentError(
            f"The database {_kind(name)} {name} is stopped: an admin starts it with updateDatabaseInstance(stopped: "
            "false)."
        )
    if found.state == InstanceState.DELETING.value:
        return DatabaseAbsentError(
            f"The database {_kind(name)} {name} is being deleted: after that, provisionLakebase creates a new one."
        )
    if found.host is None and found.endpoint is None and name.startswith(ENDPOINT_PREFIX):
        branch, _, endpoint = name.partition("/endpoints/")
        return DatabaseAbsentError(
            not_found(name) if endpoint else f"The branch {branch} has no read-write endpoint: create one for it."
        )
    if found.host is None:
        return DatabaseAbsentError(f"The database {_kind(name)} {name} has no address yet; its state is {found.state}.")
    return None


def _kind(name: str) -> str:
    return "endpoint" if name.startswith(ENDPOINT_PREFIX) else "instance"


def not_found(name: str) -> str:
    """Why there is no instance or endpoint of this name for the server, and what to do."""
    setting, granted_on = (
        ("LAKEBASE_ENDPOINT", "its project") if name.startswith(ENDPOINT_PREFIX) else ("LAKEBASE_INSTANCE_NAME", "it")
    )
    return (
        f"There is no database {_kind(name)} {name}, or the server's identity may not see it. Create it with "
        f"provisionLakebase, set {setting} to one that exists, or grant the server's identity CAN USE on {granted_on}."
    )
