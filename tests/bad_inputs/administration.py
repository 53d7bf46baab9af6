"""Bad inputs of admin mutations: misleading names, missing confirmations, and resources that do not exist."""

from __future__ import annotations

from typing import Any, Final

from schema.relay.node import encode_global_id
from tests.bad_inputs.case import Case, Expected, Sent, ask, fine, partly, refused

# These exist on the platform from the start: an instance, and a catalog of one of its databases.
TAKEN: Final = "taken-pg"
TAKEN_CATALOG: Final = "taken_catalog"
_TABLE: Final = "a_catalog.public.orders"


def _send(mutation: str, **values: object) -> Sent:
    kind = f"{mutation[0].upper()}{mutation[1:]}Input"
    document = f"mutation($i: {kind}!) {{ payload: {mutation}(input: $i) {{ operation {{ id }} userErrors {{ code field }} }} }}"
    return ask(document, {"i": values})


def _user_errors(*errors: tuple[str, str]) -> Expected:
    listed: list[Any] = [
        {"code": code, "field": ["input", *path.split(".")] if path else ["input"]} for code, path in errors
    ]
    return fine({"data": {"payload": {"operation": None, "userErrors": listed}}})


def _named(field: str) -> Expected:
    return _user_errors(("NAME_INVALID", field))


def _case(name: str, sent: Sent, expected: Expected) -> Case:
    return Case(name, sent, expected, server="operated")


_INSTANCES: Final[dict[str, str]] = {
    "empty": "",
    "two-dots": "..",
    "a-path": "../catalogs/main",
    "a-slash": f"{TAKEN}/roles",
    "a-query": f"{TAKEN}?purge=true",
    "a-fragment": f"{TAKEN}#",
    "percent-encoded": f"..%2F{TAKEN}",
    "accents": "\xf3rders",
    "emoji": "\N{ELEPHANT}",
    "fullwidth": "\N{FULLWIDTH LATIN SMALL LETTER A}bc",
    "256-characters": "a" * 256,
    "a-line-break": "a\nb",
    "a-nul": "a\0b",
    "underscores": "taken_pg",
    "white-space": " taken-pg",
    "sql": "a'; DROP DATABASE x --",
}
_TABLES: Final[dict[str, str]] = {
    "one-part": "orders_synced",
    "four-parts": "a.b.c.d",
    "a-query": f"{_TABLE}?purge_data=false",
    "a-path": f"../{_TABLE}",
    "accents": "a_catalog.public.\xf6rders",
    "reserved-schema": "a_catalog.pg_catalog.orders",
    "reserved-catalog": "samples.tpch.orders",
    "64-characters": f"a_catalog.public.{'t' * 64}",
}
_NOWHERE: Final = encode_global_id("Operation", "00000000-0000-4000-8000-000000000000")

