"""Tests of the stages: the hooks of all extensions run around the body, whatever fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from strawberry.extensions import SchemaExtension

from schema.stages import Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

RAN: list[str] = []


class Outer(SchemaExtension):
    """Notes its turns, and the error that passes."""

    def on_execute(self) -> Iterator[None]:
        """As any hook."""
        RAN.append("outer begins")
        try:
            yield
        except ValueError as error:
            RAN.append(f"outer sees {error}")
            raise
        RAN.append("outer ends")


class Without(SchemaExtension):
    """Has no hook."""


class Inner(SchemaExtension):
    """Notes its turns, asynchronously, and replaces an error of the body."""

    async def on_execute(self) -> AsyncIterator[None]:
        """As any hook."""
        RAN.append("inner begins")
        try:
            yield
        except LookupError:
            raise ValueError("another") from None
        finally:
            RAN.append("inner ends")


class Refusing(SchemaExtension):
    """Refuses the operation."""

    async def on_execute(self) -> AsyncIterator[None]:
        """As a hook that waits in vain for an admission slot."""
        raise ValueError("refused")
        yield


def stage(*extensions: type[SchemaExtension]) -> Stage:
    """The stage of these extensions."""
    RAN.clear()
    return Stage([extension(execution_context=None) for extension in extensions], "on_execute")


async def test_hooks_run_around_the_body() -> None:
    """The outermost begins first and ends last."""
    async with stage(Outer, Without, Inner):
        RAN.append("body")
    assert RAN == ["outer begins", "inner begins", "body", "inner ends", "outer ends"]


async def test_an_error_passes_through_all_hooks_and_may_be_replaced() -> None:
    """The caller gets what the outermost hook has let through."""
    with pytest.raises(ValueError, match="another"):
        async with stage(Outer, Inner):
            raise LookupError
    assert RAN == ["outer begins", "inner begins", "inner ends", "outer sees another"]


async def test_a_hook_that_refuses_ends_those_that_have_begun() -> None:
    """Neither the body nor the hooks after it run."""
    with pytest.raises(ValueError, match="refused"):
        async with stage(Outer, Refusing, Inner):
            RAN.append("body")
    assert RAN == ["outer begins", "outer sees refused"]
