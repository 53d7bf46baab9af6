"""Owns the promises about pages of instances and operations: every cursor goes on exactly where it stands."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schema.ports import administration as ports
from schema.relay.pagination import opaque
from tests.examples import examples
from tests.schema.asked import Asked, answer, instance, operation, reasons, run

INSTANCES = """query($first: Int, $after: String) { databaseInstances(first: $first, after: $after) {
    edges { cursor node { name } } nodes { name }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""
OPERATIONS = """query($first: Int, $after: String) { operations(first: $first, after: $after) {
    edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""


def pages_of(sizes: list[int]) -> tuple[list[str], dict[str | None, ports.InstancePage]]:
    """Names, and the pages of these sizes that they stand on."""
    names = [f"i{number}" for number in range(sum(sizes))]
    pages: dict[str | None, ports.InstancePage] = {}
    taken = 0
    for index, size in enumerate(sizes):
        token = f"to/ken+{index}=" if index else None
        following = f"to/ken+{index + 1}=" if index + 1 < len(sizes) else None
        pages[token] = ports.InstancePage([instance(name) for name in names[taken : taken + size]], following)
        taken += size
    return names, pages


async def page(asked: Asked, document: str, first: int | None, after: str | None = None) -> dict[str, Any]:
    """The one connection of a document."""
    data = await answer(asked, document, first=first, after=after)
    (connection,) = data.values()
    assert isinstance(connection, dict)
    return connection


@pytest.mark.faults
@settings(max_examples=examples(40, many=100))
@given(
    sizes=st.lists(st.integers(0, 5), min_size=1, max_size=6),
    firsts=st.lists(st.integers(1, 7), min_size=1, max_size=4),
)
async def test_a_walk_meets_every_instance_once(sizes: list[int], firsts: list[int]) -> None:
    """In the platform's order, however long its pages are, empty ones too, and whatever `first` changes to."""
    names, pages = pages_of(sizes)
    asked, walked, after = Asked(pages=pages), list[str](), None
    for step in range(len(names) + 1):
        found = await page(asked, INSTANCES, firsts[step % len(firsts)], after)
        walked += [edge["node"]["name"] for edge in found["edges"]]
        assert [node["name"] for node in found["nodes"]] == [edge["node"]["name"] for edge in found["edges"]]
        info = found["pageInfo"]
        assert info["hasPreviousPage"] is (after is not None)
        assert info["hasNextPage"] is (len(walked) < len(names))
        if not info["hasNextPage"]:
            break
        after = info["endCursor"]
    assert walked == names


@pytest.mark.faults
@settings(max_examples=examples(40, many=100))
@given(sizes=st.lists(st.integers(0, 4), min_size=1, max_size=5), data=st.data())
async def test_any_cursor_goes_on_after_its_own(sizes: list[int], data: st.DataObject) -> None:
    """Not only the last of a page."""
    names, pages = pages_of(sizes)
    found = await page(Asked(pages=pages), INSTANCES, 100)
    assert [edge["node"]["name"] for edge in found["edges"]] == names
    for index, edge in enumerate(found["edges"]):
        first = data.draw(st.integers(0, 6))
        rest = await page(Asked(pages=pages), INSTANCES, first, edge["cursor"])
        assert [one["node"]["name"] for one in rest["edges"]] == names[index + 1 :][:first]
        assert rest["pageInfo"]["hasNextPage"] is (index + 1 + first < len(names))


async def test_a_cursor_outlives_its_instance() -> None:
    """Where the one that it stands for is deleted, or another comes before it, the next is still the next."""
    _, pages = pages_of([4])
    after = (await page(Asked(pages=pages), INSTANCES, 2))["pageInfo"]["endCursor"]
    for left in (["i0", "i2", "i3"], ["h9", "i0", "i1", "i2", "i3"]):
        now: dict[str | None, ports.InstancePage] = {None: ports.InstancePage([instance(name) for name in left], None)}
        rest = await page(Asked(pages=now), INSTANCES, None, after)
        assert [edge["node"]["name"] for edge in rest["edges"]] == ["i2", "i3"]


async def test_few_instances_are_one_question() -> None:
    """The platform is asked for its largest page, not once for each of ours."""
    _, pages = pages_of([60])
    asked = Asked(pages=pages)
    found = await page(asked, INSTANCES, None)
    assert asked.questions == [("instances", (100, None))]
    assert len(found["edges"]) == 50
    assert found["pageInfo"]["hasNextPage"]


async def test_a_page_of_none_is_empty() -> None:
    """And still says whether there are any."""
    _, pages = pages_of([1])
    assert await page(Asked(pages=pages), INSTANCES, 0) == {
        "edges": [],
        "nodes": [],
        "pageInfo": {"hasNextPage": True, "hasPreviousPage": False, "startCursor": None, "endCursor": None},
    }


@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 100])
async def test_operations_are_walked_from_the_newest_on(size: int) -> None:
    """Each once; a page of none says that there are some."""
    asked, walked, after = Asked(story=[operation(f"op{number}") for number in range(5)]), list[str](), None
    while True:
        found = await page(asked, OPERATIONS, size, after)
        walked += [edge["node"]["id"] for edge in found["edges"]]
        assert found["pageInfo"]["hasPreviousPage"] is (after is not None)
        after = found["pageInfo"]["endCursor"]
        if not found["pageInfo"]["hasNextPage"] or not size:
            break
    assert len(set(walked)) == len(walked) == (5 if size else 0)
    assert found["pageInfo"]["hasNextPage"] is (size == 0)


