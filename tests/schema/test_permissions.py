"""Roles: every root field and every Node type needs one, and none can be bypassed."""

from __future__ import annotations

import pytest
from graphql import is_object_type
from strawberry.utils.str_converters import to_camel_case

from schema import build_schema
from schema.access import Requires
from schema.errors import ForbiddenError
from schema.graph import TABLES
from schema.nodes import NODE_TYPES
from schema.permissions import NOBODY, Principal, Role
from schema.relay.node import Node

SCHEMA = build_schema(tables=TABLES)
CORE = SCHEMA._schema  # noqa: SLF001 # Strawberry has no public name for it
ROOTS = {
    "query": Role.READER,
    "mutation": Role.WRITER,
    "subscription": Role.READER,
}
ADMINISTRATION = {
    "lakebase",
    "database_instances",
    "database_instance",
    "database_catalog",
    "synced_table",
    "operation",
    "operations",
    "admin_audit",
    "create_database_instance",
    "update_database_instance",
    "delete_database_instance",
    "undelete_database_instance",
    "create_database_branch",
    "update_database_branch",
    "delete_database_branch",
    "undelete_database_branch",
    "restore_database",
    "create_database_snapshot",
    "delete_database_snapshot",
    "create_database_catalog",
    "delete_database_catalog",
    "create_synced_table",
    "delete_synced_table",
    "refresh_synced_table",
    "ensure_indexes",
    "provision_lakebase",
    "teardown_lakebase",
    "cancel_operation",
    "operation_progress",
}


def root_fields() -> list[tuple[str, str, list[Role]]]:
    """Every root field: its operation, its name, and the roles that it needs."""
    found = []
    for operation in ROOTS:
        type_ = getattr(SCHEMA, operation)
        found += [
            (operation, field.python_name, [one.role for one in field.extensions if isinstance(one, Requires)])
            for field in type_.__strawberry_definition__.fields
        ]
    return found


@pytest.mark.parametrize(("operation", "name", "roles"), root_fields())
def test_every_root_field_names_its_role(operation: str, name: str, roles: list[Role]) -> None:
    """Exactly one: that of its operation, or the administrator's."""
    assert roles == [Role.ADMIN if name in ADMINISTRATION else ROOTS[operation]]


def test_no_root_field_is_overlooked() -> None:
    """The fields checked here are all fields of the schema."""
    served = {(operation, name) for operation in ROOTS for name in getattr(CORE, f"{operation}_type").fields}
    assert {(operation, to_camel_case(name)) for operation, name, _ in root_fields()} == served
    assert {name for _, name, _ in root_fields()} >= ADMINISTRATION


def test_every_node_type_names_its_role() -> None:
    """And `node` knows every type that implements Node."""
    interface = CORE.type_map["Node"]
    served = {name for name, type_ in CORE.type_map.items() if is_object_type(type_) and interface in type_.interfaces}
    assert served == NODE_TYPES.keys()
    for kind in NODE_TYPES.values():
        assert issubclass(kind, Node)
        assert isinstance(kind.role, Role)


@pytest.mark.parametrize(
    ("held", "demanded", "allowed"),
    [
        (Role.READER, Role.READER, True),
        (Role.READER, Role.WRITER, False),
        (Role.WRITER, Role.READER, True),
        (Role.WRITER, Role.ADMIN, False),
        (Role.ADMIN, Role.READER, True),
        (Role.ADMIN, Role.ADMIN, True),
    ],
)
def test_a_role_includes_those_before_it(*, held: Role, demanded: Role, allowed: bool) -> None:
    """A writer reads, a reader does not write."""
    principal = Principal("somebody", frozenset({held}))
    if allowed:
        principal.demand(demanded)
    else:
        with pytest.raises(ForbiddenError, match=demanded.name.lower()):
            principal.demand(demanded)


def test_nobody_may_do_nothing() -> None:
    """An unknown caller has no role."""
    with pytest.raises(ForbiddenError, match="no role"):
        NOBODY.demand(Role.READER)
