"""Pages, counts and statistics of a part of the orders: of attackers, and of frontends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.faults.asked import ALL_FIELDS, FIELDS, Asked, aliases, known, page_of, varied

if TYPE_CHECKING:
    from collections.abc import Iterator


def filters() -> Iterator[Asked]:
    """Pages, counts and statistics of a part of the orders, by every argument."""
    conditions = {
        "clerk": 'clerk: {eq: "nobody"}',
        "clerks": 'clerk: {in: ["nobody", "somebody"]}',
        "priority": "orderPriority: {in: []}",
        "status": "status: {in: []}",
        "status and date": 'status: {eq: OPEN}, orderDate: {lt: "1993-01-01"}',
        "clerk and month": 'clerk: {eq: "nobody"}, orderDate: {gte: "1998-07-01"}',
        "clerk and all dates": 'clerk: {eq: "nobody"}, orderDate: {gte: "1900-01-01"}',
        "clerk and customer": 'clerk: {eq: "nobody"}, customerKey: {eq: 7}',
        "customer": "customerKey: {eq: 7}",
        "key": "orderKey: {eq: 7}",
        "day": 'orderDate: {gte: "1995-01-01", lte: "1995-01-01"}',
        "price": 'totalPrice: {gte: "400000"}',
        "price and date": 'totalPrice: {lte: "2000"}, orderDate: {lte: "1992-03-01"}',
        "key and date": 'orderKey: {gt: "5900000"}, orderDate: {lte: "1992-03-01"}',
    }
    for name, condition in conditions.items():
        if name != "status and date":
            yield known(f"page by {name}", page_of(f"first: 1, filter: {{{condition}}}"))
        yield known(f"count by {name}", f"{{ orderCount(filter: {{{condition}}}) {{ count }} }}")
    for name in ("clerk", "status", "month", "day", "price"):
        condition = conditions.get(name, 'orderDate: {gte: "1998-07-01"}')
        yield known(
            f"statistics by {name}", f"{{ orderStats(filter: {{{condition}}}) {{ count byStatus {{ count }} }} }}"
        )
    for name in ("day", "price", "customer", "price and date", "key and date", "clerk"):
        order = "orderBy: {field: ORDER_DATE}" if "price" in name else "orderBy: {field: TOTAL_PRICE}"
        yield known(f"page by {name}, sorted", page_of(f"first: 1, filter: {{{conditions[name]}}}, {order}"))
    week = 'orderDate: {gte: "1995-01-01", lt: "1995-01-08"}'
    yield known("page by week, sorted", page_of(f"first: 10, filter: {{{week}}}, orderBy: {{field: TOTAL_PRICE}}"))
    yield known("sorted page", page_of("first: 1, orderBy: {field: TOTAL_PRICE, direction: DESC}"))
    yield varied(
        "page by 1,000 clerks",
        "query($c: [String!]) { orders(first: 1, filter: {clerk: {in: $c}}) { nodes { id } } }",
        lambda number: {"c": [f"nobody {number} {n}" for n in range(1_000)]},
    )
    yield varied(
        "page by 1,000 customers",
        "query($c: [BigInt!]) { orders(first: 1, filter: {customerKey: {in: $c}}, orderBy: {field: TOTAL_PRICE}) { nodes { id } } }",
        lambda number: {"c": [number * 7 + 97 * n for n in range(1_000)]},
    )
    for page in (1, 2, 100, 1_000, 20_000, 149_000, 1_400_000):
        yield known(f"numbered page {page}", f"{{ ordersPage(page: {page}, pageSize: 1) {{ nodes {{ id }} }} }}")
    far = f"ordersPage(page: 149000, pageSize: 1) {{ nodes {{ {ALL_FIELDS} }} }}"
    yield known("numbered page 149000 with all fields", f"{{ {far} }}")
    by_price = f"ordersPage(page: 149000, pageSize: 1, orderBy: {{field: TOTAL_PRICE}}) {{ nodes {{ {ALL_FIELDS} }} }}"
    yield known("numbered page 149000 by price", f"{{ {by_price} }}")
    yield known(
        "numbered page 5,000 by date",
        "{ ordersPage(page: 5000, pageSize: 10, orderBy: {field: ORDER_DATE}) { nodes { id } } }",
    )
    yield known("numbered page without orders", "{ ordersPage(page: 9, pageSize: 1) { page } }")
    yield known("sample of 1", "{ orderSample(size: 1) { id } }")
    yield known("sample of 100", "{ orderSample(size: 100) { id } }")
    yield known("all orders counted", "{ orderCount { count } }")


def lists() -> Iterator[Asked]:
    """Lists that frontends show every day."""
    newest = "orderBy: {field: ORDER_DATE, direction: DESC}"
    since = 'orderDate: {gte: "1998-01-01"}'
    for name, arguments in {
        "open orders": "filter: {status: {eq: OPEN}}",
        "open orders, newest first": f"filter: {{status: {{eq: OPEN}}}}, {newest}",
        "partial orders, newest first": f"filter: {{status: {{in: [PARTIAL]}}}}, {newest}",
        "open orders, dearest first": "filter: {status: {eq: OPEN}}, orderBy: {field: TOTAL_PRICE, direction: DESC}",
        "urgent orders, newest first": f"filter: {{orderPriority: {{eq: URGENT}}}}, {newest}",
        "open orders since January, newest first": f"filter: {{status: {{eq: OPEN}}, {since}}}, {newest}",
        "orders over a price, newest first": f'filter: {{totalPrice: {{gte: "400000"}}}}, {newest}',
        "orders over a high price, newest first": f'filter: {{totalPrice: {{gte: "450000"}}}}, {newest}',
        "a customer's orders, newest first": f"filter: {{customerKey: {{eq: 7}}}}, {newest}",
        "a clerk's orders, newest first": f'filter: {{clerk: {{eq: "Clerk#000000951"}}}}, {newest}',
    }.items():
        yield known(f"50 {name}", page_of(f"first: 50, {arguments}", FIELDS))
        if "open" in name:
            yield known(
                f"50 {name}, counted", f"{{ orders(first: 50, {arguments}) {{ totalCount nodes {{ {FIELDS} }} }} }}"
            )
    three = (
        f"orders(first: 10, filter: {{status: {{eq: {status}}}}}) {{ nodes {{ {FIELDS} }} }}"
        for status in ("OPEN", "PARTIAL", "FULFILLED")
    )
    yield known("three lists of 10", f"{{ {' '.join(f'a{n}: {one}' for n, one in enumerate(three))} }}")


def attacks() -> Iterator[Asked]:
    """Conditions that few orders meet, or none, each sorted by another column: a walk in that order has no end."""
    few = {
        "price over all": 'totalPrice: {gte: "550000"}',
        "price over most": 'totalPrice: {gte: "450000"}',
        "day after all": 'orderDate: {gt: "1998-08-02"}',
        "first days": 'status: {in: [OPEN]}, orderDate: {lt: "1992-01-05"}',
        "key after all": 'orderKey: {gt: "6000000"}',
        "customers without orders": f"customerKey: {{in: {json.dumps([*range(3, 1_500, 3)])}}}",
        "priority and price": 'orderPriority: {eq: URGENT}, totalPrice: {gte: "550000"}',
    }
    for name, condition in few.items():
        for sort in ("ORDER_KEY", "TOTAL_PRICE") if "days" in name else ("ORDER_KEY", "ORDER_DATE", "TOTAL_PRICE"):
            arguments = f"filter: {{{condition}}}, orderBy: {{field: {sort}}}"
            yield known(f"{name} by {sort}", page_of(f"first: 1, {arguments}"))
    by_date = 'filter: {totalPrice: {gte: "550000"}}, orderBy: {field: ORDER_DATE}'
    yield known(
        "numbered page, price over all by date", f"{{ ordersPage(pageSize: 1, {by_date}) {{ nodes {{ id }} }} }}"
    )
    yield known(
        "20 aliases of price over all by date",
        aliases(20, lambda _: f"orders(first: 1, {by_date}) {{ nodes {{ id }} }}"),
    )


def surprises() -> Iterator[Asked]:
    """Pages of a status that only the others in the page's order have: nothing tells the price, and they pay afterwards."""
    first = 'filter: {status: {eq: OPEN}, orderDate: {lt: "1992-01-05"}}, orderBy: {field: ORDER_DATE}'
    yield known("first days by ORDER_DATE", page_of(f"first: 1, {first}"))
    early = 'filter: {status: {eq: OPEN}, orderDate: {lt: "1993-01-01"}}'
    yield known("page by status and date", page_of(f"first: 1, {early}"))
    yield known("page by status and date, sorted", page_of(f"first: 1, {early}, orderBy: {{field: TOTAL_PRICE}}"))
    yield known(
        "50 fulfilled orders, newest first",
        page_of("first: 50, filter: {status: {eq: FULFILLED}}, orderBy: {field: ORDER_DATE, direction: DESC}", FIELDS),
    )
