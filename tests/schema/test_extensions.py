"""Nothing of an operation begins before every extension that may refuse it has let it pass."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest
from strawberry.extensions import SchemaExtension

from schema import build_schema
from schema.errors import Reason, UnavailableError
from schema.ports.changes import FeedPlace
from tests.schema.recording import RecordingAdministration, context, reasons

if TYPE_CHECKING:
    from collections.abc import Iterator


class History:
    """A history that counts how often its head is read."""

    read = 0

    async def head(self) -> FeedPlace:
        """The newest change."""
        self.read += 1
        return FeedPlace(7, 1)


class Gate(SchemaExtension):
    """Refuses every operation, as admission does."""

    def on_execute(self) -> Iterator[None]:
        """Before it is run."""
        raise UnavailableError(Reason.OVERLOADED, "Not now.")
        yield


@pytest.mark.parametrize(("extensions", "read"), [([], 1), ([Gate], 0)])
async def test_the_head_of_the_feed_is_read_for_what_is_let_in(extensions: list[Any], read: int) -> None:
    """But not for a refused operation: each refusal would cost a statement."""
    history = History()
    asking = replace(context(RecordingAdministration()), history=cast("Any", history))
    document = "{ orderStatusChanges(first: 1) { headCursor } }"
    result = await build_schema(extensions=extensions).execute(document, context_value=asking)
    assert history.read == read
    assert ("OVERLOADED" in reasons(result)) is bool(extensions)
