"""Validating a wrong document takes little work, however many mistakes it has."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import pytest
from graphql import parse
from strawberry.types.execution import PreExecutionError

from schema.extensions import MOST_MISTAKES
from tests.schema.recording import RecordingAdministration, run
from tests.support.calibration import hold
from tests.support.work import counted

if TYPE_CHECKING:
    from graphql import GraphQLError

UNKNOWN: Final = f"{{ orders(filter: {{ {' '.join(f'statuses{n}: 1' for n in range(320))} }}) {{ totalCount }} }}"


async def mistakes(text: str) -> list[GraphQLError]:
    """The mistakes of a document."""
    result = await run(RecordingAdministration(), text)
    assert isinstance(result, PreExecutionError)
    return result.errors or []


async def test_the_number_of_reported_mistakes_is_bounded() -> None:
    """Each of these errors quotes the whole document. A hundred would take a quarter of a second, ten times as long."""
    with counted() as reading:
        parse(UNKNOWN)
    with counted() as work:
        errors = await mistakes(UNKNOWN)
    # Quoting the document takes about as many calls as reading it.
    assert work.calls < 13 * reading.calls
    assert len(errors) == MOST_MISTAKES + 1
    assert errors[-1].message == "Too many validation errors, error limit reached. Validation aborted."


@pytest.mark.long
async def test_mistakes_are_reported_quickly() -> None:
    """The document has 320 of them."""
    took = []
    for number in range(3):
        began = time.process_time()
        # A different text each time, in case a cache remembers it.
        await mistakes(UNKNOWN + " " * number)
        took.append(time.process_time() - began)
    hold("320 mistakes, each of which quotes all of the document", min(took), computing_seconds=0.12)
