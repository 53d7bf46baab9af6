"""The limit of a JSON text's structure, which is counted before the text is parsed."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schema.errors import LimitError, Reason
from schema.limits.structure import MOST_STRUCTURE, check_structure
from schema.tables.arguments import MAX_LIST_VALUES
from tests.support.calibration import hold
from tests.support.examples import examples
from tests.support.work import processor_seconds

BODY_BYTES = 2 << 20
NOTE_CHARACTERS = 1_000
# The texts hold all that could be taken for structure, and all that could be taken for the end of a string.
VALUES = st.recursive(
    st.none() | st.integers() | st.text('[]{},:"\\nu/é\N{GRINNING FACE}', max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('[{,"\\', max_size=4), inner, max_size=4),
    max_leaves=12,
)


def changes(note: str) -> dict[str, Any]:
    """The longest list of changes, with every field of each, and this note for each."""
    change = {"orderKey": "1", "id": None, "status": "OPEN", "expectedStatus": None, "expectedVersion": 1, "note": note}
    return {
        "query": "mutation ($input: SetOrderStatusesInput!) { setOrderStatuses(input: $input) { replayed } }",
        "variables": {"input": {"changes": [change] * MAX_LIST_VALUES, "mode": "ATOMIC", "idempotencyKey": None}},
    }


def structure_of(value: object) -> int:
    """The brackets and commas of a value in JSON."""
    if not isinstance(value, list | dict):
        return 0
    parts = value if isinstance(value, list) else [*value.values()]
    return max(1, len(parts)) + sum(map(structure_of, parts))


def requested(text: bytes) -> int:
    """What the refusal of a text says it has."""
    with pytest.raises(LimitError) as refused:
        check_structure(text, "The body")
    count = refused.value.details["requested"]
    assert isinstance(count, int)
    return count


@pytest.mark.parametrize("character", ["a", ",", "[", "{", '"', "\\", "\n", "é", "\N{GRINNING FACE}", "\\,"])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_the_longest_list_of_changes_is_read(character: str, *, ascii_only: bool) -> None:
    """Whatever its notes consist of."""
    note = (character * NOTE_CHARACTERS)[:NOTE_CHARACTERS]
    check_structure(json.dumps(changes(note), ensure_ascii=ascii_only).encode(), "The body")


def test_a_document_may_have_more_brackets_than_a_request_may() -> None:
    """The limits of documents count them."""
    check_structure(json.dumps({"query": "{ a(b: [{}, {}]) }" * 10_000}).encode(), "The body")


def test_a_text_above_the_limit_is_refused() -> None:
    """The error says how many there are, and how many may be."""
    check_structure(b"[%s1]" % (b"1," * (MOST_STRUCTURE - 1)), "The body")
    with pytest.raises(LimitError) as refused:
        check_structure(b"[%s1]" % (b"1," * MOST_STRUCTURE), "The body")
    assert refused.value.reason is Reason.LIMIT_EXCEEDED
    assert refused.value.details == {
        "limit": "structure",
        "requested": MOST_STRUCTURE + 1,
        "allowed": MOST_STRUCTURE,
    }
    assert refused.value.message.startswith("The body has 21,001 brackets and commas or more, and at most 21,000")


@settings(max_examples=examples(60, many=5_000))
@given(value=VALUES, ascii_only=st.booleans())
def test_only_what_is_outside_of_strings_counts(value: object, *, ascii_only: bool) -> None:
    """The count is that of the parsed value."""
    whole = [value, *[0] * MOST_STRUCTURE]
    assert requested(json.dumps(whole, ensure_ascii=ascii_only).encode()) == structure_of(whole)


def test_a_text_of_nothing_but_strings_is_refused_without_splitting_it() -> None:
    """The count is then a lower bound."""
    assert requested(b'["' + b'","' * 500_000 + b'"]') == 250_000
    assert requested(b"[," * MOST_STRUCTURE + b'"' * BODY_BYTES) == BODY_BYTES // 4


ATTACKS = {
    "lists": b"[],",
    "nested lists": b"[",
    "objects": b"{},",
    "numbers": b"1,",
    "strings": b'"",',
    "fields": b'"a":{},',
    "quotes": b',"',
    "escaped quotes": b',\\"',
    "backslashes": b",\\\\",
    "a quote now and then": b'"%s",' % (b"," * 20),
    "not JSON": b",\\",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_refusal_takes_a_text_of_any_kind(name: str) -> None:
    """It need not be valid: then the parser refuses it, or this limit."""
    part = ATTACKS[name]
    for start in (b"", b"[", b'"', b'["'):
        with contextlib.suppress(LimitError):
            check_structure(start + part * (BODY_BYTES // len(part) // 16), "The body")


@pytest.mark.long
@pytest.mark.parametrize("name", ATTACKS)
def test_counting_is_quick(name: str) -> None:
    """Parsing two megabytes of lists would take a hundred milliseconds and more."""
    text = b"[" + ATTACKS[name] * (BODY_BYTES // len(ATTACKS[name]))

    def work() -> None:
        with contextlib.suppress(LimitError):
            check_structure(text, "The body")

    hold(f"the structure of two megabytes of {name}", processor_seconds(work), computing_seconds=0.015)
