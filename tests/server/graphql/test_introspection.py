"""Which callers see the schema, and what error messages reveal to callers who may not explore."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from graphql import GraphQLError, Lexer, Source, TokenKind, get_introspection_query, is_scalar_type
from hypothesis import given, settings
from hypothesis import strategies as st
from strawberry.types.execution import PreExecutionError

from schema import DocumentLimits, build_schema
from schema.messages.names import PUBLIC, known_names
from schema.permissions import Role
from server.graphql.introspection import (
    ExploredBy,
    IntrospectionAnswers,
    IntrospectionPolicy,
    IntrospectionTurns,
    may_explore,
)
from server.http.error_response import present
from tests.schema.limits.test_scans import LARGE, UNINDEXED
from tests.schema.recording import RecordingAdministration, context
from tests.server.graphql.test_messages import ARGUMENTS, CORE, VALUES
from tests.server.graphql.test_messages import document as argument_document
from tests.support.calibration import hold
from tests.support.examples import examples
from tests.support.work import counted, processor_seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strawberry import Schema

    from schema.ports.statistics import TableStatistics

INTROSPECTION = get_introspection_query()
ASKED = [
    INTROSPECTION,
    "{ __schema { queryType { name } } }",
    '{ harmless: __type(name: "Order") { name } }',
    '{ ...F } fragment F on Query { ... { x: __type(name: "Order") { name } } }',
    "query($no: Boolean = false) { __typename __schema @include(if: $no) { queryType { name } } }",
    "query A { __typename } fragment F on Query { __schema { queryType { name } } }",
    "{__schema{nothing}}",
    "{ a:__schema\n{ queryType { name } } b: __typename }",
    "mutation { __schema { queryType { name } } }",
    '{ __typename # __type\n __type\n(name: "Order") { name } }',
]
NOT_ASKED = [
    "{ __typename }",
    '{ __typename s: node(id: "__schema") { __typename } }',
    "query __schema { __type: __typename }",
]
WRONG = {
    "field": "{ ordrs { nodes { id } } }",
    "inline fragment": "{ node(id: 1) { orderKey } }",
    "argument": "{ orders(frst: 1) { nodes { id } } }",
    "type": "query($f: OrderFiltr) { orders(filter: $f) { nodes { id } } }",
    "type condition": "{ node(id: 1) { ... on Ordr { id } } }",
    "enum value": "{ orders(orderBy: {field: ORDER_KE}) { nodes { id } } }",
    "enum value as text": '{ orders(orderBy: {field: "ORDER_KEY"}) { nodes { id } } }',
    "input field": "{ orders(filter: {orderKy: {eq: 1}}) { nodes { id } } }",
    "argument of a directive": "{ __typename @include(if: true, iff: true) }",
    "subselection": "{ orders }",
}
WITH_VARIABLES: dict[str, tuple[str, dict[str, object]]] = {
    "enum value": ("query($by: OrderOrder) { orders(orderBy: $by) { nodes { id } } }", {"by": {"field": "ORDER_KE"}}),
    "input field": ("query($f: OrderFilter) { orders(filter: $f) { nodes { id } } }", {"f": {"orderKy": {"eq": 1}}}),
}
# Each has an error that names something of the schema which it does not name itself.
NAMING: dict[str, tuple[str, dict[str, object]]] = {
    "field": ("{ orders { edges { foo } } }", {}),
    "subselection": ("{ orders }", {}),
    "no subselection": ("{ orders { nodes { status { foo } } } }", {}),
    "argument": ("{ orders { edges { cursor(foo: 1) } } }", {}),
    "required argument": ("{ order { id } }", {}),
    "variable of another type": ("query($v: Boolean) { orders(filter: $v) { __typename } }", {}),
    "a list in place of an object": ("{ orders(filter: [[1]]) { __typename } }", {}),
    "input field": ("{ orders(filter: {foo: 1}) { __typename } }", {}),
    "required input field": ("mutation { setOrderStatus(input: {orderKey: 1}) { __typename } }", {}),
    "enum value": ("{ orders(orderBy: {field: FOO}) { __typename } }", {}),
    "enum value as text": ('{ orders(orderBy: {field: "FOO"}) { __typename } }', {}),
    "spread": ("{ orders { ... on PageInfo { hasNextPage } } }", {}),
    "conflict": ('{ node(id: "a") { ... on Order { x: status } ... on Operation { x: state } } }', {}),
    "variable: no object": ("query($v: OrderOrder) { orders(orderBy: $v) { __typename } }", {"v": {"field": 1}}),
    "variable: input field": (
        "query($v: OrderFilter) { orders(filter: $v) { __typename } }",
        {"v": {"status": {"x": 1}}},
    ),
    "variable: required input field": (
        "mutation($v: SetOrderStatusesInput!) { setOrderStatuses(input: $v) { __typename } }",
        {"v": {"changes": [{"orderKey": 1}]}},
    ),
    "variable: enum value": (
        "query($v: OrderOrder) { orders(orderBy: $v) { __typename } }",
        {"v": {"field": "FOO", "direction": "ASC"}},
    ),
    "default value": ("query($v: OrderOrder = {field: FOO}) { orders(orderBy: $v) { __typename } }", {}),
}
STRINGS = '''{ a(b: "c # d", e: """f " g "" h \\""" i""", j: "", k: """""") # l "m
  n(o: "p \\" q \\\\") r }'''
# Both cost more than a caller may spend, for want of an index.
EXPENSIVE = [
    '{ orders(filter: {clerk: {eq: "x"}}) { nodes { id } } }',
    "{ orders(orderBy: {field: ORDER_DATE}, filter: {orderPriority: {eq: NOT_SPECIFIED}}) { nodes { id } } }",
]
# Names that no English text has: `OrderFilter`, `orderKey`, `TOTAL_PRICE`.
_DISTINCT = re.compile(r"[A-Za-z]+[a-z][A-Z]\w*|[A-Z]+_[A-Z_]+")
LONG = " Did you mean " * 100_000


def names(text: str) -> set[str]:
    """The names in a text."""
    return set(re.findall(r"\w+", text))


def _all_names() -> Iterator[str]:
    for type_ in CORE.type_map.values():
        yield type_.name
        for name, field in getattr(type_, "fields", {}).items():
            yield name
            yield from getattr(field, "args", {})
        yield from getattr(type_, "values", {})


SECRETS = {name for name in _all_names() if _DISTINCT.fullmatch(name)}


@functools.cache
def schema() -> Schema:
    """A server's schema, which has answered other callers before."""
    return build_schema(extensions=[IntrospectionPolicy], plans=True)


