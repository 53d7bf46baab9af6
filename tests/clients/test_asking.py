"""The examples of schema/ASKING.md, sent as they are printed: each is answered, and finds something."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from tests.servers.process import ROOT

if TYPE_CHECKING:
    from tests.servers.process import Server

_TEXT: Final = (ROOT / "schema" / "ASKING.md").read_text()
_QUERIES: Final = re.findall(r"^```graphql\n(.*?)^```$", _TEXT, re.MULTILINE | re.DOTALL)
_COMMANDS: Final = re.findall(r"^\$ (curl .*?)^```$", _TEXT, re.MULTILINE | re.DOTALL)


def name_of(query: str) -> str:
    """The name of an operation."""
    return query.split()[1].partition("(")[0]


@pytest.mark.parametrize("query", _QUERIES, ids=name_of)
def test_an_example_is_answered(server: Server, query: str) -> None:
    """Only lists of changes may be empty: nobody has changed an order of this server."""
    answer: dict[str, Any] = httpx.post(server.graphql, json={"query": query}).json()
    assert "errors" not in answer
    lists = [part[kind] for part in answer["data"].values() if part for kind in ("nodes", "groups") if kind in part]
    assert lists
    assert all(lists) or name_of(query) == "ChangedToday"


@pytest.mark.parametrize("command", _COMMANDS)
def test_a_command_exports_what_it_says(server: Server, command: str) -> None:
    """The lines of nodes, and the one that says whether more follow."""
    words = shlex.split(command.replace("\\\n", " "))
    headers = dict(words[place + 1].split(": ") for place, word in enumerate(words) if word == "-H")
    url = f"{server.url}/{words[2].partition('/')[2]}"
    answer = httpx.post(url, headers=headers, content=words[words.index("-d") + 1])
    *nodes, end = [json.loads(line) for line in answer.text.splitlines()]
    assert len(nodes) > 100
    assert nodes[0]["customer"]["name"]
    assert end["pageInfo"]["hasNextPage"] is False
