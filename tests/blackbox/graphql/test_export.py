"""Exports over HTTP: every row once, in each format and on both paths, resumed, cut off, refused and charged."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from tests.blackbox.raw_connection import Wire
from tests.servers.process import PATIENCE_SECONDS, answers, running_server, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.local.cluster import Cluster
    from tests.servers.process import Server

ORDERS: Final = 2_500
# Orders whose texts a spreadsheet would run, whose customer is missing, and one that does not fit the schema.
FORMULAS: Final = {
    **dict(enumerate(("=1+1", "+1", "-1", "@a", "\tx", "\rx", 'a "b", c\nd', "'x", ""), 1)),
    **dict(enumerate(("\n=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20a"), 10)),
}
BAD: Final = 1_700
TABLES: Final = f"""
DROP SCHEMA IF EXISTS exporting CASCADE;
CREATE SCHEMA exporting;
CREATE TABLE exporting.orders AS SELECT * FROM public.orders_synced ORDER BY o_orderkey LIMIT {ORDERS};
UPDATE exporting.orders o SET o_orderkey = n FROM (
    SELECT o_orderkey AS old, row_number() OVER (ORDER BY o_orderkey) AS n FROM exporting.orders
) AS numbered WHERE o_orderkey = old;
UPDATE exporting.orders SET o_custkey = o_orderkey % 3;
ALTER TABLE exporting.orders ADD PRIMARY KEY (o_orderkey);
CREATE TABLE exporting.customers (
    c_custkey bigint PRIMARY KEY, c_name text, c_address text, c_nationkey bigint, c_phone text,
    c_acctbal numeric(18, 2), c_mktsegment text, c_comment text
);
INSERT INTO exporting.customers
SELECT n, '=Ann ' || n, '', 1, '', -5.50, 'BUILDING', '' FROM generate_series(1, 2) AS n;
-- Without being volatile: PostgreSQL would call it for each row of the table before it finds those of a page.
CREATE FUNCTION exporting.slowly(comment text) RETURNS text LANGUAGE plpgsql STABLE COST 1000000 AS
    'BEGIN PERFORM pg_sleep(600); RETURN comment; END';
CREATE VIEW exporting.slow AS
SELECT o_orderkey, o_custkey, o_orderstatus, o_totalprice, o_orderdate, o_orderpriority, o_clerk, o_shippriority,
    CASE WHEN o_orderkey > 1500 THEN exporting.slowly(o_comment) ELSE o_comment END AS o_comment