async def answer(explored_by: ExploredBy, role: Role, document: str, **variables: object) -> dict[str, Any]:
    """The answer to a caller with this role."""
    asked = context(RecordingAdministration(), role)
    explores = may_explore(asked.principal, explored_by)
    result = await schema().execute(
        document, variable_values=variables, context_value=replace(asked, explores=explores)
    )
    return present(result, explores=explores, query=document, variables=variables)[0]


@pytest.mark.parametrize("document", ASKED)
@pytest.mark.parametrize(("explored_by", "role"), [("off", Role.ADMIN), ("admin", Role.WRITER)])
async def test_the_schema_is_not_shown_to_those_who_may_not_see_it(
    explored_by: ExploredBy, role: Role, document: str
) -> None:
    """No alias, fragment or directive gets around it, and nothing of the document is executed."""
    told = await answer(explored_by, role, document)
    assert [error["extensions"]["reason"] for error in told["errors"]] == ["INTROSPECTION_DISABLED"]
    assert [error["extensions"]["code"] for error in told["errors"]] == ["GRAPHQL_VALIDATION_FAILED"]
    assert "data" not in told


@pytest.mark.parametrize(("explored_by", "role"), [("on", Role.READER), ("admin", Role.ADMIN)])
async def test_it_is_shown_to_those_who_may(explored_by: ExploredBy, role: Role) -> None:
    """The standard introspection query is answered in full."""
    told = await answer(explored_by, role, INTROSPECTION)
    assert "errors" not in told
    assert {"Order", "__Schema"} <= {type_["name"] for type_ in told["data"]["__schema"]["types"]}


