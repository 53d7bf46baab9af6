"""Reads the refusals of admin mutations in black-box tests, and checks that they changed nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx

from schema.relay.node import encode_global_id
from tests.servers.process import NO_TLS

if TYPE_CHECKING:
    from tests.servers.operator import Operator
    from tests.servers.platform import LocalPlatform
    from tests.servers.process import Server

# The global id of an operation that does not exist.
NOWHERE = encode_global_id("Operation", "00000000-0000-4000-8000-000000000000")

# The server needs credentials to inspect a database.
_CREDENTIALS = {"POST /api/2.0/database/credentials", "POST /api/2.0/postgres/credentials"}


def refused(operator: Operator, mutation: str, given: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a mutation that has to be refused without starting anything, and return its errors."""
    payload = operator.send(mutation, **given)
    assert payload["operation"] is None
    errors: list[dict[str, Any]] = payload["userErrors"]
    assert all(error["message"] and error["field"][0] == "input" for error in errors)
    return errors


def codes_and_fields(errors: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """The code and the field of each error. The field is the path in the input."""
    return [(error["code"], ".".join(error["field"][1:])) for error in errors]


def reasons(answer: dict[str, Any]) -> list[str]:
    """The reasons of a response's errors."""
    return [error["extensions"]["reason"] for error in answer.get("errors", [])]


def changing(platform: LocalPlatform) -> dict[str, int]:
    """How many calls that would change something the platform has received, by kind."""
    requests: dict[str, int] = platform.counters()["requests"]
    return {call: count for call, count in requests.items() if not call.startswith("GET ") and call not in _CREDENTIALS}


def touched(platform: LocalPlatform) -> tuple[dict[str, int], dict[str, list[dict[str, Any]]]]:
    """Those calls and everything that exists on the platform."""
    return changing(platform), platform.inventory()


def audited(server: Server) -> list[tuple[str, str]]:
    """The action and the reason of every refusal in the server's log."""
    lines = [json.loads(line) for line in server.log().splitlines()]
    return [
        (line["action"], line["reason"]) for line in lines if line["event"] == "audit" and line["outcome"] == "REFUSED"
    ]


def progress(server: Server, id_: str) -> list[dict[str, Any]]:
    """All messages of the subscription operationProgress, to its end."""
    body = {"query": f'subscription {{ operationProgress(id: "{id_}") {{ state }} }}'}
    headers = {"accept": "text/event-stream"}
    with httpx.stream("POST", f"{server.graphql}/stream", json=body, headers=headers, verify=NO_TLS) as stream:
        data = [line.removeprefix("data:").strip() for line in stream.iter_lines() if line.startswith("data:")]
    return [json.loads(text) for text in data if text]
