"""The rules for names sent to the platform. Names become parts of URL paths, so no other characters are allowed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

from schema.errors import InputError, Reason
from schema.ports.admin.instances import Flavour

_SHOWN_CHARACTERS: Final = 80
# Catalogs that every workspace has. This API may not create or delete them.
_PLATFORM_CATALOGS: Final = frozenset(
    {"system", "samples", "hive_metastore", "information_schema", "__databricks_internal"}
)


@dataclass(frozen=True, slots=True)
class NameRule:
    """A rule for names of one kind.

    `allowed` describes `pattern` in words. `reserved` are reserved names, in lower case, and `reserved_start` is a
    reserved prefix.
    """

    kind: str
    pattern: re.Pattern[str]
    allowed: str
    reserved: frozenset[str] = frozenset()
    reserved_start: str | None = None

    def mistake(self, name: str) -> str | None:
        """The mistake in a name, as a sentence; None if the name is valid."""
        if not self.pattern.fullmatch(name):
            return f"{_quoted(name)} is not a valid {self.kind}: use {self.allowed}."
        lower = name.lower()
        if lower in self.reserved:
            return f"{_quoted(name)} cannot be used as the {self.kind}: the platform reserves this name."
        if self.reserved_start and lower.startswith(self.reserved_start):
            return (
                f"{_quoted(name)} cannot be used as the {self.kind}: PostgreSQL reserves names that start with "
                f"`{self.reserved_start}`."
            )
        return None


@dataclass(frozen=True, slots=True)
class TableNameRule:
    """A rule for names of three parts, with a rule for each part."""

    kind: str
    parts: tuple[NameRule, NameRule, NameRule]

    def mistake(self, name: str) -> str | None:
        """The mistake in a name, as a sentence; None if the name is valid."""
        given = name.split(".")
        if len(given) != len(self.parts):
            return f"{_quoted(name)} is not a valid {self.kind}: write it as catalog.schema.table."
        return next(
            (mistake for rule, part in zip(self.parts, given, strict=True) if (mistake := rule.mistake(part))), None
        )


_CATALOG_PART: Final = re.compile(r"[A-Za-z0-9_]{1,255}", re.ASCII)
_CATALOG_ALLOWED: Final = "1 to 255 letters, digits and underscores"
# Names that are also names in PostgreSQL, which truncates longer ones.
_POSTGRES_PART: Final = re.compile(r"[A-Za-z0-9_]{1,63}", re.ASCII)
_POSTGRES_ALLOWED: Final = "1 to 63 letters, digits and underscores"

INSTANCE: Final = NameRule(
    "instance name",
    re.compile(r"(?!.*-\Z)[A-Za-z][A-Za-z0-9-]{0,62}", re.ASCII),
    "1 to 63 letters, digits and hyphens, starting with a letter and not ending with a hyphen",
)
_RESOURCE_ID: Final = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_RESOURCE_ID_ALLOWED: Final = (
    "1 to 63 lower-case letters, digits and hyphens, starting with a letter and not ending with a hyphen"
)
# An instance of the flavour AUTOSCALING is a project.
PROJECT: Final = NameRule("instance name", _RESOURCE_ID, _RESOURCE_ID_ALLOWED)
BRANCH: Final = NameRule("branch name", _RESOURCE_ID, _RESOURCE_ID_ALLOWED)
SNAPSHOT: Final = NameRule("snapshot name", _RESOURCE_ID, _RESOURCE_ID_ALLOWED)
# The key of a branch is instance/branch, and that of an endpoint instance/branch/endpoint.
BRANCH_KEY: Final = NameRule(
    "branch key", re.compile(rf"{_RESOURCE_ID.pattern}/{_RESOURCE_ID.pattern}", re.ASCII), "instance/branch"
)
ENDPOINT_KEY: Final = NameRule(
    "endpoint key",
    re.compile(rf"{_RESOURCE_ID.pattern}(/{_RESOURCE_ID.pattern}){{2}}", re.ASCII),
    "instance/branch/endpoint",
)
CATALOG: Final = NameRule("catalog name", _CATALOG_PART, _CATALOG_ALLOWED, _PLATFORM_CATALOGS | {"main"})
DATABASE: Final = NameRule(
    "database name",
    re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}", re.ASCII),
    "1 to 63 letters, digits and underscores, not starting with a digit",
    frozenset({"postgres", "template0", "template1"}),
)
COLUMN: Final = NameRule(
    "column name",
    re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}", re.ASCII),
    "1 to 63 letters, digits and underscores, not starting with a digit",
)
# `main` is a standard catalog, which may hold a synced table or a pipeline's own tables.
STORAGE_CATALOG: Final = NameRule("catalog name", _CATALOG_PART, _CATALOG_ALLOWED, _PLATFORM_CATALOGS)
STORAGE_SCHEMA: Final = NameRule("schema name", _CATALOG_PART, _CATALOG_ALLOWED, frozenset({"information_schema"}))
SYNCED_TABLE: Final = TableNameRule(
    "synced table name",
    (
        STORAGE_CATALOG,
        NameRule(
            "schema name",
            _POSTGRES_PART,
            _POSTGRES_ALLOWED,
            frozenset({"information_schema"}),
            reserved_start="pg_",
        ),
        NameRule("table name", _POSTGRES_PART, _POSTGRES_ALLOWED),
    ),
)
SOURCE_TABLE: Final = TableNameRule(
    "source table name",
    (
        NameRule("catalog name", _CATALOG_PART, _CATALOG_ALLOWED),
        NameRule("schema name", _CATALOG_PART, _CATALOG_ALLOWED),
        NameRule("table name", _CATALOG_PART, _CATALOG_ALLOWED),
    ),
)
OPERATION_ID: Final = NameRule(
    "operation id",
    re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII),
    "1 to 64 letters, digits, underscores and hyphens",
)

AUDIT_ENTRY_ID: Final = NameRule(
    "audit entry id", re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII), "a UUID in lower case"
)


def instance_rule(flavour: Flavour) -> NameRule:
    """The rule for the names of instances."""
    return PROJECT if flavour is Flavour.AUTOSCALING else INSTANCE


def checked_name(name: str, rule: NameRule | TableNameRule) -> str:
    """The name, checked by the rule.

    Raises:
        InputError: NAME_INVALID.
    """
    if mistake := rule.mistake(name):
        raise InputError(Reason.NAME_INVALID, f"{mistake} Nothing was sent to the platform.")
    return name


def _quoted(name: str) -> str:
    return json.dumps(name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}...", ensure_ascii=False)
