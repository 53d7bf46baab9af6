"""Owns the reading of a few headers from a request's scope, where Starlette's mapping of all of them would be felt."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Scope


def header(scope: Scope, name: bytes) -> str | None:
    """The first header with this name, in lower case; None where there is none."""
    for given, value in scope["headers"]:
        if given == name:
            text: str = value.decode("latin-1")
            return text
    return None


def headers(scope: Scope, name: bytes) -> list[str]:
    """All headers with this name."""
    return [value.decode("latin-1") for given, value in scope["headers"] if given == name]
