"""The log of a run: the file that the server and the platform write to, and what a person sees of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# No line is longer than a terminal of 80 columns.
_COLUMNS: Final = 79
_NAME_COLUMNS: Final = 40
_TAIL_LINES: Final = 8
_TAIL_CHARACTERS: Final = 240
# What every line of the log has.
_EVERYWHERE: Final = frozenset({"event", "level", "logger", "timestamp"})
# These would crowd out the lines that say what went wrong.
_FREQUENT: Final = frozenset({"request", "platform call"})


class RunLog:
    """The log file of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(b"")
        self._read_to = 0
        self._ours: set[str] = set()

    def leave_out(self, request_id: str) -> None:
        """Show no line for the requests with this id."""
        self._ours.add(request_id)

    def requests(self) -> Iterator[str]:
        """A short line for each request and each operation on a WebSocket that was logged since the last call."""
        with self.path.open("rb") as log:
            log.seek(self._read_to)
            for line in log:
                if not line.endswith(b"\n"):
                    # The rest is being written.
                    return
                self._read_to += len(line)
                values = _parsed(line)
                # Health checks and GraphiQL's files are logged for debugging only.
                is_request = values.get("event") in {"request", "operation"} and values.get("level") == "info"
                if is_request and values.get("request_id") not in self._ours:
                    yield _request_line(values)

    def tail(self) -> str:
        """The last lines other than requests and calls of the platform, shortened, and where the whole log is."""
        lines = self.path.read_bytes().splitlines()
        shown = [_tail_line(line) for line in lines if _parsed(line).get("event") not in _FREQUENT][-_TAIL_LINES:]
        return "\n".join([*(f"  {line}" for line in shown), f"The whole log is {self.path}"])


def _parsed(line: bytes) -> dict[str, Any]:
    """The values of a line of the server; none of another line, such as a traceback at its start."""
    try:
        values = json.loads(line)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _request_line(values: dict[str, Any]) -> str:
    name = values.get("operation") or values.get("path") or "-"
    # A path may contain anything, and a terminal obeys control characters.
    name = "".join(character if character.isprintable() else "?" for character in name)
    name = name if len(name) <= _NAME_COLUMNS else f"{name[: _NAME_COLUMNS - 1]}…"
    method = values.get("method") or ("-" if "status" in values else "WS")
    outcome = "" if values["outcome"] == "ok" else values["outcome"]
    # A request that the connection itself refused has no duration.
    took = f"{values['duration_ms']:,.0f} ms" if "duration_ms" in values else ""
    return f"{method:<5}{name:<{_NAME_COLUMNS}} {values.get('status', ''):>3} {took:>9}  {outcome}".rstrip()[:_COLUMNS]


def _tail_line(line: bytes) -> str:
    values = _parsed(line)
    text = line.decode(errors="replace")
    if values:
        details = (str(value) for name, value in values.items() if name not in _EVERYWHERE and value is not None)
        first, *others = f"{values.get('level')} {values.get('event')}: {' '.join(details)}".splitlines()
        # The end of a traceback says what happened.
        text = f"{first} ... {others[-1]}" if others else first
    return text if len(text) <= _TAIL_CHARACTERS else f"{text[:_TAIL_CHARACTERS]}…"
