"""The lines that `make run` shows of the server's log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from server.local.run_log import RunLog

if TYPE_CHECKING:
    from pathlib import Path

REQUEST = {"event": "request", "level": "info", "logger": "request", "request_id": "theirs"}
SERVED = {**REQUEST, "method": "POST", "path": "/api/graphql", "status": 200, "outcome": "ok", "duration_ms": 3.4}
ON_A_WEBSOCKET = {**REQUEST, "event": "operation", "operation": "Watch", "outcome": "ok", "duration_ms": 61_234.5}
REFUSED = {**REQUEST, "method": None, "path": None, "status": 408, "outcome": "HEADERS_TOO_SLOW"}
CALLED = {"event": "platform call", "level": "info", "method": "GET", "path": "/api/2.0/postgres", "status": 404}


def written(log: RunLog, *lines: dict[str, Any] | bytes) -> list[str]:
    """What a person sees of these new lines."""
    with log.path.open("ab") as file:
        file.writelines(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
    return list(log.requests())


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({**SERVED, "operation": "Orders"}, "POST Orders                                   200      3 ms"),
        ({**SERVED, "operation": None}, "POST /api/graphql                             200      3 ms"),
        (
            {**SERVED, "operation": "O" * 100, "outcome": "CONTROL_PLANE_NOT_CONFIGURED", "duration_ms": 1e6},
            "POST OOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOOO… 200 1,000,000 ms  CONTROL_PLANE_N",
        ),
        (
            {**SERVED, "path": "/\x1b[2J\u202e", "status": 404},
            "POST /?[2J?                                   404      3 ms",
        ),
        (ON_A_WEBSOCKET, "WS   Watch                                        61,234 ms"),
        (REFUSED, "-    -                                        408            HEADERS_TOO_SLOW"),
    ],
)
def test_a_request_is_a_line_of_less_than_80_columns(tmp_path: Path, values: dict[str, Any], shown: str) -> None:
    """With its method, its operation's name or else its path, its status, its time, and what went wrong."""
    (line,) = written(RunLog(tmp_path / "log"), values)
    assert line == shown
    assert len(line) < 80


def test_other_lines_are_not_shown(tmp_path: Path) -> None:
    """Nor health checks, nor the run's own requests, nor a line before it is complete."""
    log = RunLog(tmp_path / "log")
    log.leave_out("ours")
    assert (
        written(log, {"event": "ready", "level": "info"}, {**SERVED, "level": "debug"}, CALLED, b"[]\n", b"Traceback\n")
        == []
    )
    assert written(log, {**SERVED, "request_id": "ours"}) == []
    line = json.dumps(SERVED).encode()
    assert written(log, line[:20]) == []
    assert len(written(log, line[20:] + b"\n")) == 1
    assert written(log) == []


def test_the_tail_says_what_happened_last(tmp_path: Path) -> None:
    """Without requests and calls of the platform, each line shortened, and with the place of the whole log."""
    log = RunLog(tmp_path / "log")
    fault = {"event": "fault", "level": "error", "exception": "Traceback (most recent call last):\nValueError: no"}
    written(
        log, {"event": "long", "level": "info", "values": "x" * 1000}, fault, SERVED, CALLED, b"LOG_LEVEL: unknown\n"
    )
    *lines, place = log.tail().splitlines()
    assert lines[0] == f"  info long: {'x' * 229}…"
    assert lines[1:] == [
        "  error fault: Traceback (most recent call last): ... ValueError: no",
        "  LOG_LEVEL: unknown",
    ]
    assert place == f"The whole log is {log.path}"
