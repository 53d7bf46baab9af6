"""Tests of the nested bench: its verdicts, and that only servers with PostgreSQL's own rows are measured."""

from __future__ import annotations

import copy
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from server.local.cluster import Cluster
from tests.bench import orders as table
from tests.bench.contenders import MERCURIUS, OURS, STRAWBERRY
from tests.bench.dialects import plain_cursor
from tests.bench.measuring import BenchError, Load
from tests.bench.nested import tables
from tests.bench.nested.contenders import BARE, BARE_TEXT, CONTENDERS
from tests.bench.nested.query import Graph, NestedPage, expected
from tests.bench.nested.report import at_the_end, by_largest_scale, to_others
from tests.bench.nested.run import Truth, measure
from tests.bench.nested.works import COMPARED, END, ENDS, SPREAD, START, Work, scale_title
from tests.bench.options import NESTED, options
from tests.servers.tpch_graph import is_loaded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.bench.contenders import Setup

_SCALE = 0.01
_GRAPH = Graph("/", plain_cursor)
_PAGE = NestedPage(1, None)
_FOUND: dict[str, Any] = {
    "nodes": [
        {
            "orderKey": "7",
            "status": "O",
            "totalPrice": "10.00",
            "customer": {"name": "Customer#1", "nation": {"name": "PERU"}},
            "lineItems": {"nodes": [{"lineNumber": 1, "quantity": "3.00"}, {"lineNumber": 2, "quantity": "4.50"}]},
        }
    ],
    "pageInfo": {"hasNextPage": True, "endCursor": 7},
}


def _load(rate: float) -> Load:
    return Load(rate, p50_ms=1000 / rate, p99_ms=2000 / rate, own_ms=1, database_ms=1, generator=0.1)


def _answer() -> dict[str, Any]:
    connection = copy.deepcopy(_FOUND)
    connection["pageInfo"]["endCursor"] = plain_cursor(7)
    return {"data": {"orders": connection}}


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Setup, int]]:
    """A PostgreSQL with the tables around the orders, whose first order has another status than the synced one."""
    with Cluster(tmp_path_factory.mktemp("nested") / "postgres", options={"fsync": "off"}) as cluster:
        orders, setup = tables.load(cluster, _SCALE)
        cluster.run_sql(
            f"CREATE SCHEMA {setup.app_schema};"
            f"CREATE TABLE {setup.app_schema}.order_status (o_orderkey bigint PRIMARY KEY, status text);"
            f"INSERT INTO {setup.app_schema}.order_status VALUES (1, 'P')"
        )
        table.settle(cluster)
        yield cluster, setup, orders


def test_the_graph_is_loaded_once(graph: tuple[Cluster, Setup, int]) -> None:
    """The next run finds the tables of its scale, with all their rows."""
    cluster, _, _ = graph
    counts = [
        int(cluster.run_sql(f"SELECT count(*) FROM public.{name}_synced")) for name in ("customer", "part", "nation")
    ]
    assert counts == [1500, 2000, 25]
    assert is_loaded(cluster, _SCALE)
    assert not is_loaded(cluster, 10 * _SCALE)


@pytest.mark.parametrize("name", [BARE, BARE_TEXT, STRAWBERRY])
def test_a_contender_answers_with_the_rows_that_postgresql_finds(graph: tuple[Cluster, Setup, int], name: str) -> None:
    """The first page, one in the middle and the last, with the merged status, and the line items in order."""
    cluster, setup, orders = graph
    pages = [
        NestedPage(10, None),
        *Work(10, SPREAD).pages(cluster, orders)[32:33],
        *Work(10, END).pages(cluster, orders)[:1],
    ]
    wanted = expected(pages, f"{setup.peers_schema}.merged_orders", cluster.run_sql)
    assert wanted[0]["nodes"][0]["status"] == "P"
    assert [page["pageInfo"]["hasNextPage"] for page in wanted] == [True, True, False]
    contender = next(contender for contender in CONTENDERS if contender.name == name)
    with contender.start(setup) as running:
        for page, found in zip(pages, wanted, strict=True):
            request = running.graph.request(page)
            answer = httpx.post(
                running.url + request.path, content=request.body, headers={"content-type": "application/json"}
            )
            running.graph.check(name, page, answer.json(), found)


def test_a_contender_that_refuses_the_query_is_left_out(graph: tuple[Cluster, Setup, int], tmp_path: Path) -> None:
    """The report gives the reason, and the others are measured."""
    cluster, setup, orders = graph
    chosen = replace(options(["--only", NESTED, "--rounds", "1", "--seconds", "1"]), directory=tmp_path)
    by_name = {contender.name: contender for contender in CONTENDERS}
    not_run: list[str] = []
    with ExitStack() as stack:
        strawberry, bare = (stack.enter_context(by_name[name].start(setup)) for name in (STRAWBERRY, BARE))
        refusing = replace(strawberry, graph=replace(strawberry.graph, root="parts"))
        works = COMPARED[:1]
        found = measure(works, [refusing, bare], Truth(cluster, setup, orders), tmp_path, chosen, 0.2, not_run)
    assert list(found[COMPARED[0]]) == [BARE]
    (reason,) = not_run
    assert reason.startswith("nested page of 10, strawberry: A request failed")
    assert "Cannot query field 'parts'" in reason


