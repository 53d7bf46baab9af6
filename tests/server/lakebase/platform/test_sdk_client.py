"""The SDK's client: how many threads a platform can hold."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from schema.errors import Reason, UnavailableError
from server.lakebase.platform import sdk_client
from server.lakebase.platform.failures import Action
from server.lakebase.platform.sdk_client import SdkClient
from server.settings import Settings
from tests.servers.directory import running_directory
from tests.servers.process import PATIENCE_SECONDS, until

if TYPE_CHECKING:
    from collections.abc import Callable


async def overdue(client: SdkClient, request: Callable[[object], None]) -> None:
    """Make a call that the client gives up."""
    with pytest.raises(UnavailableError) as refused:
        await client.call(Action.GET_GROUPS, request)
    assert refused.value.reason is Reason.CONTROL_PLANE_TIMEOUT


async def test_a_platform_that_answers_no_call_holds_a_few_threads() -> None:
    """A response that arrives byte by byte holds one for as long as the platform likes. Afterwards calls work again."""
    holding: list[None] = []
    released = threading.Event()

    def hold(_: object) -> None:
        holding.append(None)
        released.wait(PATIENCE_SECONDS)

    with running_directory() as directory:
        given = {name.lower(): value for name, value in directory.settings().items()}
        client = SdkClient(Settings(database_url="postgresql://h/db", **given), threads=2)
        assert await client.call(Action.GET_GROUPS, lambda _: 1) == 1
        client.deadline_seconds = 0.02
        # A call that has not begun by then holds no thread.
        while len(holding) < 6:
            await overdue(client, hold)
        for _ in range(20):
            await overdue(client, hold)
        assert len(holding) == 6
        released.set()
        client.deadline_seconds = PATIENCE_SECONDS
        await until(lambda: client._held == 0)  # noqa: SLF001 # they end in threads that nobody waits for
        assert await client.call(Action.GET_GROUPS, lambda _: 1) == 1
        client.close()


async def test_a_call_that_nobody_waits_for_any_more_does_not_begin() -> None:
    """It waits for a thread, and would keep later calls waiting: a page of instances gives up many at once."""
    begun: list[int] = []
    held, released = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        held.set()
        released.wait(PATIENCE_SECONDS)

    with running_directory() as directory:
        given = {name.lower(): value for name, value in directory.settings().items()}
        client = SdkClient(Settings(database_url="postgresql://h/db", **given), threads=1)
        first = asyncio.create_task(client.call(Action.GET_GROUPS, hold))
        await until(held.is_set)
        waiting = [asyncio.create_task(client.call(Action.GET_GROUPS, lambda _: begun.append(1))) for _ in range(3)]
        await asyncio.sleep(0)  # they are sent
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        released.set()
        await first
        assert await client.call(Action.GET_GROUPS, lambda _: 1) == 1
        assert begun == []
        client.close()


def fail_in_a_ring(*_: object, **__: object) -> None:
    """Raise an error that was raised from one that was raised from it."""
    first, second = ValueError("no way to log in"), ValueError("nor another")
    first.__cause__, second.__cause__ = second, first
    raise first


async def test_a_ring_of_exceptions_while_logging_in_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of them is a request that failed, so the client cannot log in."""
    monkeypatch.setattr(sdk_client, "Config", fail_in_a_ring)
    client = SdkClient(Settings(database_url="postgresql://h/db"))
    with pytest.raises(UnavailableError) as refused:
        await client.call(Action.GET_GROUPS, lambda _: 1)
    assert refused.value.reason is Reason.CONTROL_PLANE_NOT_CONFIGURED
    client.close()


async def test_a_ring_of_exceptions_in_a_call_is_an_answer() -> None:
    """The log has each of them once."""
    with running_directory() as directory:
        given = {name.lower(): value for name, value in directory.settings().items()}
        client = SdkClient(Settings(database_url="postgresql://h/db", **given))
        with pytest.raises(UnavailableError) as refused:
            await client.call(Action.GET_GROUPS, fail_in_a_ring)
    assert refused.value.reason is Reason.CONTROL_PLANE_UNAVAILABLE
    assert refused.value.__cause__ is not None
    assert refused.value.__cause__.args == ("ValueError", "ValueError")
    client.close()


@pytest.mark.parametrize("workspace", [None, "4711"])
def test_a_page_is_asked_for_with_the_headers_of_the_sdk(workspace: str | None) -> None:
    """A host that serves several workspaces has to know which one is meant."""
    sent: list[dict[str, object]] = []
    client: Any = SimpleNamespace(
        config=SimpleNamespace(workspace_id=workspace),
        api_client=SimpleNamespace(do=lambda *_, **given: sent.append(given)),
    )
    sdk_client.list_page(client, "/api/2.0/postgres/projects", 500, "token")
    headers = {"Accept": "application/json", **({"X-Databricks-Workspace-Id": workspace} if workspace else {})}
    assert sent == [{"query": {"page_size": 100, "page_token": "token"}, "headers": headers}]
