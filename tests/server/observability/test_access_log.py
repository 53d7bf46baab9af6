"""The access log: its lines look like all others, are written in batches, and in every event loop."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from typing import TYPE_CHECKING

import pytest
import structlog

from server.observability.access_log import access_log
from server.observability.log_setup import configure_logs
from server.settings import Settings
from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

FIELDS: dict[str, str | float | bool | None] = {
    "path": 'a "b" ü',
    "status": 200,
    "operation": None,
    "duration_ms": 1.23,
    "fast": True,
}


@pytest.fixture
def log(orders_url: str) -> Iterator[io.StringIO]:
    """What is logged at INFO."""
    written = io.StringIO()
    configure_logs(Settings(database_url=orders_url), stream=written)
    yield written
    configure_logs(Settings(database_url=orders_url))


def lines(log: io.StringIO) -> list[str]:
    """The lines written so far."""
    logging.getLogger().handlers[0].flush()
    return log.getvalue().splitlines()


async def test_it_has_the_form_of_all_others(log: io.StringIO) -> None:
    """A line has the same members in the same order and spelling as structlog's, and a time of the same form."""
    access_log.write(logging.INFO, FIELDS)
    structlog.get_logger("request").info("request", **FIELDS)
    ours, theirs = sorted(lines(log), key=len)
    stamps = [json.loads(line)["timestamp"] for line in (ours, theirs)]
    assert ours.replace(stamps[0], "") == theirs.replace(stamps[1], "")
    assert [len(stamp) for stamp in stamps] == [len("2026-11-25T20:00:00.000000Z")] * 2


async def test_what_is_not_logged_is_not_written(log: io.StringIO) -> None:
    """A line below the level that is set is dropped."""
    access_log.write(logging.DEBUG, FIELDS)
    assert lines(log) == []


def test_it_is_written_by_itself_in_every_loop(log: io.StringIO) -> None:
    """Lines are written within a moment. If their loop ends before that, the next one writes them."""

    async def write(*, waits: bool) -> None:
        access_log.write(logging.INFO, FIELDS)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while waits and '"path"' not in log.getvalue():  # noqa: ASYNC110 # nobody tells
                await asyncio.sleep(0.01)

    asyncio.run(write(waits=False))
    asyncio.run(write(waits=True))
    assert len(log.getvalue().splitlines()) == 2


async def test_nothing_in_a_line_ends_it_or_moves_a_cursor(log: io.StringIO) -> None:
    """Control characters, line separators and marks of direction are escaped; half of a surrogate pair is replaced."""
    path = "\x00\r\n\x1b[2K\x7f\x85\x9b\u2028\u202e ü \U0001f600"
    access_log.write(logging.INFO, {"path": path, "operation": "\ud800"})
    text = log.getvalue() + "".join(lines(log))
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text)["path"] == path
    assert json.loads(text)["operation"] == "?"
