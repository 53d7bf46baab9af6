"""Owns the promise that a document which is wrong takes little, and that nothing of it is kept."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from strawberry.types.execution import PreExecutionError

from schema.extensions import MOST_MISTAKES, ValidDocuments
from tests.schema.asked import Asked, run

if TYPE_CHECKING:
    from graphql import GraphQLError

UNKNOWN: Final = f"{{ orders(filter: {{ {' '.join(f'statuses{n}: 1' for n in range(320))} }}) {{ totalCount }} }}"


async def mistakes(text: str) -> list[GraphQLError]:
    """What is wrong with a document."""
    result = await run(Asked(), text)
    assert isinstance(result, PreExecutionError)
    return result.errors or []


async def test_mistakes_are_told_up_to_a_number() -> None:
    """Each of these quotes all of the document: a hundred are a quarter of a second."""
    began = time.process_time()
    errors = await mistakes(UNKNOWN)
    assert time.process_time() - began < 0.12
    assert len(errors) == MOST_MISTAKES + 1
    assert errors[-1].message == "Too many validation errors, error limit reached. Validation aborted."


def test_valid_documents_are_remembered_up_to_a_number() -> None:
    """The latest used, and no long ones."""
    valid = ValidDocuments(most=2, longest=3)
    for text in ("a", "b", "long"):
        valid.add(text)
    assert valid.has("a")
    valid.add("c")
    assert [valid.has(text) for text in ("a", "b", "c", "long")] == [True, False, True, False]
