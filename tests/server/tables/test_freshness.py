"""Freshness beside what is read: on both ways the same, of the right table, at no cost for those who do not ask."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from schema.permissions import Role
from schema.ports.admin.tables import SyncPolicy, SyncState
from schema.ports.freshness import SyncedAsOf

if TYPE_CHECKING:
    from schema.ports.columns import Table
    from tests.server.conftest import Execute, OpenStore
    from tests.server.graph_tables import GraphTables

SELECTED = "freshness { syncedAt sourceCommittedAt sourceVersion state policy __typename }"
SYNCED = datetime(2026, 11, 30, 6, 2, 3, 4_000, tzinfo=UTC)
TOLD = SyncedAsOf(
    SYNCED, SYNCED - timedelta(hours=1), 2**53 + 1, SyncState.ONLINE_TRIGGERED_UPDATE, SyncPolicy.TRIGGERED
)
SHOWN = {
    "syncedAt": "2026-11-30T06:02:03.004Z",
    "sourceCommittedAt": "2026-11-30T05:02:03.004Z",
    "sourceVersion": "9007199254740993",
    "state": "ONLINE_TRIGGERED_UPDATE",
    "policy": "TRIGGERED",
    "__typename": "Freshness",
}


@dataclass
class Told:
    """A source that tells the same of each table it knows. `asked` has the tables it was asked for."""

    known: SyncedAsOf | None = TOLD
    asked: list[str] = field(default_factory=list)

    def of(self, table: Table) -> SyncedAsOf | None:
        """The same, whichever the table."""
        self.asked.append(table.name)
        return self.known


def aged(seconds: float) -> SyncedAsOf:
    """A sync that ended so many seconds ago."""
    return replace(TOLD, synced_at=datetime.now(UTC) - timedelta(seconds=seconds))


async def test_it_is_beside_a_page_and_at_the_root_on_both_ways(
    answer_either_way: Execute, open_store: OpenStore
) -> None:
    """With aliases and fragments, as any field. The page is what it is without it."""
    source = Told()
    context = replace(open_store()[1], freshness=source)
    document = f"""
      query($no: Boolean = false) {{
        {SELECTED} again: freshness {{ v: sourceVersion ... on Freshness {{ s: state, v: sourceVersion }} }}
        orders(first: 1) {{ nodes {{ orderKey }} fresh: {SELECTED} left: freshness @include(if: $no) {{ state }} }}
      }}
    """
    assert (await answer_either_way(document, context=context))["data"] == {
        "freshness": SHOWN,
        "again": {"v": "9007199254740993", "s": "ONLINE_TRIGGERED_UPDATE"},
        "orders": {"nodes": [{"orderKey": "1"}], "fresh": SHOWN},
    }
    assert set(source.asked) == {"orders"}


async def test_it_is_of_the_table_that_is_read(
    answer_either_way: Execute, open_store: OpenStore, graph: GraphTables
) -> None:
    """Customers are synced by themselves."""
    source = Told()
    context = replace(open_store(tables=graph.tables)[1], freshness=source)
    data = (await answer_either_way(f"{{ customers(first: 1) {{ {SELECTED} }} }}", context=context))["data"]
    assert data == {"customers": {"freshness": SHOWN}}
    assert set(source.asked) == {"customers"}


async def test_it_is_beside_everything_that_is_read_of_orders(
    execute: Execute, open_store: OpenStore, graph: GraphTables
) -> None:
    """Pages below another object, numbered pages, counts, statistics and groups."""
    context = replace(open_store(tables=graph.tables)[1], freshness=Told())
    document = f"""{{
      ordersPage(pageSize: 1) {{ {SELECTED} }} orderCount {{ {SELECTED} }} orderStats {{ {SELECTED} }}
      orderGroups(by: [STATUS]) {{ {SELECTED} }}
      customers(first: 1) {{ nodes {{ orders(first: 1) {{ {SELECTED} }} }} }}
    }}"""
    shown = {"freshness": SHOWN}
    assert (await execute(document, context=context))["data"] == {
        **dict.fromkeys(("ordersPage", "orderCount", "orderStats", "orderGroups"), shown),
        "customers": {"nodes": [{"orders": shown}]},
    }


@pytest.mark.parametrize("source", [None, Told(None)])
async def test_it_is_null_where_it_is_not_known(
    answer_either_way: Execute, open_store: OpenStore, source: Told | None
) -> None:
    """Without a platform, and before it has told anything."""
    context = replace(open_store()[1], freshness=source)
    answer = await answer_either_way(f"{{ {SELECTED} orders(first: 0) {{ {SELECTED} }} }}", context=context)
    assert answer == {"data": {"freshness": None, "orders": {"freshness": None}}}


async def test_what_the_platform_does_not_tell_is_null(answer_either_way: Execute, open_store: OpenStore) -> None:
    """A table whose first sync runs has a state alone."""
    told = SyncedAsOf(None, None, None, SyncState.PROVISIONING_INITIAL_SNAPSHOT, None)
    context = replace(open_store()[1], freshness=Told(told))
    names = ("syncedAt", "sourceCommittedAt", "sourceVersion", "ageSeconds", "policy")
    data = (await answer_either_way(f"{{ freshness {{ {' '.join(names)} state }} }}", context=context))["data"]
    assert data == {"freshness": {**dict.fromkeys(names), "state": "PROVISIONING_INITIAL_SNAPSHOT"}}


@pytest.mark.parametrize(
    ("ago", "shown"), [(3600, range(3600, 3660)), (-3600, range(1)), (3e9, range(2**31 - 1, 2**31))]
)
async def test_the_age_is_that_of_the_moment_of_the_answer(
    answer_either_way: Execute, open_store: OpenStore, ago: float, shown: range
) -> None:
    """Never below 0, whatever the platform's clock says, and never more than an Int holds."""
    source = Told(aged(ago))
    context = replace(open_store()[1], freshness=source)
    document = f"{{ freshness {{ ageSeconds }} age{abs(int(ago))}: __typename }}"
    age = (await answer_either_way(document, context=context))["data"]["freshness"]["ageSeconds"]
    assert age in shown
    source.known = aged(ago + 60 if ago > 0 else ago)
    later = (await answer_either_way(document, context=context))["data"]["freshness"]["ageSeconds"]
    assert later >= age + 60 or ago in {-3600, 3e9}


