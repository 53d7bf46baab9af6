"""What a life consists of: changes, and the calls to the platform that they make."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from tests.servers.flavours import AUTOSCALING, Flavour

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# In the inputs of deletions, and of what costs.
GONE: Final = {"confirmDeletion": True, "discardStatusChanges": True}
COST: Final = {"acknowledgeCost": True}


@dataclass(frozen=True)
class Call:
    """A call of the platform's port, `port`, and the method and path template of its request.

    `skip` is how many requests of the same kind the change makes before it.
    """

    port: str
    method: str
    template: str
    skip: int = 0

    @property
    def path(self) -> str:
        """A regular expression for its path."""
        return path_of(self.template)


@dataclass(frozen=True)
class Change:
    """One change in a life: a mutation, the calls that it makes, and what there is more and less afterwards.

    Args:
        values: the input; if it depends on the moment, a function that makes it.
        repeats: whether it finds everything done when it is sent again. Otherwise it begins anew.
        volatile: the methods of the port during which the operation is only in memory: there is no database then.
        more, less: lines of a `picture`.
    """

    name: str
    mutation: str
    values: Mapping[str, object] | Callable[[], Mapping[str, object]]
    calls: tuple[Call, ...] = ()
    volatile: frozenset[str] = frozenset()
    more: frozenset[str] = frozenset()
    less: frozenset[str] = frozenset()
    repeats: bool = True

    def input(self) -> Mapping[str, object]:
        """The input of the mutation, for all attempts at it."""
        return self.values() if callable(self.values) else self.values


@dataclass(frozen=True)
class Life:
    """Changes, one after the other. The last one ends where the first one began, with the picture `begins`.

    `reads` are the path templates of the requests that the changes make and that change nothing. `settings` are those
    of the server that makes them, besides its flavour's.
    """

    name: str
    flavour: Flavour
    begins: frozenset[str] = field(repr=False)
    changes: tuple[Change, ...] = field(repr=False)
    reads: tuple[str, ...] = field(repr=False)
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)

    def after(self, number: int) -> list[str]:
        """The picture after a change."""
        found = self.begins
        for change in self.changes[: number + 1]:
            found = found - change.less | change.more
        return sorted(found)


def one(*lines: str) -> frozenset[str]:
    """These lines of a picture."""
    return frozenset(lines)


def each(call: Call, times: int) -> tuple[Call, ...]:
    """The same call for several resources."""
    return tuple(replace(call, skip=skip) for skip in range(times))


def path_of(template: str) -> str:
    """A regular expression for the paths of a template."""
    return re.sub(r"\{\w+\}", "[^/]+", re.sub(r"\{\w+:path\}", ".*", template))


def calls_of(flavour: Flavour) -> dict[str, Call]:
    """The calls that change something by the method of the port, and `retention` for the one that an update adds."""
    catalogs, tables, instances = f"{flavour.api}/catalogs", f"{flavour.api}/synced_tables", flavour.instances
    instance = f"{instances}/{{{'project' if flavour is AUTOSCALING else 'name'}}}"
    branches = f"{instance}/branches"
    branch, endpoint = f"{branches}/{{branch}}", f"{branches}/{{branch}}/endpoints/{{endpoint}}"
    templates = {
        "create_instance": ("POST", instances),
        "update_instance": ("PATCH", endpoint if flavour is AUTOSCALING else instance),
        "delete_instance": ("DELETE", instance),
        "undelete_instance": ("POST", f"{instance}/undelete"),
        "create_catalog": ("POST", catalogs),
        "delete_catalog": ("DELETE", f"{catalogs}/{{name}}"),
        "create_synced_table": ("POST", tables),
        "delete_synced_table": ("DELETE", f"{tables}/{{name}}"),
        "start": ("POST", "/api/2.0/pipelines/{id}/updates"),
        "create_branch": ("POST", branches),
        "update_branch": ("PATCH", branch),
        "delete_branch": ("DELETE", branch),
        "undelete_branch": ("POST", f"{branch}/undelete"),
        "make_default": ("PATCH", instance),
        "create_endpoint": ("POST", f"{branch}/endpoints"),
        "update_endpoint": ("PATCH", endpoint),
        "create_snapshot": ("POST", f"{instance}/snapshots"),
        "delete_snapshot": ("DELETE", f"{instance}/snapshots/{{snapshot}}"),
    }
    calls = {port: Call(port, method, template) for port, (method, template) in templates.items()}
    return calls | {"retention": Call("update_instance", "PATCH", instance)}


def reads_of(flavour: Flavour) -> tuple[str, ...]:
    """The path templates of the reads, and of the call that mints a credential."""
    project = "/api/2.0/postgres/projects/{project}"
    shared = (
        f"{flavour.api}/catalogs/{{name}}",
        f"{flavour.api}/synced_tables/{{name}}",
        f"{flavour.api}/credentials",
        "/api/2.1/unity-catalog/tables/{full_name}",
        "/api/2.1/unity-catalog/catalogs",
        "/api/2.1/unity-catalog/catalogs/{name}",
        "/api/2.1/unity-catalog/schemas/{full_name}",
        "/api/2.1/unity-catalog/table-summaries",
        "/api/2.0/pipelines/{id}",
        project,
    )
    if flavour is not AUTOSCALING:
        return (*shared, f"{flavour.instances}/{{name}}", f"{flavour.api}/tables/{{name}}")
    branch = f"{project}/branches/{{branch}}"
    return (
        *shared,
        flavour.instances,
        f"{project}/branches",
        branch,
        f"{branch}/endpoints",
        f"{branch}/endpoints/{{endpoint}}",
        f"{project}/snapshots",
        "/api/2.0/postgres/{resource:path}/operations/{operation}",
    )
