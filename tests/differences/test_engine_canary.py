"""The server answers as graphql-core's base executor does. An upgrade of graphql-core may break this."""

from __future__ import annotations

import json
from dataclasses import replace
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from graphql import ExecutionResult, execute, parse
from graphql.execution import Executor

from schema import build_schema
from schema.graph import TABLES
from schema.permissions import Principal, Role
from tests.differences.applications import Application, application
from tests.differences.comparing import queries_of
from tests.differences.corpus import corpus_of
from tests.differences.tables import PADDED, settings_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from graphql import GraphQLSchema

pytestmark = pytest.mark.faults


# Requests with these reasons are refused before execution.
REFUSED = frozenset({"SYNTAX", "DOCUMENT_INVALID", "OPERATION_UNDETERMINED"})


class BaseExecutor(Executor[Any]):
    """graphql-core's executor, but its resolvers get variables as a plain dict, as Strawberry's do."""

    def build_resolve_info(self, *arguments: Any, **keywords: Any) -> Any:
        """Build the info object for a resolver, with the variables as a plain dict."""
        info = super().build_resolve_info(*arguments, **keywords)
        return info._replace(variable_values=self.variable_values.coerced)  # type: ignore[arg-type] # see the class's docstring


async def by_the_base_executor(app: Application, schema: GraphQLSchema, body: Mapping[str, Any]) -> str:
    """graphql-core's response to a request, with the same resolvers."""
    result = execute(
        schema,
        parse(body["query"]),
        context_value=replace(app.context, principal=Principal("local", frozenset({Role.ADMIN}))),
        variable_values=body.get("variables"),
        # The server takes an empty name for no name.
        operation_name=body.get("operationName") or None,
        executor_class=BaseExecutor,
    )
    if isawaitable(result):
        result = await result
    assert isinstance(result, ExecutionResult)
    return summary({"data": result.data, "errors": [{"path": error.path} for error in result.errors or []]})


def summary(answer: Mapping[str, Any]) -> str:
    """The data with its keys in order, and the paths of the errors. A refused request has neither."""
    data, paths = answer.get("data"), [error.get("path") for error in answer.get("errors", ())]
    if data is None and not any(paths):
        return "no data"
    pairs = json.loads(orjson.dumps(data), object_pairs_hook=tuple)
    return f"{pairs!r} {sorted(map(repr, paths))}"


async def test_the_server_answers_as_the_base_executor_does(database_url: str) -> None:
    """A sample of the queries gets the same data, with keys in the same order, and errors in the same places."""
    schema = build_schema(tables=TABLES)._schema  # noqa: SLF001 # graphql-core's schema, to execute directly
    compared = 0
    async with application(database_url, fast=True, **settings_for(PADDED)) as app:
        for query in queries_of(schema, corpus_of(PADDED), first_seed=500_000, share=0.12):
            for body in query.bodies:
                answer = await app.ask(body)
                if REFUSED.isdisjoint(answer.outcomes):
                    expected = await by_the_base_executor(app, schema, body)
                    assert summary(orjson.loads(answer.body)) == expected, f"seed {query.seed}\n{body}\n{answer}"
                    compared += 1
    assert compared > 0
