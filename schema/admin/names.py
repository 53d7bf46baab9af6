"""Owns which names may be sent to the platform: it takes them as parts of a path, so nothing else may stand in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from schema.errors import InputError, Reason

_SHOWN_CHARACTERS: Final = 80
# Catalogs that every workspace has, and that are none of ours to make or delete.
_PLATFORM_CATALOGS: Final = frozenset(
    {"system", "samples", "hive_metastore", "information_schema", "__databricks_internal"}
)


@dataclass(frozen=True, slots=True)
class NameRule:
    """What a name has to be like. `reserved` are names in lower case, and `reserved_start` how none may start."""

    what: str
    pattern: re.Pattern[str]
    allowed: str
    reserved: frozenset[str] = frozenset()
    reserved_start: str | None = None

    def mistake(self, name: str) -> str | None:
        """What is wrong with a name, in words; None where nothing is."""
        if not self.pattern.fullmatch(name):
            return f"{_shown(name)} is no {self.what}: {self.allowed}."
        lower = name.lower()
        if lower in self.reserved:
            return f"{_shown(name)} is no {self.what} to choose: the platform keeps that name for itself."
        if self.reserved_start and lower.startswith(self.reserved_start):
            return (
                f"{_shown(name)} is no {self.what} to choose: PostgreSQL keeps `{self.reserved_start}...` for itself."
            )
        return None


@dataclass(frozen=True, slots=True)
class TableNameRule:
    """A name of three parts, and what each has to be like."""

    what: str
    parts: tuple[NameRule, NameRule, NameRule]

    def mistake(self, name: str) -> str | None:
        """What is wrong with a name, in words; None where nothing is."""
        given = name.split(".")
        if len(given) != len(self.parts):
            return f"{_shown(name)} is no {self.what}: three names with dots between, catalog.schema.table."
        return next(
            (mistake for rule, part in zip(self.parts, given, strict=True) if (mistake := rule.mistake(part))), None
        )


_CATALOG_PART: Final = re.compile(r"[A-Za-z0-9_]{1,255}", re.ASCII)
_CATALOG_ALLOWED: Final = "1 to 255 letters, digits and underscores"
# What is a name in PostgreSQL too, which cuts longer ones off.
_POSTGRES_PART: Final = re.compile(r"[A-Za-z0-9_]{1,63}", re.ASCII)
_POSTGRES_ALLOWED: Final = "1 to 63 letters, digits and underscores"

INSTANCE: Final = NameRule(
    "name of an instance",
    re.compile(r"(?!.*-\Z)[A-Za-z][A-Za-z0-9-]{0,62}", re.ASCII),
    "1 to 63 letters, digits and hyphens, from a letter on, and no hyphen last",
)
CATALOG: Final = NameRule(
    "name of a database's catalog", _CATALOG_PART, _CATALOG_ALLOWED, _PLATFORM_CATALOGS | {"main"}
)
DATABASE: Final = NameRule(
    "name of a database",
    re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}", re.ASCII),
    "1 to 63 letters, digits and underscores, and no digit first",
    frozenset({"postgres", "template0", "template1"}),
)
COLUMN: Final = NameRule(
    "name of a column",
    re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}", re.ASCII),
    "1 to 63 letters, digits and underscores, and no digit first",
)
# `main` is a standard catalog, in which a synced table or a pipeline's own tables may well be.
STORAGE_CATALOG: Final = NameRule("name of a catalog", _CATALOG_PART, _CATALOG_ALLOWED, _PLATFORM_CATALOGS)
STORAGE_SCHEMA: Final = NameRule("name of a schema", _CATALOG_PART, _CATALOG_ALLOWED, frozenset({"information_schema"}))
SYNCED_TABLE: Final = TableNameRule(
    "name of a synced table",
    (
        STORAGE_CATALOG,
        NameRule(
            "name of a schema",
            _POSTGRES_PART,
            _POSTGRES_ALLOWED,
            frozenset({"information_schema"}),
            reserved_start="pg_",
        ),
        NameRule("name of a table", _POSTGRES_PART, _POSTGRES_ALLOWED),
    ),
)
SOURCE_TABLE: Final = TableNameRule(
    "name of a source table",
    (
        NameRule("name of a catalog", _CATALOG_PART, _CATALOG_ALLOWED),
        NameRule("name of a schema", _CATALOG_PART, _CATALOG_ALLOWED),
        NameRule("name of a table", _CATALOG_PART, _CATALOG_ALLOWED),
    ),
)
OPERATION_ID: Final = NameRule(
    "id of an operation",
    re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII),
    "1 to 64 letters, digits, underscores and hyphens",
)


def checked_name(name: str, rule: NameRule | TableNameRule) -> str:
    """The name.

    Raises:
        InputError: NAME_INVALID.
    """
    if mistake := rule.mistake(name):
        raise InputError(Reason.NAME_INVALID, f"{mistake} Nothing was asked of the platform.")
    return name


def _shown(name: str) -> str:
    return repr(name if len(name) <= _SHOWN_CHARACTERS else f"{name[:_SHOWN_CHARACTERS]}...")
