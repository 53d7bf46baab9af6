"""Exports: how far they read ahead of their client, and how a compressed one is sent."""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING, Any, Final

import pytest

from schema import DocumentCache, DocumentLimits, build_schema
from server.graphql.export.giving_way import GivingWay
from server.graphql.export.operation import AFTER, FIRST, PAGE_INFO
from server.graphql.export.pages import Exporter, FailedError
from server.graphql.request import RequestData
from server.http.compression import Compression, Encoding
from server.traffic.admission import Admission
from tests.servers.process import until

if TYPE_CHECKING:
    from tests.server.conftest import OpenStore

QUERY: Final = "{ orders { nodes { orderKey } } }"
# Turns of the event loop, in which anything that does not wait would have happened.
TURNS: Final = 50


class Gateway:
    """Answers with pages of one order each, and fails at a page."""

    def __init__(self, *, fails_at: int | None = None) -> None:
        self.asked: list[dict[str, Any]] = []
        self.cancelled = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self._fails_at = fails_at

    async def execute(self, data: RequestData, *_: object, **__: object) -> tuple[dict[str, Any], int]:
        """Answer, once it may."""
        self.asked.append(dict(data.variables or {}))
        try:
            await self.answers.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        number = len(self.asked)
        if number == self._fails_at:
            return {"data": {"orders": None}, "errors": [{"message": "no", "path": ["orders"]}]}, 503
        info = {"hasNextPage": True, "endCursor": f"after {number}"}
        return {"data": {"orders": {"nodes": [{"orderKey": str(number)}], PAGE_INFO: info}}}, 200


def exporter(gateway: Gateway) -> Exporter:
    """An exporter without the fast path."""
    limits = DocumentLimits()
    admission = Admission(1, wait_seconds=1)
    return Exporter(build_schema(), gateway, fast=None, cache=DocumentCache(), limits=limits, admission=admission)  # type: ignore[arg-type] # it executes


async def turns() -> None:
    """Let everything happen that does not wait."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def test_one_page_is_read_while_another_is_being_sent_and_no_more(open_store: OpenStore) -> None:
    """So an export takes no more memory if its client reads slowly, and PostgreSQL is not asked meanwhile."""
    gateway, context = Gateway(), open_store()[1]
    reading = exporter(gateway)
    export = await reading.prepare(RequestData(QUERY, None, None, None), context)
    pages = reading.pages(export, context, lambda: False)
    for number in range(1, 4):
        page = await anext(pages)
        assert page.rows == b'{"orderKey":"%d"}' % number
        await turns()
        assert len(gateway.asked) == number + 1
    assert [asked[AFTER] for asked in gateway.asked] == [None, "after 1", "after 2", "after 3"]
    gateway.answers.clear()
    await anext(pages)
    await turns()
    await pages.aclose()
    assert gateway.cancelled == 1


async def test_an_export_rests_while_there_are_other_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """For longer than its page took, though never for long. Alone it does not rest."""
    rests: list[float] = []

    async def sleep(seconds: float) -> None:
        rests.append(seconds)

    admission = Admission(1, wait_seconds=1)
    slot = await admission.enter()
    with GivingWay(admission) as way:
        monkeypatch.setattr("server.graphql.export.giving_way.asyncio.sleep", sleep)
        for seconds in (0.01, 60.0):
            await way.rest(seconds)
        assert rests[0] > 0.01
        assert rests[0] < rests[1] < 1
    monkeypatch.undo()
    slot.leave()
    with GivingWay(admission) as way:
        assert not way.is_busy
        slot = await admission.enter()
        await until(lambda: way.is_busy)
        slot.leave()
        await until(lambda: not way.is_busy)


async def test_the_rows_of_an_export_may_be_bounded(open_store: OpenStore) -> None:
    """No more are read than are exported."""
    gateway, context = Gateway(), open_store()[1]
    reading = exporter(gateway)
    query = "{ orders(first: 3) { nodes { orderKey } } }"
    export = await reading.prepare(RequestData(query, None, None, None), context)
    assert len([page async for page in reading.pages(export, context, lambda: False)]) == 3
    assert [asked[FIRST] for asked in gateway.asked] == [3, 2, 1]


async def test_a_page_that_fails_does_not_take_the_one_before_it_away(open_store: OpenStore) -> None:
    """The client can resume after what it has."""
    gateway, context = Gateway(fails_at=3), open_store()[1]
    reading = exporter(gateway)
    export = await reading.prepare(RequestData(QUERY, None, None, None), context)
    pages = reading.pages(export, context, lambda: False)
    assert [(await anext(pages)).end, (await anext(pages)).end] == ["after 1", "after 2"]
    with pytest.raises(FailedError) as failed:
        await anext(pages)
    assert failed.value.errors == [{"message": "no", "path": ["orders"]}]


async def test_each_part_of_a_compressed_export_can_be_read_as_soon_as_it_is_there() -> None:
    """A client need not wait for the next page, and the last part ends the stream."""
    stream = Compression(4096).stream(Encoding.GZIP)
    assert stream is not None
    reader = zlib.decompressobj(31)
    for part in (b"one\n", b"two\n"):
        assert reader.decompress(await stream.part(part, last=False)) == part
    assert reader.decompress(await stream.part(b"", last=True)) == b""
    assert reader.eof
    assert Compression("off").stream(Encoding.GZIP) is None