@pytest.mark.parametrize("document", NOT_ASKED)
async def test_a_type_s_name_is_no_secret(document: str) -> None:
    """Clients' caches need `__typename`. Other names with underscores mean nothing unless they are fields."""
    told = await answer("off", Role.READER, document)
    assert told["data"]["__typename" if "__typename" in told["data"] else "__type"] == "Query"


@pytest.mark.parametrize("document", WRONG.values(), ids=WRONG)
async def test_nothing_is_suggested_to_those_who_may_not_explore(document: str) -> None:
    """The error says what is wrong and where, and suggests nothing, although another caller has just had a suggestion."""
    (told,) = (await answer("on", Role.READER, document))["errors"]
    (less,) = (await answer("off", Role.READER, document))["errors"]
    assert "Did you mean" in told["message"]
    assert "Did you mean" not in less["message"]
    assert less["message"]
    assert {**less, "message": ""} == {**told, "message": ""}
    assert (await answer("on", Role.READER, document))["errors"] == [told]


@pytest.mark.parametrize(("document", "variables"), WITH_VARIABLES.values(), ids=WITH_VARIABLES)
async def test_nor_where_a_variable_is_wrong(document: str, variables: dict[str, object]) -> None:
    """Errors in variables are found after validation, and have other messages."""
    (told,) = (await answer("on", Role.READER, document, **variables))["errors"]
    (less,) = (await answer("admin", Role.WRITER, document, **variables))["errors"]
    assert "Did you mean" in told["message"]
    assert "Did you mean" not in less["message"]
    assert less["extensions"]["reason"] == "VARIABLES_INVALID"


@pytest.mark.parametrize(
    ("message", "less"),
    [
        ("Unknown type 'x'. Did you mean 'y' or 'z'?", "Unknown type 'x'."),
        ("No field 'x'. Did you mean 'y'? Found: {}.", "No field 'x'. Found: {}."),
        ("'a Did you mean ' is none. Did you mean 'y'?", "'a"),
        ("'a Did you mean b?' is none. Did you mean 'y'?", "'a' is none."),
        ("'? Did you mean ?' Did you mean 'y'?", "'?'"),
    ],
)
def test_no_wording_of_a_caller_s_own_saves_a_suggestion(message: str, less: str) -> None:
    """A message quotes the client's text, which may look like a suggestion."""
    result = PreExecutionError(data=None, errors=[GraphQLError(message)])
    assert present(result, query="x a b")[0]["errors"][0]["message"] == less
    assert present(result, explores=True)[0]["errors"][0]["message"] == message


@pytest.mark.parametrize(("document", "variables"), NAMING.values(), ids=NAMING)
async def test_no_message_names_what_the_caller_did_not(document: str, variables: dict[str, object]) -> None:
    """A caller who may explore is told the names of types, arguments, fields and values; others only their own."""
    told = (await answer("on", Role.READER, document, **variables))["errors"]
    less = (await answer("off", Role.READER, document, **variables))["errors"]
    own = names(f"{document} {json.dumps(variables)}") | PUBLIC
    assert any(names(error["message"]) & SECRETS - own for error in told)
    assert not any(names(error["message"]) & SECRETS - own for error in less), less
    assert all("\u2026" in error["message"] for error in less)
    assert [{**error, "message": ""} for error in less] == [{**error, "message": ""} for error in told]


@pytest.mark.parametrize(
    ("document", "variables", "message"),
    [
        (WRONG["field"], {}, "Cannot query field 'ordrs' on type 'Query'."),
        ("{ orders { nodes { foo } } }", {}, "Cannot query field 'foo' on type '\u2026'."),
        ("{ orders(frst: 1) { __typename } }", {}, "Unknown argument 'frst' on field 'Query.orders'."),
        (
            "{ order { id } }",
            {},
            "Argument 'Query.order(\u2026:)' of type 'BigInt!' is required, but it was not provided.",
        ),
        (
            *WITH_VARIABLES["enum value"],
            "Variable '$by' has invalid value at .field: Value 'ORDER_KE' does not exist in '\u2026' enum.",
        ),
    ],
)
async def test_what_the_caller_sent_is_named(document: str, variables: dict[str, object], message: str) -> None:
    """So are scalars and the root types, so that a person can still see what is wrong."""
    (less,) = (await answer("off", Role.READER, document, **variables))["errors"]
    assert less["message"] == message


