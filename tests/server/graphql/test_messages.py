"""Messages about a client's values: in the words of GraphQL and JSON, whatever the client sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pytest
from graphql import GraphQLNonNull, GraphQLObjectType, get_named_type, is_composite_type
from hypothesis import given, settings
from hypothesis import strategies as st

from schema import build_schema
from schema.messages.values import quoted
from server.http.error_response import present
from tests.schema.recording import RecordingAdministration, context
from tests.support.examples import examples

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = build_schema()
CORE = SCHEMA._schema  # noqa: SLF001 # Strawberry has no public name for it
# No value below contains any of these, so a message with one of them has it from Python.
PYTHON: Final = re.compile(
    r"None|True|False|Undefined|NaN|[{\[(,]\s*'|'\s*[:\]}]|\bdict\b|\bobject at\b|Error\b|\\x|\(\)"
)
NAMES: Final = sorted(
    {"nothing", *(name for type_ in CORE.type_map.values() for name in getattr(type_, "fields", {}) if len(name) < 12)}
)
VALUES: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text("xyz\n\"'", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=8,
)


def fields() -> Iterator[tuple[str, str, str, str]]:
    """Every argument of a root field: the type of the operation, the field, the argument and its type."""
    for operation, root in (("query", CORE.query_type), ("mutation", CORE.mutation_type)):
        assert isinstance(root, GraphQLObjectType)
        for name, field in root.fields.items():
            for argument, one in field.args.items():
                yield operation, name, argument, str(one.type)


ARGUMENTS: Final = sorted(fields())


def document(operation: str, name: str, argument: str, type_: str) -> str:
    """A document that passes one variable to one argument."""
    root = CORE.query_type if operation == "query" else CORE.mutation_type
    assert root
    field = root.fields[name]
    others = " ".join(
        f"{other}: {'1' if 'BigInt' in str(one.type) else 'x'}"
        for other, one in field.args.items()
        if other != argument and isinstance(one.type, GraphQLNonNull)
    )
    selection = " { __typename }" if is_composite_type(get_named_type(field.type)) else ""
    return f"{operation}($v: {type_}) {{ {name}({argument}: $v {others}){selection} }}"


async def messages(text: str, **variables: object) -> list[str]:
    """The messages of a document's errors, to a caller who may explore the schema and to one who may not."""
    result = await SCHEMA.execute(text, variable_values=variables, context_value=context(RecordingAdministration()))
    if not result.errors or result.data is not None:
        return []
    return [error["message"] for explores in (True, False) for error in present(result, explores=explores)[0]["errors"]]


@pytest.mark.faults
@settings(max_examples=examples(300, many=3000), deadline=None)
@given(argument=st.sampled_from(ARGUMENTS), value=VALUES)
async def test_no_message_speaks_python(argument: tuple[str, str, str, str], value: object) -> None:
    """For every argument of the schema, and any value in its place."""
    for message in await messages(document(*argument), v=value):
        assert not PYTHON.search(message), message


@pytest.mark.parametrize(
    ("type_", "value", "message"),
    [
        ("BigInt!", None, "Expected value of non-null type 'BigInt!' not to be null."),
        ("SetOrderStatusInput!", {"orderKey": 1}, "to include required field 'status', found: {\"orderKey\": 1}."),
        ("SetOrderStatusInput!", ["it's", True, None], "Expected value of type 'SetOrderStatusInput' to be an object"),
        ("Int", True, "Int cannot represent non-integer value: true"),
        ("Int", "it's", 'Int cannot represent non-integer value: "it\'s"'),
        ("Int", 2**31, "Int cannot represent non 32-bit signed integer value: 2147483648"),
        ("String", {"eq": None}, 'String cannot represent a non string value: {"eq": null}'),
        ("ID!", [False], "ID cannot represent value: [false]"),
        ("Boolean", 0, "Boolean cannot represent a non boolean value: 0"),
        ("OrderStatus!", True, "Enum 'OrderStatus' cannot represent non-string value: true."),
        ("OrderFilter", {"nothing": None}, "not to include unknown field 'nothing', found: {\"nothing\": null}."),
    ],
)
async def test_a_value_is_quoted_in_json(type_: str, value: object, message: str) -> None:
    """As the client sent it."""
    uses: dict[str, str] = {
        "BigInt!": "order(orderKey: $v) { id }",
        "SetOrderStatusInput!": "setOrderStatus(input: $v) { replayed }",
        "Int": "orders(first: $v) { __typename }",
        "String": "orders(after: $v) { __typename }",
        "ID!": "node(id: $v) { id }",
        "Boolean": "ordersPage(includeCount: $v) { __typename }",
        "OrderStatus!": "setOrderStatus(input: {orderKey: 1, status: $v}) { replayed }",
        "OrderFilter": "orders(filter: $v) { __typename }",
    }
    operation = "mutation" if "setOrderStatus" in uses[type_] else "query"
    found = await messages(f"{operation}($v: {type_}) {{ {uses[type_]} }}", v=value)
    assert any(message in one for one in found), found


async def test_a_null_in_a_list_of_a_document_is_told_in_the_same_words() -> None:
    """A variable with a default may be null all the same. Then the argument is refused, when the field is resolved."""
    result = await SCHEMA.execute(
        'query($v: ID = "x") { nodes(ids: [$v]) { id } }',
        variable_values={"v": None},
        context_value=context(RecordingAdministration()),
    )
    (error,) = present(result)[0]["errors"]
    assert error["extensions"]["reason"] == "VARIABLES_INVALID"
    assert error["message"].endswith("not to be null.")
    assert not PYTHON.search(error["message"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "{}"),
        ([], "[]"),
        ([{"a": {"b": 1}}], '[{"a": {...}}]'),
        ([[[]]], "[[[]]]"),
        ([*range(11)], "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...]"),
        ("x" * 101, f'"{"x" * 100}..."'),
        ("é\n", '"é\\n"'),
        (1.5, "1.5"),
    ],
)
def test_a_long_value_is_shortened(value: Any, text: str) -> None:
    """A person reads no more of it, and there may be a message for each of a thousand mistakes."""
    assert quoted(value) == text


async def test_a_name_that_the_platform_does_not_allow_is_quoted_in_json() -> None:
    """With its quotation marks and line breaks."""
    result = await SCHEMA.execute(
        "query($v: String!) { databaseInstance(name: $v) { id } }",
        variable_values={"v": "it's\n"},
        context_value=context(RecordingAdministration()),
    )
    (error,) = present(result)[0]["errors"]
    assert error["message"].startswith('"it\'s\\n" is not a valid instance name')
