"""Owns the promise that telling where the mistakes of a document are takes no longer than reading it."""

from __future__ import annotations

import time
from typing import Final

import pytest
from graphql import Source, validate
from hypothesis import given
from hypothesis import strategies as st

from schema import DocumentLimits, build_schema
from schema.limits import Documents
from schema.locations import IndexedSource

SCHEMA: Final = build_schema()


@pytest.mark.parametrize("text", ["", "a", "\n", "a\nb", "\r\n\r\na", "a\rb\n\rc\r\n", "\n\n\n  a", "é\r\nü"])
def test_places_are_those_of_graphql_core(text: str) -> None:
    """Wherever a token can begin, for each of the three ends of a line."""
    places = [position for position in range(len(text) + 1) if text[position - 1 : position + 1] != "\r\n"]
    own, other = IndexedSource(text), Source(text)
    assert [own.get_location(at) for at in places] == [other.get_location(at) for at in places]


@given(st.lists(st.sampled_from(["a", "\n", "\r", "\r\n", "b" * 1_000]), max_size=30).map("".join), st.data())
def test_places_are_those_of_graphql_core_in_long_documents(text: str, data: st.DataObject) -> None:
    """However the ends of lines lie in it."""
    at = data.draw(st.integers(0, len(text)).filter(lambda at: text[at - 1 : at + 1] != "\r\n"))
    assert IndexedSource(text).get_location(at) == Source(text).get_location(at)


def test_mistakes_behind_many_lines_take_no_longer_than_others() -> None:
    """Each place would be looked for from the beginning otherwise: a second for a hundred."""
    text = "query(" + "\r" * 60_000 + " ".join(f"$v{number}: Int" for number in range(200)) + ") { __typename }"
    document = Documents(DocumentLimits(), most=1, longest=1).read(text)
    began = time.process_time()
    errors = validate(SCHEMA._schema, document)  # noqa: SLF001 # there is no other way to graphql-core's
    assert errors[0].locations
    assert errors[0].locations[0].line == 60_001
    assert time.process_time() - began < 0.3
