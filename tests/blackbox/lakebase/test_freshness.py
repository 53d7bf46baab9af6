"""Freshness of a real server in front of the local platform: through a sync, while the endpoint is asleep, and without a platform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from tests.servers.flavours import AUTOSCALING
from tests.servers.operator import DATABASE, HASTE, HASTY, INSTANCE, TABLE, Operator, operated
from tests.servers.platform import AT_ONCE, LocalPlatform, platform_directory, running_platform
from tests.servers.process import NO_TLS, wait_for
from tests.support.exposition import value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FIELDS: Final = "syncedAt sourceCommittedAt sourceVersion ageSeconds state policy"
FRESHNESS: Final = f"{{ freshness {{ {FIELDS} }} }}"
PAGE: Final = f"{{ orders(first: 1) {{ nodes {{ orderKey }} freshness {{ {FIELDS} }} }} }}"
SOURCE: Final = "samples.tpch.orders"
ENDPOINT: Final = LocalPlatform.endpoint_name(INSTANCE)
OFTEN: Final = {
    **HASTE,
    "server.lakebase.freshness._PAUSE_SECONDS": 0.05,
    "server.lakebase.freshness._LONGEST_PAUSE_SECONDS": 0.05,
}
PAGE_SEEN: Final = {"nodes": [{"orderKey": "1"}]}


@pytest.fixture(scope="module")
def platform() -> Iterator[LocalPlatform]:
    """A platform of the module's own, as quick as it can be."""
    with platform_directory() as directory, running_platform(directory, **AT_ONCE) as platform:
        yield platform


@pytest.fixture(scope="module")
def operator(platform: LocalPlatform) -> Iterator[Operator]:
    """An operator of a provisioned server that looks often."""
    with operated(platform, module=HASTY, altered=OFTEN, **AUTOSCALING.settings) as operator:
        # Nothing is there yet.
        assert operator.ask(FRESHNESS) == {"freshness": None}
        operator.provisioned()
        yield operator


