"""The bare statements: one for a page with all that is around its orders, whose JSON PostgreSQL writes.

`json_page` builds it with PostgreSQL's JSON functions, as most would. `text_page` puts it together from strings.
"""

from __future__ import annotations

from typing import Final

from tests.bench.nested.query import LINES

_STATUS: Final = "CASE coalesce(s.status, o.o_orderstatus) WHEN 'O' THEN 'OPEN' WHEN 'F' THEN 'FULFILLED' WHEN 'P' THEN 'PARTIAL' END"


def json_page(orders: str, overlay: str, size: int) -> str:
    """The statement that uses JSON functions. Its argument is the key before the page."""
    customer = """json_build_object(
        'name', c_name, 'marketSegment', c_mktsegment, 'nation', json_build_object('name', n_name))"""
    lines = """json_agg(json_build_object(
        'lineNumber', l_linenumber, 'quantity', l_quantity::text, 'extendedPrice', l_extendedprice::text,
        'shipDate', l_shipdate, 'part', json_build_object('name', p_name, 'brand', p_brand)))"""
    return f"""
    SELECT json_build_object('data', json_build_object('orders', json_build_object(
        'nodes', coalesce(json_agg(node) FILTER (WHERE number <= {size}), '[]'),
        'pageInfo', json_build_object('hasNextPage', count(*) > {size}, 'endCursor', {_end_cursor(size)})
    )))::text
    FROM (
        SELECT o.o_orderkey AS key, o.number, json_build_object(
            'orderKey', o.o_orderkey::text, 'status', {_STATUS}, 'totalPrice', o.o_totalprice::text,
            'orderDate', o.o_orderdate, 'customer', c.customer,
            'lineItems', json_build_object('nodes', coalesce(l.nodes, '[]'))
        ) AS node
        {_rows(orders, overlay, size, customer, lines)}
    ) AS page"""


def text_page(orders: str, overlay: str, size: int) -> str:
    """The statement that concatenates strings. Its argument is the key before the page."""
    customer = """
        '{"name":' || to_json(c_name) || ',"marketSegment":' || to_json(c_mktsegment)
        || ',"nation":' || coalesce('{"name":' || to_json(n_name) || '}', 'null') || '}'"""
    lines = """string_agg(
        '{"lineNumber":' || l_linenumber || ',"quantity":"' || l_quantity || '","extendedPrice":"' || l_extendedprice
        || '","shipDate":"' || l_shipdate || '","part":'
        || coalesce('{"name":' || to_json(p_name) || ',"brand":' || to_json(p_brand) || '}', 'null') || '}', ',')"""
    return f"""
    SELECT '{{"data":{{"orders":{{"nodes":[' || coalesce(string_agg(node, ',') FILTER (WHERE number <= {size}), '')
        || '],"pageInfo":{{"hasNextPage":' || CASE WHEN count(*) > {size} THEN 'true' ELSE 'false' END
        || ',"endCursor":' || coalesce('"' || {_end_cursor(size)} || '"', 'null') || '}}}}}}}}'
    FROM (
        SELECT o.o_orderkey AS key, o.number,
            '{{"orderKey":"' || o.o_orderkey || '","status":"' || {_STATUS} || '","totalPrice":"' || o.o_totalprice
            || '","orderDate":"' || o.o_orderdate || '","customer":' || coalesce(c.customer, 'null')
            || ',"lineItems":{{"nodes":[' || coalesce(l.nodes, '') || ']}}}}' AS node
        {_rows(orders, overlay, size, customer, lines)}
    ) AS page"""


def _end_cursor(size: int) -> str:
    key = f"max(key) FILTER (WHERE number <= {size})"
    return f"""translate(encode(convert_to('[1,"order_key+",' || {key} || ']', 'UTF8'), 'base64'), '+/=', '-_')"""


def _rows(orders: str, overlay: str, size: int, customer: str, lines: str) -> str:
    """The orders of a page, and one more, which shows whether others follow. Nothing around that one is read."""
    return f"""
    FROM (
        SELECT o_orderkey, o_custkey, o_orderstatus, o_totalprice, o_orderdate,
               row_number() OVER (ORDER BY o_orderkey) AS number
        FROM {orders} WHERE o_orderkey > $1 ORDER BY o_orderkey LIMIT {size} + 1
    ) AS o
    LEFT JOIN LATERAL (SELECT status FROM {overlay} WHERE o_orderkey = o.o_orderkey OFFSET 0) AS s ON true
    LEFT JOIN LATERAL (
        SELECT {customer} AS customer
        FROM public.customer_synced LEFT JOIN public.nation_synced ON n_nationkey = c_nationkey
        WHERE c_custkey = o.o_custkey AND o.number <= {size}
    ) AS c ON true
    LEFT JOIN LATERAL (
        SELECT {lines} AS nodes
        FROM (
            SELECT l_linenumber, l_quantity, l_extendedprice, l_shipdate, p_name, p_brand
            FROM public.lineitem_synced LEFT JOIN public.part_synced ON p_partkey = l_partkey
            WHERE l_orderkey = o.o_orderkey AND o.number <= {size}
            ORDER BY l_linenumber LIMIT {LINES}
        ) AS line
    ) AS l ON true"""
