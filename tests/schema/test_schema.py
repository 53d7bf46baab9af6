"""The printed schema: what frontends build against, described throughout, changed only on purpose."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
from graphql import (
    GraphQLNamedType,
    GraphQLSchema,
    is_enum_type,
    is_input_object_type,
    is_interface_type,
    is_introspection_type,
    is_non_null_type,
    is_object_type,
    is_specified_scalar_type,
    print_schema,
)

from schema import build_schema
from schema.admin.plans import AdminErrorCode
from schema.errors import (
    ApiError,
    ForbiddenError,
    InputError,
    PlatformError,
    Reason,
    RequestError,
    UnavailableError,
)
from schema.graph import TABLES
from schema.orders.mutations import UserErrorCode
from tests.servers.process import ROOT
from tests.support.tables import error_table

SDL = ROOT / "schema" / "schema.graphql"


def core_schema() -> GraphQLSchema:
    """The schema as graphql-core has it."""
    return build_schema(tables=TABLES)._schema  # noqa: SLF001 # Strawberry has no public name for it


def test_the_schema_is_the_one_that_is_checked_in() -> None:
    """A change of the schema is seen in its file (`make sdl`), where a reviewer sees it too."""
    assert build_schema(tables=TABLES).as_str() + "\n" == SDL.read_text()


def own_types() -> list[GraphQLNamedType]:
    """All types but GraphQL's own."""
    return [
        type_
        for type_ in core_schema().type_map.values()
        if not is_introspection_type(type_) and not is_specified_scalar_type(type_)
    ]


@pytest.mark.parametrize("type_", own_types(), ids=lambda type_: type_.name)
def test_everything_is_described(type_: GraphQLNamedType) -> None:
    """Every type, field, argument, input field and enum value says what it is."""
    undescribed = [] if type_.description else [type_.name]
    if is_object_type(type_) or is_interface_type(type_):
        for name, field in type_.fields.items():
            undescribed += [] if field.description else [f"{type_.name}.{name}"]
            undescribed += [f"{type_.name}.{name}({arg})" for arg, one in field.args.items() if not one.description]
    elif is_input_object_type(type_):
        undescribed += [f"{type_.name}.{name}" for name, one in type_.fields.items() if not one.description]
    elif is_enum_type(type_):
        undescribed += [f"{type_.name}.{name}" for name, value in type_.values.items() if not value.description]
    assert undescribed == []


def test_only_connections_are_called_connection() -> None:
    """Relay reserves the ending: such a type has edges and pageInfo."""
    for type_ in own_types():
        if type_.name.endswith("Connection"):
            assert is_object_type(type_)
            assert {"edges", "pageInfo"} <= type_.fields.keys()


# Fields that may not be null. Their arguments are never refused in `errors` while other fields have data.
NEVER_REFUSED = {
    # What is wrong with their inputs is a user error, in the payload.
    "Mutation.setOrderStatus",
    "Mutation.clearOrderStatus",
    "Mutation.setOrderStatuses",
    # A subscription has one root field, and is refused before its first event.
    "Subscription.operationProgress",
}


def test_a_refused_argument_nulls_its_own_field_only() -> None:
    """A field with arguments is nullable, on every type: otherwise the refusal nulls the object around it too."""
    found = {
        f"{type_.name}.{name}"
        for type_ in own_types()
        if is_object_type(type_) or is_interface_type(type_)
        for name, field in type_.fields.items()
        if field.args and is_non_null_type(field.type)
    }
    assert found == NEVER_REFUSED


def test_a_failing_root_field_leaves_the_others_alone() -> None:
    """Every root field of a query is nullable."""
    query = core_schema().query_type
    assert query is not None
    assert [name for name, field in query.fields.items() if is_non_null_type(field.type)] == []


def group_keys(**options: Any) -> tuple[set[str], set[str]]:
    """What orders can be grouped by in a schema, and the fields of a group."""
    schema = build_schema(**options)._schema  # noqa: SLF001 # as above
    by, group = schema.type_map["OrderGroupBy"], schema.type_map["OrderGroup"]
    assert is_enum_type(by)
    assert is_object_type(group)
    return {*by.values}, {*group.fields}


def test_orders_are_grouped_only_by_what_is_served() -> None:
    """A key of a table that is not served, or of a hidden field, is neither in the enum nor in the group."""
    own, of_orders = group_keys()
    assert own == {"STATUS", "PRIORITY", "CLERK", "CUSTOMER", "ORDER_YEAR", "ORDER_MONTH", "ORDER_DAY"}
    assert not of_orders & {"nation", "marketSegment"}
    segments, of_customers = group_keys(tables=["customers"])
    assert segments - own == {"MARKET_SEGMENT"}
    assert of_customers - of_orders == {"marketSegment"}
    # Without customers nations are of no use.
    assert group_keys(tables=["nations"]) == (own, of_orders)
    everything, all_fields = group_keys(tables=["customers", "nations"])
    assert everything - segments == {"NATION"}
    assert all_fields - of_customers == {"nation"}
    visible, fields = group_keys(hidden_fields=["Order.clerk"])
    assert own - visible == {"CLERK"}
    assert of_orders - fields == {"clerk"}


@pytest.mark.parametrize("hidden", ["comment", "clerk"])
def test_a_hidden_field_is_gone_from_order_and_filter(hidden: str) -> None:
    """A sensitive field that a setting leaves out can neither be read nor guessed by filtering."""
    schema = build_schema(hidden_fields={f"Order.{hidden}"})._schema  # noqa: SLF001 # as above
    order, filter_ = schema.type_map["Order"], schema.type_map["OrderFilter"]
    assert is_object_type(order)
    assert is_input_object_type(filter_)
    assert hidden not in order.fields
    assert hidden not in filter_.fields
    assert hidden in print_schema(core_schema())


def test_the_schema_stands_without_the_server() -> None:
    """Building the schema loads nothing of the server, no driver, and no cloud."""
    program = (
        "import sys, schema; schema.build_schema(); "
        "print(sorted({name.split('.')[0] for name in sys.modules} & "
        "{'server', 'starlette', 'sqlalchemy', 'asyncpg', 'databricks', 'pydantic'}))"
    )
    shown = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_the_error_table_stands_in_the_readme() -> None:
    """The README's table of errors is the one that the code answers with."""
    assert error_table() in (ROOT / "schema/README.md").read_text()


def test_descriptions_stand_by_themselves() -> None:
    """A user of GraphiQL has the schema only: no description refers to a README or to a file of this repository."""
    printed = print_schema(core_schema())
    assert re.findall(r"(?i)\breadme\b|\b[\w/]+\.(?:md|py)\b", printed) == []


def test_every_refusal_has_its_code() -> None:
    """What the table says stands in `userErrors` is a code there, of changes or of administration, and nothing else is."""
    codes = [code.value for code in (*UserErrorCode, *AdminErrorCode)]
    assert len(codes) == len(set(codes))
    assert set(codes) == {reason for reason in Reason if "userErrors" in reason.value.where}


def test_every_reason_is_one_class_of_error_or_none() -> None:
    """No two classes explain the same reason, and an error of another class cannot be raised by mistake."""
    for reason in Reason:
        classes = [
            one
            for one in (RequestError, InputError, ForbiddenError, PlatformError, UnavailableError)
            if reason in one.reasons
        ]
        assert len(classes) <= 1
    with pytest.raises(ValueError, match="does not explain"):
        InputError(Reason.POOL_EXHAUSTED, "")
    assert issubclass(InputError, ApiError)