def told(operator: Operator, expected: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """The freshness as soon as it is as expected."""
    seen: list[Any] = [None]

    def reached() -> bool:
        seen[0] = operator.ask(FRESHNESS)["freshness"]
        return seen[0] is not None and bool(expected(seen[0]))

    wait_for(reached, what=lambda: f"another freshness than {seen[0]}\n{operator.server.log()[-2000:]}")
    found: dict[str, Any] = seen[0]
    return found


def tag_of_page(operator: Operator) -> str:
    """The entity tag of a page on which no freshness is selected."""
    query = {"query": "{ orders(first: 1) { nodes { orderKey } } }"}
    return httpx.get(operator.server.graphql, params=query, verify=NO_TLS).headers["etag"]


def suspended(platform: LocalPlatform) -> bool:
    """Whether the instance is asleep."""
    (instance,) = platform.inventory()["instances"]
    return bool(instance["suspended"])


async def test_it_follows_a_sync(platform: LocalPlatform, operator: Operator) -> None:
    """Before, while it runs, and afterwards: then the time is later, and the version that of the source's newest commit."""
    before = told(operator, lambda found: found["policy"] == "SNAPSHOT" and found["syncedAt"])
    tag = tag_of_page(operator)
    assert (before["state"], before["sourceVersion"]) == ("ONLINE_NO_PENDING_UPDATE", "1")
    assert before["sourceCommittedAt"] == "2024-01-01T00:00:00.000Z"
    commit = platform.commit(SOURCE)
    # The source is ahead now, and nothing else has changed.
    assert told(operator, lambda _: True) == {**before, "ageSeconds": pytest.approx(before["ageSeconds"], abs=60)}
    reader = await platform.connect(operator.instance_host(), database=DATABASE)
    try:
        await reader.execute("BEGIN; SELECT 1 FROM public.orders_synced LIMIT 1")
        payload = operator.send("refreshSyncedTable", name=TABLE)
        # The sync waits for the reader before it replaces the table.
        during = told(operator, lambda found: found["state"] == "ONLINE_TRIGGERED_UPDATE")
        assert (during["syncedAt"], during["sourceVersion"]) == (before["syncedAt"], "1")
    finally:
        await reader.close()
    assert operator.ended(payload)["state"] == "SUCCEEDED"
    after = told(operator, lambda found: found["sourceVersion"] != "1")
    assert (after["sourceVersion"], after["sourceCommittedAt"]) == (str(commit["version"]), commit["time"])
    assert (after["state"], after["policy"]) == ("ONLINE_NO_PENDING_UPDATE", "SNAPSHOT")
    assert after["syncedAt"] > before["syncedAt"]
    # As a page tells it, on the ordinary and on the fast path.
    for _ in range(2):
        page = operator.insist(PAGE)["orders"]
        assert page.pop("freshness") == {**after, "ageSeconds": pytest.approx(after["ageSeconds"], abs=60)}
        assert page == PAGE_SEEN
    assert tag_of_page(operator) == tag


def test_a_sleeping_endpoint_is_not_woken(platform: LocalPlatform, operator: Operator) -> None:
    """Nor does the server open a connection: the platform tells, and the metrics say that the endpoint is asleep."""
    known = told(operator, lambda _: True)
    platform.suspend(ENDPOINT)

    def shown() -> bool:
        if not suspended(platform):
            # What was under way may have woken it: the table that was just synced is measured.
            platform.suspend(ENDPOINT)
        text = httpx.get(f"{operator.server.url}/api/metrics", verify=NO_TLS).text
        assert value(text, "orders_api_sync_state", table="orders", state=known["state"]) == 1
        assert value(text, "orders_api_sync_age_seconds", table="orders") > 0
        return bool(value(text, "orders_api_instance_state", state="IDLE"))

    wait_for(shown, what=lambda: "the metrics to show the sleep")
    before = platform.counters()

    def calls() -> int:
        return sum(map(int, platform.counters()["requests"].values()))

    before_looks = calls()

    def looked_again() -> bool:
        assert operator.ask(FRESHNESS)["freshness"]["syncedAt"] == known["syncedAt"]
        return calls() > before_looks + 4

    wait_for(looked_again, what=lambda: "more looks")
    after = platform.counters()
    assert suspended(platform)
    assert [after[name] for name in ("wakes", "mints", "logins_accepted")] == [
        before[name] for name in ("wakes", "mints", "logins_accepted")
    ]


def test_all_who_ask_share_one_look_and_wait_for_nothing(platform: LocalPlatform, operator: Operator) -> None:
    """While the platform takes its time they are told what is known."""
    known = told(operator, lambda found: found["syncedAt"])
    operator.insist(PAGE)
    platform.fault("hold_before", method="GET", path=AUTOSCALING.table, times=None)
    try:
        told(operator, lambda _: platform.held())
        for _ in range(30):
            assert operator.ask(FRESHNESS)["freshness"]["syncedAt"] == known["syncedAt"]
            assert operator.ask(PAGE)["orders"]["freshness"]["state"] == known["state"]
        assert len(platform.held()) == 1
    finally:
        platform.clear_faults()
        platform.release()


def test_a_platform_that_fails_leaves_the_last_known(platform: LocalPlatform, operator: Operator) -> None:
    """Its age grows, and no page has an error."""
    known = told(operator, lambda found: found["syncedAt"])
    platform.fault("internal_error", path=".*/(synced_tables|endpoints).*", times=None, alone=True)
    try:
        wait_for(lambda: bool(operator.ask(FRESHNESS)) and "freshness not known" in operator.server.log(), what=str)
        seen = told(operator, lambda found: found["ageSeconds"] > known["ageSeconds"])
        assert {**seen, "ageSeconds": known["ageSeconds"]} == known
        page = operator.insist(PAGE)["orders"]
        assert page["freshness"]["syncedAt"] == known["syncedAt"]
        assert page["nodes"] == PAGE_SEEN["nodes"]
    finally:
        platform.clear_faults()
    wait_for(lambda: bool(operator.ask(FRESHNESS)) and "freshness known again" in operator.server.log(), what=str)


def test_without_a_lakebase_it_is_null(ask: Callable[..., dict[str, Any]]) -> None:
    """On a bare PostgreSQL, on the ordinary and on the fast path."""
    document = PAGE.replace("{ orders", f"{{ freshness {{ {FIELDS} }} orders")
    for _ in range(2):
        assert ask(document) == {"data": {"freshness": None, "orders": {**PAGE_SEEN, "freshness": None}}}