@pytest.mark.parametrize("text", ["it's", "' '", "'a", "a' 'b", "'", "''"])
async def test_quotation_marks_of_a_caller_reveal_no_name(text: str) -> None:
    """A message quotes the client's text between the same marks as the names of the schema."""
    document = "query($v: OrderOrder) { orders(orderBy: $v) { __typename } }"
    (less,) = (await answer("off", Role.READER, document, v={"field": text}))["errors"]
    assert "OrderSortField" not in less["message"]
    assert text in less["message"] or "\u2026" in less["message"]


@pytest.mark.parametrize(
    "document",
    [
        "mutation { setOrderStatus(input: {}) { x } } # status SetOrderStatusInput SetOrderStatusPayload",
        'mutation { setOrderStatus(input: {idempotencyKey: "status SetOrderStatusInput"}) { x } }',
        'mutation { setOrderStatus(input: {idempotencyKey: """"status\n\\""" SetOrderStatusInput"""}) { x } }',
        'mutation { setOrderStatus(input: {idempotencyKey: "\\" status SetOrderStatusInput"}) { x } }',
    ],
)
async def test_guesses_where_no_name_means_anything_are_not_confirmed(document: str) -> None:
    """A comment or a string may list any number of names."""
    told = [
        error["message"].partition(", found: ")[0] for error in (await answer("off", Role.WRITER, document))["errors"]
    ]
    assert "Expected value of type '\u2026' to include required field '\u2026'" in told
    assert "Cannot query field 'x' on type '\u2026'." in told


async def test_a_guess_in_a_variable_is_not_confirmed() -> None:
    """A value that looks like an enum's is named; any other text could be a guess."""
    document = "query($v: OrderOrder) { orders(orderBy: $v) { __typename } }"
    guesses = {"field": "FOO", "direction": "OrderSortField"}
    told = " ".join(error["message"] for error in (await answer("off", Role.READER, document, v=guesses))["errors"])
    assert "'FOO'" in told
    assert "OrderSortField" not in told


@pytest.mark.parametrize(
    "document", [*(text for text, _ in NAMING.values()), *WRONG.values(), *ASKED, *NOT_ASKED, STRINGS]
)
def test_the_names_of_a_document_are_those_that_it_uses(document: str) -> None:
    """As graphql-core reads it."""
    lexer = Lexer(Source(document))
    used = set(PUBLIC)
    while (token := lexer.advance()).kind is not TokenKind.EOF:
        used |= {str(token.value)} if token.kind is TokenKind.NAME else set()
    assert {*known_names(document, {})} - {""} == used


@pytest.mark.parametrize("text", ['"', '"""', "#", '"a\\', '"""a"', '""" \\"'])
def test_what_is_left_open_hides_the_rest(text: str) -> None:
    """A long document is read up to some length, which may be in a string."""
    assert {*known_names(f"{{ a {text} b", {})} - {""} == PUBLIC | {"a"}


@pytest.mark.parametrize("known", [LARGE, UNINDEXED])
@pytest.mark.parametrize("document", EXPENSIVE)
async def test_the_advice_on_a_cost_names_only_what_the_caller_did(document: str, known: TableStatistics) -> None:
    """Admins are told the rest, and callers who may explore: a mutation, or the conditions that an index serves."""
    limited = build_schema(plans=True, limits=DocumentLimits(cost=100))

    async def told(explored_by: ExploredBy, role: Role) -> str:
        asked = replace(context(RecordingAdministration(), role), statistics=lambda _table: known)
        result = await limited.execute(document, context_value=asked)
        explores, is_admin = may_explore(asked.principal, explored_by), role is Role.ADMIN
        (error,) = present(result, explores=explores, is_admin=is_admin, query=document)[0]["errors"]
        assert error["extensions"]["reason"] == "COST_EXCEEDED"
        return str(error["message"])

    everything, less = await told("on", Role.READER), await told("admin", Role.WRITER)
    assert names(everything) & SECRETS - names(document)
    assert not names(less) & SECRETS - names(document), less
    assert "No index serves" in less
    assert await told("off", Role.ADMIN) == everything