FROM exporting.orders
"""
ALL: Final = "id orderKey customerKey status totalPrice orderDate orderPriority clerk shipPriority comment"
KEYS: Final = "{ orders { edges { cursor node { orderKey } } } }"
RUNNING: Final = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '% export' AND state = 'active'"


@pytest.fixture(scope="module")
def tables(cluster: Cluster, orders_url: str) -> str:
    """The URL of a database with tables for exports."""
    cluster.run_sql(TABLES)
    for key, text in FORMULAS.items():
        quoted = text.replace("'", "''").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
        cluster.run_sql(f"UPDATE exporting.orders SET o_clerk = E'{quoted}' WHERE o_orderkey = {key}")
    return orders_url


def served(url: str, **settings: Any) -> Any:
    """A server of the tables for exports."""
    ours = {"ORDERS_TABLE": "exporting.orders", "TABLES": "customers=exporting.customers", "APP_SCHEMA": "exports"}
    return running_server(url, **{**ours, **settings})


@pytest.fixture(scope="module")
def server(tables: str) -> Iterator[Server]:
    """A server of the tables for exports."""
    with served(tables) as server:
        yield server


@pytest.fixture(scope="module")
def ordinary(tables: str) -> Iterator[Server]:
    """A server that answers everything on the ordinary path."""
    with served(tables, FAST_PATH="false") as server:
        yield server


@pytest.fixture(scope="module")
def brief(tables: str) -> Iterator[Server]:
    """A server that ends an export after its first page."""
    with served(tables, EXPORT_SECONDS="0.01", EXPLORING="on") as server:
        yield server


@pytest.fixture(scope="module")
def slow(tables: str) -> Iterator[Server]:
    """A server whose orders from the key 1,500 on take minutes to read."""
    with served(tables, ORDERS_TABLE="exporting.slow") as server:
        yield server


def export(server: Server, query: str, accept: str = "application/x-ndjson", **more: Any) -> httpx.Response:
    """The response to an export by POST."""
    headers = {"accept": accept, "accept-encoding": "identity"}
    url = f"{server.graphql}/export"
    return httpx.post(url, json={"query": query, **more.pop("body", {})}, headers=headers, **more)


def ask(wire: Wire, query: str, parameters: str = "", *headers: str) -> None:
    """Ask for an export on a connection."""
    body = json.dumps({"query": query}).encode()
    head = "\r\n".join(
        [
            f"POST /api/graphql/export{parameters} HTTP/1.1",
            "host: localhost",
            "content-type: application/json",
            f"content-length: {len(body)}",
            *headers,
        ]
    )
    wire.send(f"{head}\r\n\r\n".encode(), body)


def lines(response: httpx.Response) -> tuple[list[Any], dict[str, Any]]:
    """The rows of an NDJSON response, and its last line."""
    assert response.status_code == 200, response.text
    *rows, last = map(json.loads, response.text.splitlines())
    return rows, last


def reason(response: httpx.Response) -> str:
    """The reason of the only error of a refused export."""
    assert response.headers["content-type"] == "application/json; charset=utf-8"
    (error,) = response.json()["errors"]
    return str(error["extensions"]["reason"])


def test_every_row_is_exported_once_in_its_order_and_as_a_page_has_it(server: Server) -> None:
    """An export has one line of JSON for each row, and then a line that says that there are no more."""
    response = export(server, f"{{ orders {{ totalCount nodes {{ {ALL} }} pageInfo {{ endCursor }} }} }}")
    rows, last = lines(response)
    assert [int(row["orderKey"]) for row in rows] == list(range(1, ORDERS + 1))
    page = f"{{ orders(first: 20) {{ nodes {{ {ALL} }} }} }}"
    assert rows[:20] == httpx.post(server.graphql, json={"query": page}).json()["data"]["orders"]["nodes"]
    assert last["pageInfo"]["hasNextPage"] is False
    assert response.headers["content-type"] == "application/x-ndjson; charset=utf-8"
    assert response.headers["content-disposition"] == 'attachment; filename="orders.ndjson"'
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "query",
    [
        f"{{ orders {{ nodes {{ {ALL} }} }} }}",
        "{ o: orders(first: 1200, filter: {status: {eq: OPEN}}) { rows: edges { at: cursor node { k: orderKey clerk } } } }",
        "{ orders(orderBy: {field: TOTAL_PRICE, direction: DESC}) { edges { cursor node { orderKey customer { name } } } } }",
        (
            "query($n: Int) { orders(first: $n) { ...F } } fragment F on OrderConnection { nodes { ...G } } fragment G on Order"
            " { orderKey statusVersion customer { name orders(first: 2) { nodes { orderKey } } } }"
        ),
        "{ orders(first: 0) { nodes { orderKey } } }",
        "{ customers { nodes { customerKey name } } }",
    ],
)
def test_both_paths_export_the_same_bytes(server: Server, ordinary: Server, query: str) -> None:
    """With a plan, PostgreSQL writes the lines; without one, graphql-core does."""
    body = {"variables": {"n": 300}} if "$n" in query else {}
    fast, other = (export(one, query, body=body) for one in (server, ordinary))
    assert fast.status_code == 200
    assert fast.content == other.content
    if "nodes" in query and "first: 2" not in query:
        tables = [export(one, query, "text/csv", body=body) for one in (server, ordinary)]
        assert tables[0].content == tables[1].content


def test_the_fields_of_changes_are_exported_without_a_plan(server: Server) -> None:
    """Nothing that a page can have is left out of an export."""
    rows, last = lines(
        export(server, "{ orders(first: 30) { nodes { orderKey statusChanges { nodes { version } } } } }")
    )
    assert [row["statusChanges"] for row in rows] == [{"nodes": []}] * 30
    assert last["pageInfo"]["hasNextPage"] is True


def test_csv_has_a_header_the_values_of_relations_to_one_and_no_formulas(server: Server) -> None:
    """A text that a spreadsheet would run gets an apostrophe. Numbers, of which some are negative, stay numbers."""
    query = "{ orders { edges { cursor node { orderKey clerk customer { name accountBalance } } } } }"
    response = export(server, query, "text/csv")
    assert response.headers["content-disposition"] == 'attachment; filename="orders.csv"'
    header, *rows = csv.reader(io.StringIO(response.text, newline=""))
    assert header == ["cursor", "orderKey", "clerk", "customer.name", "customer.accountBalance"]
    assert len(rows) == ORDERS
    found = {int(row[1]): row for row in rows}
    shown = {
        key: text if text[:1] not in {*"=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"} else f"'{text}"
        for key, text in FORMULAS.items()
        if text
    }
    assert {key: found[key][2] for key in shown} == shown
    assert found[1][3:] == ["'=Ann 1", "-5.50"]
    assert found[3][3:] == ["", ""]
    kept = httpx.get(
        f"{server.graphql}/export",
        params={"query": query, "format": "csv", "formulas": "kept"},
        headers={"accept": "*/*"},
    )
    _, *rows = csv.reader(io.StringIO(kept.text, newline=""))
    assert {int(row[1]): row[2] for row in rows if int(row[1]) in FORMULAS} == FORMULAS


def test_a_link_exports_a_document_by_its_hash(server: Server) -> None:
    """A browser sends no header that names a format, and may come from a page of any origin."""
    query = "query Mine { orders(first: 3) { nodes { orderKey } } }"
    digest = hashlib.sha256(query.encode()).hexdigest()
    extensions = {"persistedQuery": {"version": 1, "sha256Hash": digest}}
    assert "errors" not in httpx.post(server.graphql, json={"query": query, "extensions": extensions}).json()
    browser = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8", "origin": "https://other.example"}
    response = httpx.get(
        f"{server.graphql}/export", params={"documentId": f"sha256:{digest}", "format": "csv"}, headers=browser
    )
    assert response.text.splitlines() == ["orderKey", "1", "2", "3"]
    refused = httpx.post(f"{server.graphql}/export", json={"query": query}, headers=browser)
    assert (refused.status_code, reason(refused)) == (403, "ORIGIN_FORBIDDEN")


def test_an_export_is_compressed_for_a_client_that_accepts_it(server: Server) -> None:
    """The stream is one gzip member, in which each page can be read as soon as it is there."""
    query = f"{{ orders {{ nodes {{ {ALL} }} }} }}"
    plain = export(server, query)
    with httpx.stream(
        "POST", f"{server.graphql}/export", json={"query": query}, headers={"accept-encoding": "gzip"}
    ) as response:
        assert response.headers["content-encoding"] == "gzip"
        body = b"".join(response.iter_raw())
    assert gzip.decompress(body) == plain.content
    assert len(body) < len(plain.content) / 3


def test_an_export_that_was_cut_off_is_resumed_after_its_last_whole_line(server: Server) -> None:
    """Every row is there once, wherever the connection broke."""
    with Wire(server) as wire:
        ask(wire, KEYS)
        wire.head()
        part = wire.read(int(wire.line(), 16) - 20)
    *whole, _cut = part.split(b"\n")
    first = [json.loads(line) for line in whole]
    query = "query($after: String) { orders(after: $after) { edges { cursor node { orderKey } } } }"
    rest, last = lines(export(server, query, body={"variables": {"after": first[-1]["cursor"]}}))
    assert [int(row["node"]["orderKey"]) for row in (*first, *rest)] == list(range(1, ORDERS + 1))
    assert last["pageInfo"] == {"hasNextPage": False, "endCursor": rest[-1]["cursor"]}


def test_an_export_ends_by_itself_and_says_where_to_continue(brief: Server) -> None:
    """A proxy would cut it off without a word."""
    found: list[int] = []
    after, more, pages = None, True, 0
    query = "query($after: String) { orders(after: $after) { nodes { orderKey } } }"
    while more:
        rows, last = lines(export(brief, query, body={"variables": {"after": after}}))
        found += [int(row["orderKey"]) for row in rows]
        after, more = last["pageInfo"]["endCursor"], last["pageInfo"]["hasNextPage"]
        pages += 1
    assert found == list(range(1, ORDERS + 1))
    assert pages > 1


def test_a_row_that_does_not_fit_the_schema_is_null_and_reported_at_the_end(server: Server, cluster: Cluster) -> None:
    """The rows around it are exported. Its error has its number."""
    cluster.run_sql(f"UPDATE exporting.orders SET o_orderpriority = 'WRONG' WHERE o_orderkey = {BAD}")
    try:
        rows, last = lines(export(server, "{ orders { nodes { orderKey orderPriority } } }"))
        table = export(server, "{ orders { nodes { orderKey orderPriority } } }", "text/csv").text.splitlines()
    finally:
        cluster.run_sql(f"UPDATE exporting.orders SET o_orderpriority = '1-URGENT' WHERE o_orderkey = {BAD}")
    assert [number for number, row in enumerate(rows, 1) if row is None] == [BAD]
    assert len(rows) == ORDERS
    (error,) = last["errors"]
    assert (error["path"], error["extensions"]["reason"]) == (
        ["orders", "nodes", BAD - 1, "orderPriority"],
        "DATA_INVALID",
    )
    assert (table[BAD], len(table)) == (",", ORDERS + 1)


def test_trailer_fields_say_at_the_end_of_a_table_whether_rows_follow(server: Server) -> None:
    """A table has no place for it. They are sent to a client that accepts them."""
    for asks in (True, False):
        with Wire(server) as wire:
            ask(wire, "{ orders(first: 2) { nodes { orderKey } } }", "?format=csv", "te: trailers" if asks else "x: y")
            headers = wire.head()[1]
            chunks = []
            while size := int(wire.line(), 16):
                chunks.append(wire.read(size))
                assert wire.line() == ""
            trailers = []
            while line := wire.line():
                trailers.append(line.partition(": ")[::2])
        assert b"".join(chunks) == b"orderKey\r\n1\r\n2\r\n"
        assert ("trailer" in headers) is asks
        if asks:
            _, last = lines(export(server, "{ orders(first: 2) { nodes { orderKey } } }"))
            end = last["pageInfo"]["endCursor"]
            assert trailers == [("x-has-next-page", "true"), ("x-end-cursor", end)]
        else:
            assert trailers == []


@pytest.mark.parametrize(
    ("query", "expected", "path"),
    [
        ("{ orders { nodes { orderKey } ", "SYNTAX", None),
        ("{ orders { nodes { unknown } } }", "DOCUMENT_INVALID", None),
        ("{ __typename }", "DOCUMENT_INVALID", ["__typename"]),
        ("{ __schema { description } }", "DOCUMENT_INVALID", ["__schema"]),
        ("{ orderCount { count } }", "DOCUMENT_INVALID", ["orderCount"]),
        ("{ order(orderKey: 1) { orderKey } }", "DOCUMENT_INVALID", ["order"]),
        ("{ ordersPage { nodes { orderKey } } }", "DOCUMENT_INVALID", ["ordersPage"]),
        ("{ orders { nodes { orderKey } } b: orders { nodes { orderKey } } }", "DOCUMENT_INVALID", None),
        ("{ orders { pageInfo { hasNextPage } } }", "DOCUMENT_INVALID", ["orders"]),
        ("{ orders { nodes { orderKey } edges { cursor } } }", "DOCUMENT_INVALID", ["orders"]),
        ("mutation { clearOrderStatus(input: {orderKey: 1}) { change { version } } }", "DOCUMENT_INVALID", None),
        ("subscription { orderStatusChanged { orderKey } }", "DOCUMENT_INVALID", None),
        ("query($_exportFirst: Int) { orders(first: $_exportFirst) { nodes { id } } }", "DOCUMENT_INVALID", None),
        ("{ orders { _exportPageInfo: nodes { orderKey } } }", "DOCUMENT_INVALID", ["orders"]),
        ("{ orders(last: 5) { nodes { orderKey } } }", "PAGE_ARGUMENTS_CONFLICT", ["orders"]),
        ('{ o: orders(before: "x") { nodes { orderKey } } }', "PAGE_ARGUMENTS_CONFLICT", ["o"]),
        ("{ orders(first: -1) { nodes { orderKey } } }", "PAGE_SIZE_INVALID", ["orders"]),
        ('{ orders(after: "x") { nodes { orderKey } } }', "CURSOR_INVALID", ["orders"]),
        ("query($n: Int!) { orders(first: $n) { nodes { orderKey } } }", "VARIABLES_INVALID", None),
        (
            "query A { orders { nodes { orderKey } } } query B { orders { nodes { id } } }",
            "OPERATION_UNDETERMINED",
            None,
        ),
        ("", "PARAMETER_INVALID", None),
    ],
)
def test_what_cannot_be_exported_is_refused_with_its_place(
    server: Server, query: str, expected: str, path: list[str] | None
) -> None:
    """Nothing is read for it, and no client takes the response for an export."""
    response = export(server, query)
    assert response.status_code >= 400
    assert reason(response) == expected
    assert response.json()["errors"][0].get("path") == path


@pytest.mark.parametrize(
    ("selection", "path"),
    [
        ("statusChanges { nodes { version } }", ["statusChanges"]),
        ("customer { orders { nodes { orderKey } } }", ["customer", "orders"]),
    ],
)
def test_csv_has_no_place_for_lists(server: Server, selection: str, path: list[str]) -> None:
    """The same selection can be exported as NDJSON."""
    query = f"{{ orders {{ nodes {{ orderKey {selection} }} }} }}"
    response = export(server, query, "text/csv")
    assert (response.status_code, reason(response)) == (400, "DOCUMENT_INVALID")
    assert response.json()["errors"][0]["path"] == ["orders", "nodes", *path]


def test_terms_that_the_server_does_not_know_are_refused(server: Server) -> None:
    """The method, the media type and the parameters of the URL."""
    url = f"{server.graphql}/export"
    assert export(server, KEYS, "application/json").status_code == 406
    assert httpx.put(url, json={"query": KEYS}).headers["allow"] == "GET, POST"
    for parameters in ({"format": "xml"}, {"formulas": "run"}):
        assert reason(export(server, KEYS, params=parameters)) == "PARAMETER_INVALID"
    assert reason(httpx.post(url, content=b"x", headers={"content-type": "text/plain"})) == "CONTENT_TYPE_UNSUPPORTED"


def test_a_caller_without_a_role_exports_nothing(tables: str) -> None:
    """As of a page."""
    settings = {"AUTH_MODE": "databricks-app", "DATABRICKS_APP_NAME": "orders", "READER_USERS": "ann@example.com"}
    with served(tables, **settings) as server:
        url = f"{server.graphql}/export"
        answers = [
            httpx.post(url, json={"query": KEYS}, headers={"x-forwarded-email": email, "x-forwarded-user": email})
            for email in ("ann@example.com", "bob@example.com")
        ]
    assert len(lines(answers[0])[0]) == ORDERS
    assert (answers[1].status_code, reason(answers[1])) == (403, "ROLE_MISSING")


def test_an_operation_that_costs_too_much_for_one_row_is_refused_and_others_are_read_in_smaller_pages(
    tables: str,
) -> None:
    """The pages of an export cost what pages cost, and a caller who has no points left resumes later."""
    nested = "{ customers { nodes { customerKey orders(first: 500) { nodes { orderKey clerk comment } } } } }"
    with served(tables, LIMIT_COST="3000", RATE_LIMIT="1", RATE_BURST="7000") as server:
        rows, _ = lines(export(server, nested.replace("500", "100")))
        assert len(rows) == 2
        assert reason(export(server, nested.replace("500", "1000"))) == "COST_EXCEEDED"
        rows, last = lines(export(server, "{ orders { nodes { orderKey clerk } } }"))
    assert 0 < len(rows) < ORDERS
    assert last["pageInfo"]["hasNextPage"] is True
    assert [error["extensions"]["reason"] for error in last["errors"]] == ["RATE_LIMITED"]


def test_the_statement_of_an_export_ends_with_its_client(slow: Server, cluster: Cluster) -> None:
    """Two exports run at once, and a third is refused. When their clients go away, PostgreSQL works no longer."""
    query = "{ orders { nodes { orderKey comment } } }"
    wires = [Wire(slow) for _ in range(2)]
    for wire in wires:
        ask(wire, query)
        assert wire.head()[0] == "HTTP/1.1 200 OK"
    wait_for(lambda: int(cluster.run_sql(RUNNING)) > 0, what=lambda: "a statement of an export")
    refused = export(slow, query)
    assert (refused.status_code, reason(refused)) == (503, "OVERLOADED")
    assert refused.headers["retry-after"] == "1"
    page = {"query": "{ orders(first: 5) { nodes { orderKey } } }"}
    assert len(httpx.post(slow.graphql, json=page).json()["data"]["orders"]["nodes"]) == 5
    for wire in wires:
        wire.close()
    wait_for(lambda: int(cluster.run_sql(RUNNING)) == 0, what=lambda: "the statements of exports to end")
    rows, _ = lines(export(slow, "{ orders(first: 700) { nodes { orderKey comment } } }"))
    assert len(rows) == 700


def test_a_server_that_stops_ends_its_exports_where_they_can_be_resumed(tables: str) -> None:
    """The client has the rows that it was sent, whole, and the line that says how to go on."""
    # So many bytes that they do not fit into the buffers between server and client.
    query = f"{{ orders {{ nodes {{ orderKey {' '.join(f'c{number}: comment' for number in range(60))} }} }} }}"
    with served(tables, ORDERS_TABLE="public.orders_synced") as server, Wire(server) as wire:
        ask(wire, query)
        wire.head()
        server.process.terminate()
        wait_for(lambda: not answers(f"{server.url}/readyz"), what=lambda: "the server to stop")
        body = b""
        while size := int(wire.line(), 16):
            body += wire.read(size)
            wire.line()
        assert server.process.wait(PATIENCE_SECONDS) == 0
    *rows, last = map(json.loads, body.splitlines())
    assert 0 < len(rows) < 15_000
    assert last["pageInfo"]["hasNextPage"] is True
    assert "errors" not in last


def test_the_log_says_who_took_how_many_rows(server: Server) -> None:
    """One line for the request, as for every other, and one for the export."""
    request_id = "the-export-in-the-log"
    httpx.post(
        f"{server.graphql}/export",
        json={"query": "query Taken { orders(first: 1100) { nodes { orderKey } } }"},
        headers={"x-request-id": request_id},
    )

    def written() -> list[dict[str, Any]]:
        found = [json.loads(line) for line in server.log().splitlines() if request_id in line]
        return found if len(found) == 2 else []

    wait_for(lambda: bool(written()), what=lambda: "the lines of the export")
    by_event = {line["event"]: line for line in written()}
    assert by_event["exported"]["user"] == "local"
    assert (by_event["exported"]["rows"], by_event["exported"]["complete"]) == (1100, False)
    request = by_event["request"]
    assert (request["path"], request["operation"], request["outcome"]) == ("/api/graphql/export", "Taken", "ok")
    assert (request["statements"], request["fast"]) == (2, True)
