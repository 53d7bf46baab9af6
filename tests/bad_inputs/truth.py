"""Random valid queries with known answers, which are worked out from the rows in Python, without a server."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from schema.orders.enums import OrderPriority, OrderStatus
from schema.orders.types import ORDERS
from schema.relay.cursors import encode_cursor
from schema.relay.node import encode_global_id
from tests.differences.arguments import Word, literal, plain
from tests.differences.tables import CLEAN, ORDERINGS, rows_of
from tests.support.orderings import position_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from schema.ports.values import Ordering

_SORT_FIELD: Final = {
    ORDERS["order_key"]: ("ORDER_KEY", "orderKey"),
    ORDERS["order_date"]: ("ORDER_DATE", "orderDate"),
    ORDERS["total_price"]: ("TOTAL_PRICE", "totalPrice"),
}
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "eq": lambda value, given: value == given,
    "in": lambda value, given: value in given,
    "gt": lambda value, given: value > given,
    "gte": lambda value, given: value >= given,
    "lt": lambda value, given: value < given,
    "lte": lambda value, given: value <= given,
}
_OPERATORS: Final = {
    "orderKey": tuple(_COMPARE),
    "customerKey": ("eq", "in"),
    "status": ("eq", "in"),
    "orderPriority": ("eq", "in"),
    "clerk": ("eq", "in"),
    "orderDate": ("gt", "gte", "lt", "lte"),
    "totalPrice": ("gt", "gte", "lt", "lte"),
}
_MOST: Final = 60


@dataclass(frozen=True)
class Question:
    """The body of a request, and the expected response."""

    body: dict[str, Any]
    answer: dict[str, Any]


@dataclass(frozen=True)
class _RootField:
    """One root field, its variables by declaration, and its expected value."""

    field: str
    variables: dict[str, Any]
    answer: Any


class Truth:
    """The rows of the plain table, and random questions about them."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._rows = [
            {
                "id": encode_global_id("Order", row.o_orderkey or ""),
                "orderKey": int(row.o_orderkey or 0),
                "customerKey": int(row.o_custkey or 0),
                "status": OrderStatus(row.o_orderstatus).name,
                "totalPrice": Decimal(row.o_totalprice or 0),
                "orderDate": date.fromisoformat(row.o_orderdate or ""),
                "orderPriority": OrderPriority(row.o_orderpriority).name,
                "clerk": row.o_clerk,
                "shipPriority": int(row.o_shippriority or 0),
                "comment": row.o_comment,
            }
            for row in rows_of(CLEAN)
        ]

    def question(self) -> Question:
        """A request with one to three root fields."""
        random = self._random
        kinds = (self._page, self._page, self._page, self._numbered, self._count, self._stats, self._order, self._node)
        questions = [random.choice(kinds)(f"v{index}") for index in range(random.choice((1, 1, 2, 3)))]
        fields = [(random.choice((f"a{index}", f"_{index}")), question) for index, question in enumerate(questions)]
        declared = {name: value for _, question in fields for name, value in question.variables.items()}
        declarations = f"({', '.join(declared)})" if declared else ""
        selection = " ".join(f"{alias}: {question.field}" for alias, question in fields)
        body: dict[str, Any] = {"query": f"query{declarations} {{ {selection} }}"}
        if declared:
            body["variables"] = {name[1:].partition(":")[0]: plain(value) for name, value in declared.items()}
        return Question(body, {"data": {alias: question.answer for alias, question in fields}})

    def _filter(self, name: str) -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
        """A filter argument, its variable, and the rows that match."""
        random, rows = self._random, self._rows
        given: dict[str, dict[str, Any]] = {}
        for field in random.sample(list(_OPERATORS), random.choice((0, 0, 1, 1, 2, 3))):
            for operator in random.sample(_OPERATORS[field], random.choice((1, 1, 2))):
                values = [random.choice(self._rows)[field] for _ in range(random.choice((0, 1, 3, 20)))]
                wanted = values if operator == "in" else random.choice(self._rows)[field]
                compare = _COMPARE[operator]
                rows = [row for row in rows if compare(row[field], wanted)]
                argument = [*map(_argument_of(field), values)] if operator == "in" else _argument_of(field)(wanted)
                given.setdefault(field, {})[operator] = argument
        if not given and random.random() < 0.5:
            return "", {}, rows
        if random.random() < 0.5:
            return f"filter: ${name}f", {f"${name}f: OrderFilter": given}, rows
        return f"filter: {literal(given)}", {}, rows

    def _page(self, name: str) -> _RootField:
        random = self._random
        ordering = random.choice(ORDERINGS)
        argument, variables, rows = self._filter(name)
        word, sorted_by = _SORT_FIELD[ordering.first]
        rows = sorted(rows, key=lambda row: (row[sorted_by], row["orderKey"]), reverse=ordering.descending)
        backward, size = random.random() < 0.4, random.choice((0, 1, 2, 5, 20, _MOST))
        order = f"orderBy: {{field: {word}, direction: {'DESC' if ordering.descending else 'ASC'}}}"
        arguments = [argument, order, f"{'last' if backward else 'first'}: {size}"]
        before, after = rows, rows
        if random.random() < 0.6:
            place = random.choice(self._rows)
            arguments.append(f"{'before' if backward else 'after'}: {literal(_cursor(ordering, place))}")
            where = (place[sorted_by], place["orderKey"])
            smaller = [row for row in rows if (row[sorted_by], row["orderKey"]) < where]
            larger = [row for row in rows if (row[sorted_by], row["orderKey"]) > where]
            before, after = (larger, smaller) if ordering.descending else (smaller, larger)
        else:
            before, after = (rows, []) if backward else ([], rows)
        page = before[max(0, len(before) - size) :] if backward else after[:size]
        first = len(before) - len(page) if backward else len(rows) - len(after)
        fields = self._fields()
        edges = [{"cursor": _cursor(ordering, row), "node": _as_node(row, fields)} for row in page]
        info = {
            "hasPreviousPage": first > 0,
            "hasNextPage": first + len(page) < len(rows),
            "startCursor": edges[0]["cursor"] if edges else None,
            "endCursor": edges[-1]["cursor"] if edges else None,
        }
        selection = f"edges {{ cursor node {{ {' '.join(fields)} }} }} pageInfo {{ {' '.join(info)} }} totalCount"
        answer = {"edges": edges, "pageInfo": info, "totalCount": len(rows)}
        return _RootField(f"orders({', '.join(filter(None, arguments))}) {{ {selection} }}", variables, answer)

    def _numbered(self, name: str) -> _RootField:
        argument, variables, rows = self._filter(name)
        number, size, fields = self._random.choice((1, 1, 2, 7)), self._random.choice((1, 3, _MOST)), self._fields()
        page = sorted(rows, key=lambda row: int(row["orderKey"]))[(number - 1) * size : number * size]
        arguments = ", ".join(filter(None, (f"page: {number}", f"pageSize: {size}", argument)))
        answer = {
            "nodes": [_as_node(row, fields) for row in page],
            "hasNextPage": number * size < len(rows),
            "totalPages": -(-len(rows) // size),
        }
        field = f"ordersPage({arguments}) {{ nodes {{ {' '.join(fields)} }} hasNextPage totalPages }}"
        return _RootField(field, variables, answer)

    def _count(self, name: str) -> _RootField:
        argument, variables, rows = self._filter(name)
        return _RootField(f"orderCount{_in_parentheses(argument)} {{ count }}", variables, {"count": len(rows)})

    def _stats(self, name: str) -> _RootField:
        argument, variables, rows = self._filter(name)
        prices = [row["totalPrice"] for row in rows]
        counts = {status.name: sum(row["status"] == status.name for row in rows) for status in OrderStatus}
        answer = {
            "count": len(rows),
            "totalPrice": {
                "sum": f"{sum(prices):.2f}" if prices else None,
                "minimum": f"{min(prices):.2f}" if prices else None,
                "maximum": f"{max(prices):.2f}" if prices else None,
            },
            "byStatus": [{"status": status, "count": count} for status, count in counts.items() if count],
        }
        selection = "count totalPrice { sum minimum maximum } byStatus { status count }"
        return _RootField(f"orderStats{_in_parentheses(argument)} {{ {selection} }}", variables, answer)

    def _order(self, name: str) -> _RootField:
        row, fields = self._random.choice(self._rows), self._fields()
        field = f"order(orderKey: ${name}k) {{ {' '.join(fields)} }}"
        key = self._random.choice((row["orderKey"], str(row["orderKey"]), 10**9))
        return _RootField(field, {f"${name}k: BigInt!": key}, None if key == 10**9 else _as_node(row, fields))

    def _node(self, name: str) -> _RootField:
        row, fields = self._random.choice(self._rows), self._fields()
        field = f"node(id: ${name}i) {{ ... on Order {{ {' '.join(fields)} }} }}"
        return _RootField(field, {f"${name}i: ID!": row["id"]}, _as_node(row, fields))

    def _fields(self) -> list[str]:
        return self._random.sample(list(self._rows[0]), self._random.randint(1, 10))


def _in_parentheses(argument: str) -> str:
    return f"({argument})" if argument else ""


def _cursor(ordering: Ordering, row: dict[str, Any]) -> str:
    at = position_of(ordering, row[_SORT_FIELD[ordering.first][1]], (row["orderKey"],))
    return encode_cursor(ordering, at.values, at.key)


def _argument_of(field: str) -> Callable[[Any], Any]:
    """Converts a value of this field into an argument."""
    kinds: dict[str, Callable[[Any], Any]] = {"status": Word, "orderPriority": Word, "orderDate": str}
    return kinds.get(field, lambda value: f"{value:.2f}" if isinstance(value, Decimal) else value)


def _as_node(row: dict[str, Any], fields: list[str]) -> dict[str, Any]:
    """A row as it appears in the response."""
    return {
        name: value if isinstance(value := row[name], int) and name == "shipPriority" else _text(value)
        for name in fields
    }


def _text(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, Decimal) else str(value)
