"""Pages of the tables around the orders, and rows and pages within pages: of attackers, and of frontends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.asked import Asked, aliases, known, page_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_DETAIL = (
    "orderKey status totalPrice orderDate customer { name marketSegment nation { name } } "
    "lineItems(first: 10) { nodes { lineNumber quantity extendedPrice shipDate part { name brand } } }"
)
_LATEST = 'filter: {orderDate: {gt: "1998-08-02"}}'


def customers(arguments: str, selection: str = "name") -> str:
    """A document that asks for a page of customers."""
    return f"{{ customers({arguments}) {{ nodes {{ {selection} }} }} }}"


def of_nations(arguments: str, selection: str = "nodes { name }") -> str:
    """A document that asks for a page of the customers of each nation."""
    return f"{{ nations {{ customers({arguments}) {{ {selection} }} }} }}"


def orders_of_customers(size: int, arguments: str, selection: str = "nodes { orderKey }") -> str:
    """A document that asks for a page of the orders of so many customers."""
    return customers(f"first: {size}", f"orders({arguments}) {{ {selection} }}")


def tables() -> Iterator[Asked]:
    """Pages and rows of a table by itself."""
    yield known("customer", "{ customer(customerKey: 7) { name } }")
    yield known("50 customers by key", aliases(50, lambda n: f"customer(customerKey: {n}) {{ name }}"))
    yield known("nations", "{ nations { name } }")
    yield known("nations under 20 aliases", aliases(20, lambda _: "nations { name }"))
    yield known("regions with nations", "{ regions { name nations { name } } }")
    conditions = {
        "segment": "marketSegment: {eq: BUILDING}",
        "no segment": "marketSegment: {in: []}",
        "name": 'name: {eq: "nobody"}',
        "start of all names": 'name: {startsWith: "Customer#"}',
        "start of no name": 'name: {startsWith: "x"}',
        "nation": "nationKey: {eq: 3}",
    }
    for name, condition in conditions.items():
        for sort in ("CUSTOMER_KEY", "NAME", "ACCOUNT_BALANCE"):
            arguments = f"first: 1, filter: {{{condition}}}, orderBy: {{field: {sort}}}"
            yield known(f"customers by {name}, {sort}", customers(arguments))
        yield known(f"count by {name}", f"{{ customers(first: 0, filter: {{{condition}}}) {{ totalCount }} }}")
    for size in (10, 1_000):
        yield known(f"{size} customers", customers(f"first: {size}"))
    yield known("customers, ACCOUNT_BALANCE", customers("first: 1, orderBy: {field: ACCOUNT_BALANCE}"))


def relations() -> Iterator[Asked]:
    """Rows that other rows lead to."""
    yield known("10 order details", page_of("first: 10", _DETAIL))
    yield known("50 order details", page_of("first: 50", _DETAIL))
    yield known("customers of 1,000 orders", page_of("first: 1000", "customer { name }"))
    yield known("regions of 1,000 orders", page_of("first: 1000", "customer { nation { region { name } } }"))
    yield known(
        "customer under 50 aliases", page_of("first: 10", " ".join(f"a{n}: customer {{ name }}" for n in range(50)))
    )
    yield known("parts of 1,000 lines", page_of("first: 250", "lineItems(first: 4) { nodes { part { name } } }"))
    for size in (1, 5):
        selection = "customer { name }"
        for _ in range(2):
            selection = f"customer {{ orders(first: {size}) {{ nodes {{ {selection} }} }} }}"
        yield known(f"cycle of pages of {size}", page_of(f"first: {size}", selection))


def nested_pages() -> Iterator[Asked]:
    """Pages and counts of the rows of many parents."""
    thousand = {
        "of __typename": "lineItems(first: 0) { __typename }",
        "of hasNextPage": "lineItems(first: 0) { pageInfo { hasNextPage } }",
        "with all of pageInfo": "lineItems(last: 1) { pageInfo { hasPreviousPage hasNextPage startCursor endCursor } }",
        "of 1": "lineItems(first: 1) { nodes { lineNumber } }",
        "of 7": "lineItems(first: 7) { nodes { lineNumber } }",
        "of a count": "lineItems(first: 0) { totalCount }",
    }
    for name, selection in thousand.items():
        yield known(f"1,000 pages {name}", page_of("first: 1000", selection))
    counts = " ".join(f"a{n}: totalCount" for n in range(10))
    yield known("100 counts under 10 aliases", page_of("first: 100", f"lineItems(first: 0) {{ {counts} }}"))
    pages = " ".join(f"a{n}: lineItems(first: {n}) {{ nodes {{ lineNumber }} }}" for n in range(10))
    yield known("100 pages of 10 sizes", page_of("first: 100", pages))
    yield known(
        "lines of the parts of 100 lines",
        page_of("first: 100", "lineItems(first: 1) { nodes { part { lineItems(first: 1) { nodes { quantity } } } } }"),
    )
    searches = {
        "": "",
        ", sorted": "orderBy: {field: TOTAL_PRICE}",
        ", by status": "filter: {status: {eq: PARTIAL}}",
        ", by clerk": 'filter: {clerk: {eq: "nobody"}}',
        ", by date": _LATEST,
        ", by date, sorted": f"{_LATEST}, orderBy: {{field: TOTAL_PRICE}}",
    }
    for name, arguments in searches.items():
        yield known(f"orders of 500 customers{name}", orders_of_customers(500, f"first: 1, {arguments}"))
        yield known(f"counts of 500 customers{name}", orders_of_customers(500, f"first: 0, {arguments}", "totalCount"))
    several = (
        f"a{n}: orders(first: 1, filter: {{totalPrice: {{gt: {n}}}}}, orderBy: {{field: ORDER_DATE}}) "
        "{ totalCount nodes { orderKey } }"
        for n in range(20)
    )
    yield known("20 searches of 50 customers", customers("first: 50", " ".join(several)))
    segment = "filter: {marketSegment: {eq: BUILDING}}"
    for name, arguments in {
        "": "",
        ", NAME": "orderBy: {field: NAME}",
        ", ACCOUNT_BALANCE": "orderBy: {field: ACCOUNT_BALANCE}",
        " of a segment": segment,
        " of no name": 'filter: {name: {startsWith: "x"}}',
        " of a segment, NAME": f"{segment}, orderBy: {{field: NAME}}",
    }.items():
        yield known(f"customers of nations{name}", of_nations(f"first: 1, {arguments}"))
        yield known(f"customers of nations{name}, counted", of_nations(f"first: 0, {arguments}", "totalCount"))
    yield known(
        "orders of the customers of regions",
        "{ regions { nations { customers(first: 1) { nodes { orders(first: 1) { nodes { orderKey } } } } } } }",
    )