CASES: Final = (
    *(
        _case(f"instance-{name}", _send("deleteDatabaseInstance", name=value, confirmDeletion=True), _named("name"))
        for name, value in _INSTANCES.items()
    ),
    *(
        _case(f"table-{name}", _send("deleteSyncedTable", name=value, confirmDeletion=True), _named("name"))
        for name, value in _TABLES.items()
    ),
    *(
        _case(f"catalog-{name}", _send("deleteDatabaseCatalog", name=name, confirmDeletion=True), _named("name"))
        for name in ("system", "main", "Information_Schema")
    ),
    *(
        _case(
            f"database-{name}",
            _send("createDatabaseCatalog", name="new_catalog", instanceName=TAKEN, databaseName=name),
            _named("databaseName"),
        )
        for name in ("postgres", "template1", "1st")
    ),
    _case(
        "create-without-consent",
        _send("createDatabaseInstance", name="new-pg"),
        _user_errors(("COST_NOT_ACKNOWLEDGED", "acknowledgeCost")),
    ),
    _case(
        "delete-without-consent",
        _send("deleteDatabaseCatalog", name=TAKEN_CATALOG),
        _user_errors(("DELETION_NOT_CONFIRMED", "confirmDeletion")),
    ),
    _case(
        "taken-by-another-spec",
        _send("createDatabaseInstance", name=TAKEN, capacity="CU_4", acknowledgeCost=True),
        _user_errors(("SPEC_CONFLICT", "name")),
    ),
    _case(
        "change-of-an-unknown-instance",
        _send("updateDatabaseInstance", name="nowhere", stopped=True),
        _user_errors(("RESOURCE_NOT_FOUND", "name")),
    ),
    _case("change-of-nothing", _send("updateDatabaseInstance", name=TAKEN), _user_errors(("SETTING_INVALID", ""))),
    _case(
        "too-few-days",
        _send("createDatabaseInstance", name="new-pg", retentionWindowInDays=1, acknowledgeCost=True),
        _user_errors(("SETTING_INVALID", "retentionWindowInDays")),
    ),
    _case(
        "no-nodes",
        _send("createDatabaseInstance", name="new-pg", nodeCount=0, acknowledgeCost=True),
        _user_errors(("SETTING_INVALID", "nodeCount")),
    ),
    _case(
        "readable-without-secondaries",
        _send("createDatabaseInstance", name="new-pg", enableReadableSecondaries=True, acknowledgeCost=True),
        _user_errors(("SETTING_INVALID", "enableReadableSecondaries")),
    ),
    _case(
        "no-primary-key",
        _send("createSyncedTable", name=_TABLE, primaryKey=[], acknowledgeCost=True),
        _user_errors(("SETTING_INVALID", "primaryKey")),
    ),
    _case(
        "primary-key-with-a-quote",
        _send("createSyncedTable", name=_TABLE, primaryKey=['o"x'], acknowledgeCost=True),
        _named("primaryKey.0"),
    ),
    _case(
        "capacity-unknown",
        _send("createDatabaseInstance", name="new-pg", capacity="CU_3"),
        refused(400, "VARIABLES_INVALID"),
    ),
    _case(
        "capacity-a-number",
        _send("createDatabaseInstance", name="new-pg", capacity=1),
        refused(400, "VARIABLES_INVALID"),
    ),
    _case(
        "nodes-beyond-32-bits",
        _send("createDatabaseInstance", name="new-pg", nodeCount=2**40),
        refused(400, "VARIABLES_INVALID"),
    ),
    _case(
        "consent-as-a-string",
        _send("createDatabaseInstance", name="new-pg", acknowledgeCost="true"),
        refused(400, "VARIABLES_INVALID"),
    ),
    _case(
        "property-unknown",
        _send("createDatabaseInstance", name="new-pg", purge=True),
        refused(400, "VARIABLES_INVALID"),
    ),
    _case("name-is-a-list", _send("deleteDatabaseInstance", name=["a"]), refused(400, "VARIABLES_INVALID")),
    _case("name-missing", _send("deleteDatabaseInstance", confirmDeletion=True), refused(400, "VARIABLES_INVALID")),
    _case(
        "two-deletions-in-one",
        ask(
            'mutation { a: deleteDatabaseInstance(input: {name: "a"}) { operation { id } } b: deleteDatabaseInstance(input: {name: "b"}) { operation { id } } }'
        ),
        refused(400, "LIMIT_EXCEEDED", limit="rootMutations"),
    ),
    _case(
        "look-by-a-path",
        ask('{ found: databaseInstance(name: "a/b") { name } }'),
        partly({"found": None}, "NAME_INVALID"),
    ),
    _case(
        "look-up-an-unknown-instance",
        ask('{ found: databaseInstance(name: "nowhere") { name } }'),
        fine({"data": {"found": None}}),
    ),
    _case("operation-of-no-id", ask('{ found: operation(id: "1") { state } }'), partly({"found": None}, "ID_INVALID")),
    _case(
        "look-up-an-unknown-operation",
        ask(f'{{ found: operation(id: "{_NOWHERE}") {{ state }} }}'),
        fine({"data": {"found": None}}),
    ),
    _case(
        "a-page-too-large",
        ask("{ found: operations(first: 101) { nodes { id } } }"),
        partly({"found": None}, "PAGE_SIZE_INVALID"),
    ),
    _case(
        "an-audit-since-no-time",
        ask('{ found: adminAudit(filter: {since: "yesterday"}) { nodes { id } } }'),
        refused(400, "DOCUMENT_INVALID"),
    ),
    _case(
        "an-audit-of-a-caller-with-a-nul",
        ask('{ found: adminAudit(filter: {principal: "a\\u0000"}) { nodes { id } } }'),
        partly({"found": None}, "VALUE_INVALID"),
    ),
    _case(
        "an-audit-after-no-cursor",
        ask('{ found: adminAudit(after: "x") { nodes { id } } }'),
        partly({"found": None}, "CURSOR_INVALID"),
    ),
)