def test_a_server_may_spell_statuses_and_decimals_in_its_own_way() -> None:
    """A generated schema has the stored letters, and a number may lack zeros at its end."""
    answer = _answer()
    answer["data"]["orders"]["nodes"][0].update(status="OPEN", totalPrice="10")
    _GRAPH.check("peer", _PAGE, answer, _FOUND)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("nodes", 0, "status"), "PARTIAL"),
        (("nodes", 0, "totalPrice"), "10.01"),
        (("nodes", 0, "customer"), None),
        (("nodes", 0, "customer", "nation"), {"name": "CHINA"}),
        (("nodes", 0, "lineItems", "nodes"), []),
        (("nodes", 0, "lineItems", "nodes", 1, "quantity"), "4.49"),
        (("nodes", 0, "lineItems", "nodes", 1, "lineNumber"), 3),
        (("pageInfo", "hasNextPage"), False),
        (("pageInfo", "endCursor"), plain_cursor(8)),
    ],
)
def test_an_answer_that_differs_in_one_value_is_not_measured(path: tuple[str | int, ...], value: object) -> None:
    """Each value is compared, also of what is nested deepest."""
    answer = _answer()
    part = answer["data"]["orders"]
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    with pytest.raises(BenchError, match="instead of"):
        _GRAPH.check("peer", _PAGE, answer, _FOUND)


def test_pages_at_the_end_reach_the_last_order(graph: tuple[Cluster, Setup, int]) -> None:
    """Pages at the start begin with one without a cursor, and those at the end include the last full one."""
    cluster, _, orders = graph
    last = int(cluster.run_sql("SELECT max(o_orderkey) FROM public.orders_synced"))
    for size in (10, 50):
        assert Work(size, START).pages(cluster, orders)[0] == NestedPage(size, None)
        after = Work(size, END).pages(cluster, orders)[0].after
        count = int(cluster.run_sql(f"SELECT count(*) FROM public.orders_synced WHERE o_orderkey > {after}"))
        assert (count, after and after < last) == (size, True)


def test_ours_is_held_to_its_ratio_to_each_server() -> None:
    """A ratio is formed within each round. The verdict is about the median."""
    loads: dict[Work, Mapping[str, list[Load]]] = {
        COMPARED[0]: {OURS: [_load(90), _load(9), _load(90)], BARE: [_load(100), _load(10), _load(200)]},
        COMPARED[1]: {OURS: [_load(90)], MERCURIUS: [_load(41)], STRAWBERRY: [_load(5)]},
    }
    text = to_others(loads)
    assert text
    assert "0.90 (0.45..0.90) >= 0.85 met" in text
    assert "2.20 (2.20..2.20) >= 2.2 MISSED" in text  # 2.195
    assert "18.00 (18.00..18.00) >= 15 met" in text
    assert "not run" in text


def test_without_ours_there_are_no_ratios() -> None:
    """The figures of the others are reported nevertheless."""
    assert to_others({COMPARED[0]: {BARE: [_load(100)]}}) is None
    assert at_the_end({}) is None


def test_a_page_at_the_end_may_cost_little_more_than_the_first() -> None:
    """The median latency of each pair of works is compared, for each size and number of clients."""
    (start, end), (other_start, other_end) = ENDS[:2]
    text = at_the_end(
        {
            start: {OURS: [_load(100)]},
            end: {OURS: [_load(90)]},
            other_start: {OURS: [_load(100)]},
            other_end: {OURS: [_load(80)]},
        }
    )
    assert text
    assert [line.split("|")[4].strip() for line in text.splitlines()[2:]] == ["met", "MISSED"]


def test_a_larger_table_may_cost_little_more() -> None:
    """The largest scale is compared with the smallest. Beside ours is what the statement alone costs."""
    by_scale = {(0.1, 1): [_load(100)], (1.0, 1): [_load(80)], (0.1, 8): [_load(100)], (1.0, 8): [_load(70)]}
    bare = {(0.1, 1): [_load(100)], (1.0, 1): [_load(50)]}
    text = by_largest_scale({scale_title(COMPARED[0], OURS): by_scale, scale_title(COMPARED[0], BARE_TEXT): bare})
    cells = [[cell.strip() for cell in line.split("|")[4:6]] for line in text.splitlines()[2:]]
    assert cells == [["met", "2.00 (2.00..2.00)"], ["MISSED", "not run"]]


def test_the_nested_pages_are_a_part_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """They can be selected, belong to a whole run, and have a tenth of the orders by default."""
    monkeypatch.delenv("SCALE", raising=False)
    assert options(["--only", "nested"]).parts == {"nested"}
    assert NESTED in options([]).parts
    assert (options([]).scale, options([]).nested_scale) == (1, 0.1)
