"""The life of the branches, endpoints and snapshots of an instance. Only projects have them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from tests.servers.flavours import AUTOSCALING
from tests.servers.lives.change import COST, GONE, Call, Change, Life, calls_of, one, reads_of
from tests.servers.lives.picture import catalog_line, endpoint_line, project_lines, table_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BRANCH, _DELETED, _PROTECTED = "branch dev", "deleted branch dev", "protected branch dev"
_NAMES: Final = {"name": "dev"}
_SNAPSHOT: Final = one("snapshot monday")


def life_of_branches() -> Life:
    """A branch, which is deleted softly, undeleted and purged; a restore; and a snapshot, which lives as long."""
    calls = calls_of(AUTOSCALING)
    taken = {"name": "monday", **COST}
    given = {"name": "monday", "confirmDeletion": True}
    changes = (
        Change("take snapshot", "createDatabaseSnapshot", taken, (calls["create_snapshot"],), more=_SNAPSHOT),
        *_creations(calls),
        *_deletions(calls),
        *_restore(calls),
        Change("delete snapshot", "deleteDatabaseSnapshot", given, (calls["delete_snapshot"],), less=_SNAPSHOT),
    )
    begins = project_lines("0.5 to 8") | one(catalog_line()) | table_lines()
    return Life("branches", AUTOSCALING, begins, changes, reads_of(AUTOSCALING))


def _creations(calls: dict[str, Call]) -> Iterator[Change]:
    small, large = endpoint_line("dev", "1 to 2"), endpoint_line("dev", "1 to 4")
    made: Mapping[str, object] = {**_NAMES, "neverExpires": True, **COST}
    for name, port, endpoint, more, less in (
        ("create branch", "create_branch", {}, _BRANCH, one()),
        ("create endpoint", "create_endpoint", {"endpoint": {"minCu": 1, "maxCu": 2}}, small, one()),
        ("resize endpoint", "update_endpoint", {"endpoint": {"minCu": 1, "maxCu": 4}}, large, one(small)),
    ):
        yield Change(name, "createDatabaseBranch", {**made, **endpoint}, (calls[port],), more=one(more), less=less)
    update = (calls["update_branch"],)
    protect, unprotect = {**_NAMES, "protected": True}, {**_NAMES, "protected": False}
    yield Change("protect branch", "updateDatabaseBranch", protect, update, more=one(_PROTECTED), less=one(_BRANCH))
    yield Change("unprotect branch", "updateDatabaseBranch", unprotect, update, more=one(_BRANCH), less=one(_PROTECTED))


def _deletions(calls: dict[str, Call]) -> Iterator[Change]:
    delete, undelete, given = (calls["delete_branch"],), (calls["undelete_branch"],), {**_NAMES, **GONE}
    back, purged = {**_NAMES, **COST}, one(_DELETED, endpoint_line("dev", "1 to 4"))
    yield Change("delete branch", "deleteDatabaseBranch", given, delete, more=one(_DELETED), less=one(_BRANCH))
    yield Change("undelete branch", "undeleteDatabaseBranch", back, undelete, more=one(_BRANCH), less=one(_DELETED))
    yield Change("delete branch again", "deleteDatabaseBranch", given, delete, more=one(_DELETED), less=one(_BRANCH))
    yield Change("purge deleted branch", "deleteDatabaseBranch", {**given, "purge": True}, delete, less=purged)


def _restore(calls: dict[str, Call]) -> Iterator[Change]:
    restored = one("branch restored", endpoint_line("restored", "0.5 to 8"))
    first, second = one("default production"), one("default restored")

    def values() -> Mapping[str, object]:
        return {"name": "restored", "to": datetime.now(UTC).isoformat(), **COST}

    made = (calls["create_branch"], calls["create_endpoint"], calls["make_default"])
    yield Change("restore", "restoreDatabase", values, made, more=restored | second, less=first)
    again, default = {"name": "production", "default": True}, (calls["make_default"],)
    yield Change(
        "make the first branch the default one", "updateDatabaseBranch", again, default, more=first, less=second
    )
    gone = {"name": "restored", "purge": True, **GONE}
    yield Change("purge branch", "deleteDatabaseBranch", gone, (calls["delete_branch"],), less=restored)