@pytest.mark.faults
@settings(max_examples=examples(200, many=3000), deadline=None)
@given(argument=st.sampled_from(ARGUMENTS), value=VALUES)
async def test_no_value_of_any_argument_reveals_a_name(argument: tuple[str, str, str, str], value: object) -> None:
    """For every argument of the schema, and any value in its place."""
    text = argument_document(*argument)
    told = await answer("off", Role.READER, text, v=value)
    own = names(f"{text} {json.dumps(value)}") | PUBLIC
    for error in told.get("errors", []):
        if error["extensions"]["reason"] in {"DOCUMENT_INVALID", "VARIABLES_INVALID"}:
            assert not names(error["message"]) & SECRETS - own, error


def test_the_scalars_that_are_named_are_those_of_the_schema() -> None:
    """A new one is named too, because its name says how to write a value."""
    scalars = {name for name, type_ in CORE.type_map.items() if is_scalar_type(type_)}
    assert scalars | {"Float", "Query", "Mutation", "Subscription"} == PUBLIC


async def test_an_introspection_is_executed_once_for_all_callers() -> None:
    """Its answer is remembered by its document and variables, and has the same bytes."""
    answers = IntrospectionAnswers()
    asked = build_schema(extensions=[IntrospectionPolicy, lambda: IntrospectionTurns(answers)])
    explorer = replace(context(RecordingAdministration(), Role.READER), explores=True)

    async def ask(document: str, **variables: object) -> tuple[bytes, int]:
        with counted() as work:
            result = await asked.execute(document, variable_values=variables, context_value=explorer)
            body = orjson.dumps(present(result)[0])
        return body, work.calls

    (first, calls), (again, fewer) = await ask(INTROSPECTION), await ask(INTROSPECTION)
    assert again == first
    assert fewer < calls / 20
    (order,), (query,) = [
        {(await ask("query($n: String!) { __type(name: $n) { name } }", n=name))[0] for _ in range(2)}
        for name in ("Order", "Query")
    ]
    assert [json.loads(body)["data"]["__type"]["name"] for body in (order, query)] == ["Order", "Query"]
    # Who may not explore gets nothing from memory.
    result = await asked.execute(INTROSPECTION, context_value=context(RecordingAdministration(), Role.READER))
    assert present(result)[0]["errors"][0]["extensions"]["reason"] == "INTROSPECTION_DISABLED"


def test_remembered_introspections_are_bounded() -> None:
    """The answers that were used last are kept."""
    answers = IntrospectionAnswers(most=100)
    for name in "abc":
        answers.add((name, None, b"null"), b"x" * 40)
        answers.get(("a", None, b"null"))
    assert [answers.get((name, None, b"null")) is not None for name in "abc"] == [True, False, True]
    answers.add(("d", None, b"null"), b"x" * 1_000)
    assert answers.get(("d", None, b"null")) is None
    for name in "abc":
        answers.clear()
        answers.add((name, None, b"null"), b"x" * 80)
    assert [answers.get((name, None, b"null")) is not None for name in "abc"] == [False, False, True]


def test_a_long_message_is_looked_through_once() -> None:
    """If each occurrence took another pass over the message, this one would take minutes."""
    result = PreExecutionError(data=None, errors=[GraphQLError(LONG)])
    assert present(result)[0]["errors"][0]["message"] == ""


@pytest.mark.long
def test_a_long_message_is_looked_through_in_no_time() -> None:
    """The time grows with the message's length only."""

    def work() -> None:
        present(PreExecutionError(data=None, errors=[GraphQLError(LONG)]))

    hold("a hundred thousand suggestions in a message, cut out", processor_seconds(work), computing_seconds=0.5)
