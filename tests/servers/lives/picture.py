"""A picture of the platform: a line for everything that exists there. What is there twice has two lines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from tests.servers.operator import CATALOG, INSTANCE, TABLE

if TYPE_CHECKING:
    from tests.servers.platform import LocalPlatform

# The line of the safety net of a refresh. The name of its branch has the moment.
NET: Final = "branch before-refresh"


def picture(platform: LocalPlatform) -> list[str]:
    """The lines, sorted. What is being purged is left out: it is gone for the reads of the API."""
    inventory = platform.inventory()
    lines = [*pipeline_lines(len(inventory["pipelines"]))]
    lines += [f"catalog {found['name']}" for found in inventory["catalogs"]]
    lines += [f"synced table {found['name']}" for found in inventory["synced_tables"]]
    for project in inventory["projects"]:
        if project["purged"]:
            continue
        days = round(project["retention_seconds"] / 86_400)
        lines.append(instance_line(project["id"], days=days, deleted=bool(project["delete_time"])))
        lines.append(f"default {project['default_branch']}")
        lines += [f"snapshot {name}" for name in project["snapshots"]]
        for branch in project["branches"].values():
            lines += _branch_lines(branch)
    return sorted(lines)


def instance_line(name: str = INSTANCE, *, days: int = 7, deleted: bool = False) -> str:
    """The line of an instance that keeps its history for so many days."""
    return f"{'deleted ' if deleted else ''}instance {name}, {days} days"


def endpoint_line(branch: str, limits: str, *, disabled: bool = False) -> str:
    """The line of an endpoint with these limits, `0.5 to 8`."""
    return f"{'disabled ' if disabled else ''}endpoint {branch}, {limits}"


def project_lines(limits: str) -> frozenset[str]:
    """The lines of a new instance, whose endpoint has these limits."""
    return frozenset({instance_line(), "default production", "branch production", endpoint_line("production", limits)})


def pipeline_lines(count: int) -> frozenset[str]:
    """The lines of so many pipelines, which have no names."""
    return frozenset(f"pipeline {number}" for number in range(1, count + 1))


def table_lines() -> frozenset[str]:
    """The lines of the operator's synced table."""
    return pipeline_lines(1) | {f"synced table {TABLE}"}


def catalog_line() -> str:
    """The line of the operator's catalog."""
    return f"catalog {CATALOG}"


def _branch_lines(branch: dict[str, Any]) -> list[str]:
    if branch["purged"]:
        return []
    deleted, protected = "deleted " if branch["delete_time"] else "", "protected " if branch["is_protected"] else ""
    name = re.sub(r"(before-refresh)-[-\d]+", r"\1", branch["id"])
    lines = [f"{deleted}{protected}branch {name}"]
    for endpoint in branch["endpoints"].values():
        limits = f"{endpoint['min_cu']:g} to {endpoint['max_cu']:g}"
        lines.append(endpoint_line(branch["id"], limits, disabled=endpoint["disabled"]))
    return lines
