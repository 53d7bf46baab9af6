"""The form of the log: values are bounded, no half of a secret is left, nothing passes for another line."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING

import pytest
import structlog

from server.observability.log_setup import ThrottledLogs, configure_logs, cut
from server.settings import Settings
from tests.servers import faulty
from tests.support.clock import Still

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "canary-" + "x" * 300 + "-canary"


def logged(form: str, url: str, say: Callable[[structlog.stdlib.BoundLogger], object]) -> str:
    """What is written when `say` logs."""
    written = io.StringIO()
    configure_logs(Settings(database_url=url, databricks_token=SECRET, log_format=form), stream=written)
    try:
        say(structlog.get_logger("bounded"))
    finally:
        configure_logs(Settings(database_url=url))
    return written.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_value_is_cut_and_no_half_of_a_secret_is_left(orders_url: str, form: str) -> None:
    """Even if the cut goes through a secret, none of it is left. Numbers and short values are not changed."""
    line = logged(form, orders_url, lambda log: log.info("e", long="a" * 400 + SECRET, many=["b" * 300] * 9, n=1 << 70))
    assert "canary" not in line
    assert "a" * 300 in line
    assert "characters cut" in line
    assert str(1 << 70) in line
    assert len(line) < 1_500
    assert cut("abcdefgh", 4, beginning=2) == "ab[4 characters cut]gh"


@pytest.mark.parametrize("form", ["json", "console"])
def test_the_longest_traceback_is_some_kilobytes(orders_url: str, form: str) -> None:
    """An endless recursion and the exception raised from it are both named, with where the call came in."""

    def fail(log: structlog.stdlib.BoundLogger) -> None:
        try:
            try:
                faulty.recursion()
            except RecursionError as error:
                raise ValueError("z" * 50_000 + SECRET) from error
        except ValueError:
            log.exception("fault")

    line = logged(form, orders_url, fail)
    assert len(line) < 8_000
    assert "RecursionError" in line
    assert "canary" not in line


def test_nothing_of_an_exception_begins_a_line_for_a_person(orders_url: str) -> None:
    """A traceback's lines are indented, and characters that move a cursor are escaped."""

    def fail(log: structlog.stdlib.BoundLogger) -> None:
        try:
            faulty.fail()
        except faulty.FaultError:
            log.exception("fault")

    first, *others = logged("console", orders_url, fail).splitlines()
    assert "fault" in first
    assert all(line.startswith("    ") for line in others)
    assert "\\x1b[31mSELECT" in "\n".join(others)


def test_a_line_that_cannot_be_written_says_nothing_of_what_was_in_it(
    orders_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The standard library would print the line, in which no secret has been hidden yet."""

    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError("no space left")

    configure_logs(Settings(database_url=orders_url), stream=Full())
    structlog.get_logger("bounded").warning("said", value="canary-of-a-line")
    configure_logs(Settings(database_url=orders_url))
    assert capsys.readouterr().err == "A line of bounded was not logged: OSError\n"


def test_what_a_peer_makes_uvicorn_say_is_said_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says how many were withheld. A peer's mistake has no traceback. Every fault of ours is logged."""
    clock = Still()
    monkeypatch.setattr("server.observability.log_setup.time", clock)
    seldom = ThrottledLogs()

    def says(level: int, words: str, *values: object, fault: bool = False) -> str | None:
        error = ValueError("of ours")
        info = (type(error), error, None) if fault else None
        record = logging.LogRecord("uvicorn.error", level, "", 0, words, values, info)
        if not seldom.filter(record):
            return None
        return record.getMessage() + (" with its traceback" if record.exc_info else "")

    invalid = "Invalid HTTP request received."
    assert [says(logging.WARNING, invalid) for _ in range(3)] == [invalid, None, None]
    assert says(logging.WARNING, "Another %s", "thing") == "Another thing"
    clock.seconds = 1.0
    assert says(logging.WARNING, invalid) == f"{invalid} (2 more before it)"
    utf8 = "Invalid UTF-8 sequence received from client."
    assert says(logging.ERROR, utf8, fault=True) == utf8
    assert says(logging.ERROR, utf8, fault=True) is None
    fault = "Exception in ASGI application"
    assert [says(logging.ERROR, fault, fault=True) for _ in range(2)] == [f"{fault} with its traceback"] * 2
    assert says(logging.INFO, '%s - "WebSocket %s" [accepted]', "127.0.0.1:1", "/?query=secret") is None
    assert says(logging.INFO, "Shutting down") == "Shutting down"


def test_a_line_in_json_is_json_whatever_stands_in_it(orders_url: str) -> None:
    """Even half of a surrogate pair, which cannot be encoded."""
    line = logged("json", orders_url, lambda log: log.info("e", value='"\ud800\r\n\x1b\u2028'))
    assert line.count("\n") == 1
    assert json.loads(line)["value"] == '"\ud800\r\n\x1b\u2028'
