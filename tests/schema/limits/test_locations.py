"""Finding the line and column of each mistake takes no longer than reading the document."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

import pytest
from graphql import Source, validate
from hypothesis import given
from hypothesis import strategies as st

from schema import DocumentLimits, build_schema
from schema.limits.document import read_document
from schema.limits.locations import IndexedSource
from tests.support.calibration import hold
from tests.support.work import counted, processor_seconds

if TYPE_CHECKING:
    from graphql import DocumentNode, GraphQLError

SCHEMA: Final = build_schema()


@pytest.mark.parametrize("text", ["", "a", "\n", "a\nb", "\r\n\r\na", "a\rb\n\rc\r\n", "\n\n\n  a", "é\r\nü"])
def test_locations_are_those_of_graphql_core(text: str) -> None:
    """For every position at which a token can begin, and each of the three line ends."""
    places = [position for position in range(len(text) + 1) if text[position - 1 : position + 1] != "\r\n"]
    own, other = IndexedSource(text), Source(text)
    assert [own.get_location(at) for at in places] == [other.get_location(at) for at in places]


@given(st.lists(st.sampled_from(["a", "\n", "\r", "\r\n", "b" * 1_000]), max_size=30).map("".join), st.data())
def test_locations_are_those_of_graphql_core_in_long_documents(text: str, data: st.DataObject) -> None:
    """Wherever the line ends are."""
    at = data.draw(st.integers(0, len(text)).filter(lambda at: text[at - 1 : at + 1] != "\r\n"))
    assert IndexedSource(text).get_location(at) == Source(text).get_location(at)


def behind(lines: int) -> DocumentNode:
    """A document with two hundred mistakes after this many lines."""
    text = "query(" + "\r" * lines + " ".join(f"$v{number}: Int" for number in range(200)) + ") { __typename }"
    return read_document(text, DocumentLimits())


def mistakes(document: DocumentNode) -> list[GraphQLError]:
    """The mistakes of a document."""
    return validate(SCHEMA._schema, document)  # noqa: SLF001 # Strawberry has no public way to it


def test_mistakes_behind_many_lines_take_no_longer_than_others() -> None:
    """graphql-core searches each location from the beginning: sixty thousand lines for each of a hundred mistakes."""
    costs = []
    for lines in (0, 60_000):
        document = behind(lines)
        with counted() as work:
            errors = mistakes(document)
        assert errors[0].locations
        assert errors[0].locations[0].line == lines + 1
        costs.append(work.calls)
    assert costs[1] < 1.1 * costs[0]


@pytest.mark.long
def test_mistakes_behind_many_lines_are_found_quickly() -> None:
    """If each location were searched from the beginning, a hundred would take a second."""
    took = []
    for _ in range(3):
        # A new document each time, because it remembers where its lines end.
        document = behind(60_000)
        took.append(processor_seconds(functools.partial(mistakes, document), times=1))
    hold("a hundred mistakes behind 60,000 lines", min(took), computing_seconds=0.3)
