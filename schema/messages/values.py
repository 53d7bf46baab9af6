"""The client's values in graphql-core's messages: quoted in JSON, as the client sent them.

graphql-core writes them as Python does: `None`, `True`, `{'orderKey': 1}`. It offers no hook for this.
"""

from __future__ import annotations

import importlib
import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from graphql.pyutils import inspect

if TYPE_CHECKING:
    from collections.abc import Iterable

# Modules of graphql-core that call `inspect` to quote a client's value in their messages.
_QUOTING: Final = ("graphql.type.scalars", "graphql.type.definition", "graphql.utilities.validate_input_value")
# A person reads no more of a value, and there may be a message for each of a thousand mistakes.
_MOST_LEVELS: Final = 2
_MOST_PARTS: Final = 10
_MOST_CHARACTERS: Final = 100
_NOT_NULL_IN_PYTHON, _NOT_NULL = "not to be None.", "not to be null."
_write: Final = partial(json.dumps, ensure_ascii=False)


def quote_values_in_json() -> None:
    """Make graphql-core quote the values of clients in JSON."""
    for name in _QUOTING:
        importlib.import_module(name).inspect = quoted  # type: ignore[attr-defined] # each imports the name


def without_python(message: str) -> str:
    """The message of a value that may not be null, without Python's word for null."""
    if not message.endswith(_NOT_NULL_IN_PYTHON):
        return message
    return f"{message.removesuffix(_NOT_NULL_IN_PYTHON)}{_NOT_NULL}"


def quoted(value: Any) -> str:
    """A value in JSON, shortened to what a person reads. What JSON does not have is left to graphql-core."""
    return _quoted(value, _MOST_LEVELS)


def _quoted(value: Any, levels: int) -> str:
    if isinstance(value, dict):
        parts = (f"{_quoted(name, levels)}: {_quoted(part, levels - 1)}" for name, part in value.items())
        return f"{{{_listed(parts, len(value)) if levels or not value else '...'}}}"
    if isinstance(value, list):
        parts = (_quoted(part, levels - 1) for part in value)
        return f"[{_listed(parts, len(value)) if levels or not value else '...'}]"
    if isinstance(value, str):
        return _write(value if len(value) <= _MOST_CHARACTERS else f"{value[:_MOST_CHARACTERS]}...")
    return _write(value) if value is None or isinstance(value, bool | int | float) else inspect(value)


def _listed(parts: Iterable[str], count: int) -> str:
    first = [part for part, _ in zip(parts, range(_MOST_PARTS), strict=False)]
    return ", ".join([*first, *(["..."] if count > _MOST_PARTS else [])])
