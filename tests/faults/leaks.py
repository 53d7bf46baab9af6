"""A detector for leaks: planted canaries, SQL, paths, SQLSTATEs and tracebacks must not be in responses or logs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tests.servers.process import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable

# These must not be in a response: a caller is never told about the server's internals.
_INTERNALS: Final = (
    r"Traceback \(most recent",
    r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM)\s",
    r"\bo_(orderkey|orderstatus|comment)\b",
    r"\b(asyncpg|sqlalchemy|psycopg|uvicorn|starlette)\b",
    r"SQLSTATE|pg_catalog|pg_hba",
    r"site-packages|\.py\b",
)
_EXAMPLES: Final = 5


class Leaks:
    """Counts the leaks.

    Args:
        canaries: planted secrets.
    """

    def __init__(self, *canaries: str) -> None:
        self._secrets = [re.escape(canary) for canary in canaries]
        self._answers = re.compile("|".join([*self._secrets, *_INTERNALS, re.escape(str(ROOT))]))
        self.count = 0
        self.examples: list[str] = []

    def look(self, answer: str) -> None:
        """Search a response."""
        self._note(self._answers.finditer(answer))

    def look_through_log(self, log: str, values: Iterable[str]) -> None:
        """Search a log. It must not contain tracebacks or any of these values sent by callers either."""
        expected = [*self._secrets, r"Traceback \(most recent", r"Unhandled|never retrieved"]
        self._note(re.compile("|".join(expected)).finditer(log))
        known = set(values)
        self._note(
            found for found in re.finditer(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", log) if found[0] in known
        )

    def _note(self, found: Iterable[re.Match[str]]) -> None:
        for match in found:
            self.count += 1
            if len(self.examples) < _EXAMPLES:
                start, end = max(0, match.start() - 80), match.end() + 80
                self.examples.append(match.string[start:end])
