"""Pages of instances, operations and the audit: every cursor continues exactly after its entry."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schema.ports.admin import instances as instance_ports
from schema.ports.admin.audit import AuditEntry, AuditFilter, AuditOutcome
from schema.relay.cursors import opaque
from schema.relay.node import encode_global_id
from tests.schema.recording import NOON, RecordingAdministration, answer, instance, operation, reasons, run
from tests.support.examples import examples

INSTANCES = """query($first: Int, $after: String) { databaseInstances(first: $first, after: $after) {
    edges { cursor node { name } } nodes { name }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""
OPERATIONS = """query($first: Int, $after: String) { operations(first: $first, after: $after) {
    edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""


def pages_of(sizes: list[int]) -> tuple[list[str], dict[str | None, instance_ports.InstancePage]]:
    """Names, and the platform's pages of these sizes that hold them."""
    names = [f"i{number}" for number in range(sum(sizes))]
    pages: dict[str | None, instance_ports.InstancePage] = {}
    taken = 0
    for index, size in enumerate(sizes):
        token = f"to/ken+{index}=" if index else None
        following = f"to/ken+{index + 1}=" if index + 1 < len(sizes) else None
        pages[token] = instance_ports.InstancePage([instance(name) for name in names[taken : taken + size]], following)
        taken += size
    return names, pages


async def page(
    administration: RecordingAdministration, document: str, first: int | None, after: str | None = None
) -> dict[str, Any]:
    """The one connection of a document."""
    data = await answer(administration, document, first=first, after=after)
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
    """In the platform's order, for pages of any length, even empty ones, and for a changing `first`."""
    names, pages = pages_of(sizes)
    administration, walked, after = RecordingAdministration(pages=pages), list[str](), None
    for step in range(len(names) + 1):
        found = await page(administration, INSTANCES, firsts[step % len(firsts)], after)
        walked += [edge["node"]["name"] for edge in found["edges"]]
        assert [node["name"] for node in found["nodes"]] == [edge["node"]["name"] for edge in found["edges"]]
        info = found["pageInfo"]
        assert info["hasPreviousPage"] is (after is not None)
        assert info["hasNextPage"] is (len(walked) < len(names))
        if not info["hasNextPage"]:
            break
        after = info["endCursor"]
    assert walked == names


@pytest.mark.parametrize(
    ("selected", "completed"),
    [
        ("nodes { name uid owner branches { nodes { name } } }", False),
        ("pageInfo { endCursor }", False),
        ("edges { cursor }", False),
        ("nodes { host }", True),
        ("edges { node { ... on Node { ... on DatabaseInstance { suspendAfterSeconds } } } }", True),
        ("nodes { name } edges { node { state @include(if: false) } }", False),
    ],
)
async def test_the_computes_of_a_page_are_read_only_if_they_are_selected(
    selected: str,
    completed: bool,  # noqa: FBT001 # a value of the table
) -> None:
    """They take two calls for each instance."""
    administration = RecordingAdministration(pages=pages_of([3])[1])
    await answer(administration, f"{{ databaseInstances(first: 2) {{ {selected} }} }}")
    assert [given for name, given in administration.calls if name == "instances_in_full"] == (
        [["i0", "i1"]] if completed else []
    )


@pytest.mark.faults
@settings(max_examples=examples(40, many=100))
@given(sizes=st.lists(st.integers(0, 4), min_size=1, max_size=5), data=st.data())
async def test_any_cursor_goes_on_after_its_own(sizes: list[int], data: st.DataObject) -> None:
    """Not only the last cursor of a page."""
    names, pages = pages_of(sizes)
    found = await page(RecordingAdministration(pages=pages), INSTANCES, 100)
    assert [edge["node"]["name"] for edge in found["edges"]] == names
    for index, edge in enumerate(found["edges"]):
        first = data.draw(st.integers(0, 6))
        rest = await page(RecordingAdministration(pages=pages), INSTANCES, first, edge["cursor"])
        assert [one["node"]["name"] for one in rest["edges"]] == names[index + 1 :][:first]
        assert rest["pageInfo"]["hasNextPage"] is (index + 1 + first < len(names))


async def test_a_cursor_outlives_its_instance() -> None:
    """If its instance is deleted, or another one appears before it, the next instance is still the next."""
    _, pages = pages_of([4])
    after = (await page(RecordingAdministration(pages=pages), INSTANCES, 2))["pageInfo"]["endCursor"]
    for left in (["i0", "i2", "i3"], ["h9", "i0", "i1", "i2", "i3"]):
        now: dict[str | None, instance_ports.InstancePage] = {
            None: instance_ports.InstancePage([instance(name) for name in left], None)
        }
        rest = await page(RecordingAdministration(pages=now), INSTANCES, None, after)
        assert [edge["node"]["name"] for edge in rest["edges"]] == ["i2", "i3"]


async def test_a_page_after_nothing_has_no_previous_page() -> None:
    """If the entry of the cursor is gone, and all before it, there is nothing to page back to."""
    _, pages = pages_of([2, 2])
    first = (await page(RecordingAdministration(pages=pages), INSTANCES, 1))["pageInfo"]["endCursor"]
    third = (await page(RecordingAdministration(pages=pages), INSTANCES, 3))["pageInfo"]["endCursor"]
    second_token = pages[None].next_token

    def left(*names: str, later: tuple[str, ...]) -> RecordingAdministration:
        return RecordingAdministration(
            pages={
                None: instance_ports.InstancePage([instance(name) for name in names], second_token),
                second_token: instance_ports.InstancePage([instance(name) for name in later], None),
            }
        )

    for cursor, administration, expected in (
        (first, left("i1", later=("i2", "i3")), False),
        (first, left("i0", "i1", later=("i2", "i3")), True),
        (third, left(later=("i3",)), False),
        (third, left("i1", later=("i3",)), True),
        (third, left(later=("i2", "i3")), True),
    ):
        rest = await page(administration, INSTANCES, None, cursor)
        assert rest["edges"][-1]["node"]["name"] == "i3"
        assert rest["pageInfo"]["hasPreviousPage"] is expected


AUDIT = """query($first: Int, $after: String, $filter: AdminAuditFilter) {
    adminAudit(first: $first, after: $after, filter: $filter) {
    edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""


def audited(number: int, principal: str = "ada") -> AuditEntry:
    """An entry of this many microseconds ago."""
    at = NOON - timedelta(microseconds=number)
    return AuditEntry(
        id=str(UUID(int=number)),
        at=at,
        last_at=at,
        principal=principal,
        action="teardownLakebase",
        outcome=AuditOutcome.BEGUN,
        reason=None,
        resources=(),
        operation_id=None,
        request_id=None,
        input=None,
        count=1,
    )


@pytest.mark.parametrize("size", [1, 2, 5])
async def test_the_audit_is_walked_from_the_newest_on(size: int) -> None:
    """Each entry once, also if the entry of a cursor has been deleted meanwhile."""
    administration = RecordingAdministration(entries=[audited(number) for number in range(5)])
    walked, after = list[str](), None
    while True:
        found = await page(administration, AUDIT, size, after)
        walked += [edge["node"]["id"] for edge in found["edges"]]
        after = found["pageInfo"]["endCursor"]
        if not found["pageInfo"]["hasNextPage"]:
            break
    assert walked == [encode_global_id("AdminAuditEntry", one.id) for one in administration.entries]
    first = (await page(administration, AUDIT, 1))["pageInfo"]["endCursor"]
    administration.entries = administration.entries[1:]
    rest = await page(administration, AUDIT, 100, first)
    assert len(rest["edges"]) == 4
    assert rest["pageInfo"]["hasPreviousPage"] is False


async def test_the_filter_of_the_audit_reaches_the_port() -> None:
    """Every condition that is given. What is absent or null restricts nothing."""
    administration = RecordingAdministration(entries=[audited(1), audited(2, "bob")])
    given = {"principal": "bob", "action": None, "outcome": "REFUSED", "since": "2026-11-23T13:00:00+01:00"}
    found = await answer(administration, AUDIT, filter={**given, "until": "2026-11-24T00:00:00z"})
    assert len(found["adminAudit"]["edges"]) == 1
    wanted = AuditFilter("bob", None, AuditOutcome.REFUSED, NOON, NOON + timedelta(hours=12))
    assert administration.calls == [("audit", (wanted, 50, None))]
    for nothing in ("{}", "null"):
        found = await answer(administration, f"{{ adminAudit(filter: {nothing}) {{ nodes {{ id }} }} }}")
        assert len(found["adminAudit"]["nodes"]) == 2


@pytest.mark.parametrize("given", [{"principal": "a\0"}, {"action": "\0"}])
async def test_a_condition_that_no_entry_can_meet_is_refused(given: dict[str, str]) -> None:
    """With the reason, and without a statement."""
    administration = RecordingAdministration()
    assert reasons(await run(administration, AUDIT, filter=given)) == ["VALUE_INVALID"]
    assert administration.calls == []


async def test_few_instances_take_one_call() -> None:
    """The platform is asked for its largest page, however small ours is."""
    _, pages = pages_of([60])
    administration = RecordingAdministration(pages=pages)
    found = await page(administration, INSTANCES, None)
    assert administration.calls == [("instances", (100, None))]
    assert len(found["edges"]) == 50
    assert found["pageInfo"]["hasNextPage"]


async def test_a_page_of_none_is_empty() -> None:
    """And still says whether there are any entries."""
    _, pages = pages_of([1])
    assert await page(RecordingAdministration(pages=pages), INSTANCES, 0) == {
        "edges": [],
        "nodes": [],
        "pageInfo": {"hasNextPage": True, "hasPreviousPage": False, "startCursor": None, "endCursor": None},
    }


@pytest.mark.parametrize("field", ["databaseInstances", "operations"])
@pytest.mark.parametrize(
    "selected",
    ["{ __typename }", "{ pageInfo { __typename } }", "(first: 0) { nodes { id } pageInfo { startCursor } }"],
)
async def test_what_needs_no_page_makes_no_call(field: str, selected: str) -> None:
    """The platform limits the calls per minute."""
    administration = RecordingAdministration()
    await answer(administration, f"{{ {field}{selected} }}")
    assert administration.calls == []


@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 100])
async def test_operations_are_walked_from_the_newest_on(size: int) -> None:
    """Each operation once. A page of size 0 says that there are some."""
    administration, walked, after = (
        RecordingAdministration(story=[operation(f"op{number}") for number in range(5)]),
        list[str](),
        None,
    )
    while True:
        found = await page(administration, OPERATIONS, size, after)
        walked += [edge["node"]["id"] for edge in found["edges"]]
        assert found["pageInfo"]["hasPreviousPage"] is (after is not None)
        after = found["pageInfo"]["endCursor"]
        if not found["pageInfo"]["hasNextPage"] or not size:
            break
    assert len(set(walked)) == len(walked) == (5 if size else 0)
    assert found["pageInfo"]["hasNextPage"] is (size == 0)


async def test_a_forgotten_operation_is_no_place_to_go_on_from() -> None:
    """Otherwise a client would get the first page again and again."""
    after = (await page(RecordingAdministration(story=[operation("gone"), operation("kept")]), OPERATIONS, 1))[
        "pageInfo"
    ]["endCursor"]
    left = RecordingAdministration(story=[operation("kept")])
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
    opaque([1, "audit", "0", str(UUID(int=1))]),
    opaque([1, "audit", True, str(UUID(int=1))]),
    opaque([1, "audit", 10**18, str(UUID(int=1))]),
    opaque([1, "audit", -(10**30), str(UUID(int=1))]),
    opaque([1, "audit", 0, "x"]),
    opaque([1, "audit", 0]),
    opaque([[[]]] * 3),
]


@pytest.mark.parametrize("cursor", FORGED)
async def test_a_forged_cursor_is_refused(cursor: str) -> None:
    """One of another list or version, or of the wrong form, is refused without a call of the platform."""
    administration = RecordingAdministration()
    for document in (INSTANCES, OPERATIONS, AUDIT):
        assert reasons(await run(administration, document, after=cursor)) == ["CURSOR_INVALID"]
    assert administration.calls == []


@pytest.mark.faults
@settings(max_examples=examples(40, many=100))
@given(text=st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=8).map(json.dumps))
async def test_no_text_breaks_the_decoding_of_a_cursor(text: str) -> None:
    """Any text is either a cursor or refused."""
    assert reasons(await run(RecordingAdministration(), OPERATIONS, after=text)) == ["CURSOR_INVALID"]


@pytest.mark.parametrize("size", [-1, 101])
async def test_a_page_holds_a_hundred_at_most(size: int) -> None:
    """The platform's own largest page."""
    administration = RecordingAdministration()
    for document in (INSTANCES, OPERATIONS, AUDIT):
        assert reasons(await run(administration, document, first=size)) == ["PAGE_SIZE_INVALID"]
    assert administration.calls == []
