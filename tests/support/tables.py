"""The tables in the READMEs that are generated from code: `python -m tests.support.tables settings` prints one.

Tests check that the READMEs contain them.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from schema.errors import Reason
from server.settings import Settings
from server.settings.auth import AuthenticationSettings
from server.settings.database import ConnectionSettings
from server.settings.graph import GraphSettings
from server.settings.limits import LimitSettings
from server.settings.workspace import WorkspaceSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic_settings import BaseSettings

_GROUPS: Final[Mapping[str, type[BaseSettings]]] = {
    "The database": ConnectionSettings,
    "The tables": GraphSettings,
    "The Databricks workspace": WorkspaceSettings,
    "Callers": AuthenticationSettings,
    "Limits": LimitSettings,
    "The server": Settings,
}


# The errors for which it depends.
_RETRIES: Final[Mapping[Reason, str]] = {
    Reason.OUTCOME_UNKNOWN: "1 s, with its key",
    Reason.RATE_LIMITED: "as it says",
    Reason.TOO_MANY_BAD_TOKENS: "as it says",
    Reason.STEP_TIMED_OUT: "yes",
}


def settings_table() -> str:
    """All settings as Markdown: a table for each group, with its heading."""
    return "\n\n".join(f"### {heading}\n\n{_group_table(group)}" for heading, group in _GROUPS.items())


def error_table() -> str:
    """All errors as a Markdown table."""
    rows = ["| `reason` | `code` | where | HTTP | retry | meaning |", "| --- | --- | --- | --- | --- | --- |"]
    for reason in Reason:
        kind = reason.value
        retry = _RETRIES.get(reason, f"{kind.retry_after} s" if kind.retry else "no")
        where = ", ".join(f"`{part}`" for part in kind.where.split(", "))
        rows.append(f"| `{reason.name}` | `{kind.code.value}` | {where} | {kind.status} | {retry} | {kind.meaning} |")
    return "\n".join(rows)


def _group_table(group: type[BaseSettings]) -> str:
    rows = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        if name in group.__annotations__:
            rows.append(
                f"| `{name.upper()}` | {_shown(field.get_default(call_default_factory=True))} | {field.description} |"
            )
    return "\n".join(rows)


def _shown(default: object) -> str:
    if default is None or default in (frozenset(), {}):
        return "-"
    if isinstance(default, frozenset):
        return f"`{','.join(sorted(default))}`"
    # As it is written in the environment.
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


TABLES: Final[Mapping[str, Callable[[], str]]] = {"settings": settings_table, "errors": error_table}


if __name__ == "__main__":
    sys.stdout.write(f"{TABLES[sys.argv[1]]()}\n")
