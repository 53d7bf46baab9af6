"""The limit of a JSON text's structure, counted before the text is parsed.

A string is parsed quickly, however long it is. Each list or object takes a fraction of a microsecond and 56 bytes or
more: two megabytes of `[],` would stop the server for a third of a second and take 50 MB.
"""

from __future__ import annotations

from typing import Final

from schema.errors import LimitError, Reason
from schema.limits.variables import MOST_VALUES

# Brackets and commas. Each value in `variables` brings at most one of both, and the rest of a request a few dozen.
MOST_STRUCTURE: Final = 2 * MOST_VALUES + 1_000


def check_structure(text: bytes, what: str) -> None:
    """Refuse a JSON text with more opening brackets, braces and commas than any request needs.

    Those within strings do not count: a note or a document may have any number of them.

    Args:
        text: the text. It need not be valid.
        what: what the error calls it.

    Raises:
        LimitError: LIMIT_EXCEEDED.
    """
    # Nearly every request is shorter than the limit.
    if len(text) <= MOST_STRUCTURE or _structure(text) <= MOST_STRUCTURE:
        return
    requested = _outside_strings(text)
    if requested > MOST_STRUCTURE:
        raise LimitError(
            Reason.LIMIT_EXCEEDED,
            f"{what} has {requested:,} brackets and commas or more, and at most {MOST_STRUCTURE:,} are read.",
            limit="structure",
            requested=requested,
            allowed=MOST_STRUCTURE,
        )


def _structure(text: bytes) -> int:
    return text.count(b"[") + text.count(b"{") + text.count(b",")


def _outside_strings(text: bytes) -> int:
    """The structure outside of strings; a lower bound above the limit if there are too many strings."""
    unescaped = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    # A bracket or a comma comes before each string, or before the name in front of it.
    least = unescaped.count(b'"') // 4
    return least if least > MOST_STRUCTURE else _structure(b"".join(unescaped.split(b'"')[::2]))