async def test_a_forgotten_operation_is_no_place_to_go_on_from() -> None:
    """Else a reader would be given the first page for ever."""
    after = (await page(Asked(story=[operation("gone"), operation("kept")]), OPERATIONS, 1))["pageInfo"]["endCursor"]
    left = Asked(story=[operation("kept")])
    assert reasons(await run(left, OPERATIONS, after=after)) == ["CURSOR_INVALID"]


FORGED = [
    "",
    "x",
    "é",
    "a" * 10_000,
    opaque([1, "changes", 5]),
    opaque([1, "instances", None, 100, 0]),
    opaque([2, "instances", None, 100, 0, "a"]),
    opaque([1, "operations", None, 100, 0, "a"]),
    opaque([1, "instances", None, 0, 0, "a"]),
    opaque([1, "instances", None, 101, 0, "a"]),
    opaque([1, "instances", None, True, 0, "a"]),
    opaque([1, "instances", None, 100, -1, "a"]),
    opaque([1, "instances", None, 100, False, "a"]),
    opaque([1, "instances", 5, 100, 0, "a"]),
    opaque([1, "instances", "\ud800", 100, 0, "a"]),
    opaque([1, "instances", None, 100, 0, None]),
    opaque([1, "operations", "a/b"]),
    opaque([1, "operations", 5]),
    opaque([[[]]] * 3),
]


@pytest.mark.parametrize("cursor", FORGED)
async def test_a_forged_cursor_is_refused(cursor: str) -> None:
    """Of another list, of another version, or of no cursor's form: the platform is not asked."""
    asked = Asked()
    for document in (INSTANCES, OPERATIONS):
        assert reasons(await run(asked, document, after=cursor)) == ["CURSOR_INVALID"]
    assert asked.questions == []


@pytest.mark.faults
@settings(max_examples=examples(40, many=100))
@given(text=st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=8).map(json.dumps))
async def test_no_text_breaks_the_reading_of_a_cursor(text: str) -> None:
    """Whatever comes as one is read or refused."""
    assert reasons(await run(Asked(), OPERATIONS, after=text)) == ["CURSOR_INVALID"]


@pytest.mark.parametrize("size", [-1, 101])
async def test_a_page_is_of_a_hundred_at_most(size: int) -> None:
    """What the platform itself gives at once."""
    asked = Asked()
    for document in (INSTANCES, OPERATIONS):
        assert reasons(await run(asked, document, first=size)) == ["PAGE_SIZE_INVALID"]
    assert asked.questions == []
