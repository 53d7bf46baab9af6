"""Observations: each kind is logged or counted."""

from __future__ import annotations

from typing import get_args

from server.observability import sinks
from server.observability.observations import Observation


def test_every_kind_of_observation_has_a_sink() -> None:
    """A new kind without one would fail only when it is first observed."""
    assert set(get_args(Observation)) == {kind for kind, handlers in sinks._SINKS.items() if handlers}  # noqa: SLF001 # it is only read