async def test_it_runs_no_statement(answer_either_way: Execute, open_store: OpenStore, statements: list[str]) -> None:
    """Neither at the root nor beside a page of which nothing else is selected."""
    context = replace(open_store()[1], freshness=Told())
    await answer_either_way(f"{{ {SELECTED} orders {{ {SELECTED} }} customers: __typename }}", context=context)
    assert statements == []


async def test_a_page_without_it_asks_for_nothing(answer_either_way: Execute, open_store: OpenStore) -> None:
    """Only those who select it make the server ask the platform."""
    source = Told()
    context = replace(open_store()[1], freshness=source)
    await answer_either_way(
        "{ orders(first: 2) { totalCount nodes { clerk } pageInfo { endCursor } } }", context=context
    )
    assert source.asked == []


async def test_it_is_for_readers(execute: Execute, open_store: OpenStore) -> None:
    """A caller without a role is refused, as with any other root field."""
    context = replace(open_store(roles=frozenset[Role]())[1], freshness=Told())
    answer: Any = await execute("{ freshness { state } }", context=context)
    assert answer["data"] == {"freshness": None}
    assert answer["errors"][0]["extensions"]["reason"] == "ROLE_MISSING"
    reader = replace(open_store(roles=frozenset({Role.READER}))[1], freshness=Told())
    assert (await execute("{ freshness { state } }", context=reader))["data"]["freshness"] == {"state": SHOWN["state"]}
