"""Random queries: documents over the whole Query type of a schema, and the requests that run them."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final

from graphql import (
    GraphQLBoolean,
    GraphQLInterfaceType,
    GraphQLNonNull,
    GraphQLObjectType,
    get_named_type,
    is_leaf_type,
    is_required_argument,
)

from schema.tables.registry import REGISTERED
from tests.differences.arguments import ABSENT, Purpose, Values, literal
from tests.differences.corpus import LISTS, Corpus
from tests.differences.variables import Variables

if TYPE_CHECKING:
    from graphql import GraphQLField, GraphQLInputType, GraphQLSchema


_Composite = GraphQLObjectType | GraphQLInterfaceType
_DEEPEST: Final = 7
_SHALLOW: Final = 4
_MOST_FRAGMENTS: Final = 6
# The weights of the root fields of queries for tables alone. The other queries cover the rest of the schema.
_TABLE_FIELDS: Final = {
    "orders": 11,
    "order": 3,
    "node": 3,
    "nodes": 3,
    "__typename": 1,
    "customers": 3,
    "customer": 2,
    "part": 2,
    "nations": 1,
    "regions": 1,
    "freshness": 1,
}
_NOT_OF_TABLES: Final = frozenset({"OrderConnection.totalCount", "Order.statusChanges"})
_ROWS: Final = frozenset(declared.type_name for declared in REGISTERED.values())
# These differ with each request.
_NEVER: Final = frozenset({"OrderCount.asOf", "OrderStats.asOf", "OrderGroups.asOf", "Freshness.ageSeconds"})
_ALIASES: Final = (
    *("a", "b", "z", "A", "_", "__", "_0", "a1b2", "x" * 60, "on", "fragment", "true", "query"),
    *("id", "node", "edges", "nodes", "cursor", "pageInfo", "orderKey", "status", "errors", "__typename"),
)
_INTROSPECTION: Final = (
    ("__schema", "", "{ queryType { name } }"),
    ("__type", '(name: "Order")', "{ name kind interfaces { name } fields { name type { kind name } } }"),
    ("__type", '(name: "OrderFilter")', "{ inputFields { name defaultValue } }"),
    ("__type", '(name: "Nothing")', "{ name __typename }"),
)


@dataclass(frozen=True)
class Query:
    """A document and the bodies of the requests that run it, each with other variables."""

    seed: int
    tables_alone: bool
    bodies: list[dict[str, Any]]


@dataclass
class _Definition:
    """What an operation or a fragment uses."""

    variables: set[str] = field(default_factory=set)
    fragments: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Known:
    """What each response key stands for, throughout a document. This keeps selections from conflicting."""

    owner: str
    name: str
    arguments: str
    variables: frozenset[str]
    leaf: bool


def query_of(seed: int, schema: GraphQLSchema, corpus: Corpus) -> Query:
    """The query with this seed, always the same."""
    random = Random(seed)  # noqa: S311 # the same in every run
    tables_alone = random.random() < 0.67
    writer = _Writer(random, schema, corpus, tables_alone=tables_alone)
    document, names = writer.document()
    if random.random() < 0.02:
        document = _broken(document, random)
    bodies = []
    for _ in range(random.choice((1, 2, 2)) if writer.any_variables or random.random() < 0.1 else 1):
        body: dict[str, Any] = {"query": document}
        if (name := _operation_name(names, random)) is not ABSENT:
            body["operationName"] = name
        if (values := writer.variables.values()) is not None:
            body["variables"] = values
        bodies.append(body)
    return Query(seed, tables_alone, bodies)


def _operation_name(names: list[str], random: Random) -> Any:
    if random.random() < 0.02:
        return random.choice(("Nothing", "", None))
    return random.choice((names[0], ABSENT)) if len(names) == 1 and names[0] else random.choice(names) or ABSENT


def _broken(document: str, random: Random) -> str:
    """Put a mistake into a document: cut it off, lose or double a character, or use an unknown name."""
    place = random.randrange(len(document))
    return random.choice(
        (
            document[:place],
            document[:place] + document[place + 1 :],
            document[:place] + document[place] + document[place:],
            document.replace("id", "idd", 1),
            document.replace("{", "{ nothing ", 1),
            document.replace("$", "$un", 1),
        )
    )


class _Writer:
    """Writes one document. It is valid by construction, except for literals out of range."""

    def __init__(self, random: Random, schema: GraphQLSchema, corpus: Corpus, *, tables_alone: bool) -> None:
        self._random = random
        self._schema = schema
        self._tables_alone = tables_alone
        # Half of the documents have no mistakes, so that many are answered. The others have enough of them.
        mistakes = random.choice((0.0, 0.0, 0.02, 0.1))
        self.variables = Variables(random, corpus, mistakes=mistakes)
        self._values = Values(random, corpus, mistakes=mistakes, instead=self._instead)
        self._share_of_variables = random.choice((0.0, 0.1, 0.25, 0.5))
        self._share_of_directives = random.choice((0.0, 0.05, 0.1, 0.3))
        self._share_of_fragments = random.choice((0.0, 0.1, 0.2, 0.35))
        self._keys: dict[str, dict[str, _Known]] = {}
        self._fragments: dict[str, tuple[_Composite, str, _Definition]] = {}
        self._fragments_begun = 0
        self._fields_left = random.choice((2, 4, 6, 10, 16, 24))
        self._definition = _Definition()

    @property
    def any_variables(self) -> bool:
        """Whether the document has variables."""
        return bool(self._used(self._fragments) or self._definition.variables)

    def document(self) -> tuple[str, list[str]]:
        """The document, and the names of its operations if they have names."""
        random, query = self._random, self._schema.query_type
        assert query
        names = [random.choice(("", "", "", "Orders", "_", "x" * 60, "query"))]
        if random.random() < 0.12:
            names = ["One", "Two", "_three"][: random.choice((2, 3))]
        operations = []
        for name in names:
            self._definition = _Definition()
            selection = self._selection(query, 0)
            variables = self.variables.declarations(self._definition.variables | self._used(self._definition.fragments))
            shorthand = not (name or variables) and random.random() < 0.5
            operations.append(selection if shorthand else f"query {name}{variables} {selection}")
        parts = [*operations, *(text for _, text, _ in self._fragments.values())]
        if random.random() < 0.3:
            random.shuffle(parts)
        return random.choice((" ", "\n", "\n\n  # so it goes\n", ",")).join(parts), names

    def _used(self, fragments: set[str] | dict[str, Any]) -> set[str]:
        """The variables that these fragments use, directly or through other fragments."""
        used: set[str] = set()
        for name in fragments:
            definition = self._fragments[name][2]
            used |= definition.variables | self._used(definition.fragments)
        return used

    def _selection(self, parent: _Composite, depth: int) -> str:
        random = self._random
        most = 3 if depth == 0 else 8 if parent.name in _ROWS else 3
        selections = [self._one(parent, depth) for _ in range(random.randint(1, most) if self._fields_left > 0 else 1)]
        if depth == 0 and random.random() < 0.02:
            selections += [self._field(parent, depth) for _ in range(15)]
        return f"{{ {random.choice((' ', ' ', chr(10), ', ')).join(selections)} }}"

    def _one(self, parent: _Composite, depth: int) -> str:
        random = self._random
        if random.random() > self._share_of_fragments + (0.7 if parent.name == "Node" else 0.0):
            return self._field(parent, depth)
        on = self._condition(parent)
        if random.random() < 0.5:
            if on.name == parent.name and random.random() < 0.5:
                return f"...{self._directives()} {self._selection(parent, depth)}"
            return f"... on {on.name}{self._directives()} {self._selection(on, depth)}"
        name = self._fragment(on, depth)
        if name is None:
            return self._field(parent, depth)
        self._definition.fragments.add(name)
        return f"...{name}{self._directives()}"

    def _condition(self, parent: _Composite) -> _Composite:
        """A type that an object of the parent type may have."""
        random, node = self._random, self._schema.type_map["Node"]
        assert isinstance(node, GraphQLInterfaceType)
        if parent is not node:
            return node if node in parent.interfaces and random.random() < 0.3 else parent
        chance = random.random()
        if chance < 0.15:
            return node
        others = self._schema.get_possible_types(node)
        rows = [kind for kind in others if kind.name in _ROWS]
        order = next(kind for kind in rows if kind.name == "Order")
        return order if chance < 0.6 else random.choice(rows if chance < 0.9 else others)

    def _fragment(self, on: _Composite, depth: int) -> str | None:
        """A fragment on this type, complete or new; None if there are enough."""
        random = self._random
        there = [name for name, (kind, _, _) in self._fragments.items() if kind is on]
        if there and random.random() < 0.6:
            return random.choice(there)
        if self._fragments_begun >= _MOST_FRAGMENTS:
            return None
        self._fragments_begun += 1
        name = f"{random.choice(('F', 'fragment', '_', on.name))}{self._fragments_begun}"
        around, self._definition = self._definition, _Definition()
        text = f"fragment {name} on {on.name} {self._selection(on, depth)}"
        self._fragments[name] = (on, text, self._definition)
        self._definition = around
        return name

    def _field(self, parent: _Composite, depth: int) -> str:
        random = self._random
        self._fields_left -= 1
        keys = self._keys.setdefault(_group(parent), {})
        again = [
            key
            for key, known in keys.items()
            if known.owner == _owner(parent, known.name) and (self._fields_left > 0 or known.leaf)
        ]
        if again and random.random() < 0.2:
            key = random.choice(again)
            known = keys[key]
        else:
            known, key = self._new_field(parent, depth)
            while keys.setdefault(key, known) != known:
                key = random.choice((*_ALIASES, f"a{len(keys)}", f"a{len(keys)}"))
        self._definition.variables |= known.variables
        alias = "" if key == known.name and random.random() < 0.95 else f"{key}: "
        text = f"{alias}{known.name}{known.arguments}{self._directives()}"
        if known.name.startswith("__"):
            return text
        below = get_named_type(parent.fields[known.name].type)
        return f"{text} {self._selection(below, depth + 1)}" if isinstance(below, _Composite) else text

    def _new_field(self, parent: _Composite, depth: int) -> tuple[_Known, str]:
        random = self._random
        name = self._field_name(parent, depth)
        if name in {"__schema", "__type"}:
            meta, arguments, selection = random.choice(_INTROSPECTION)
            return _Known("", meta, f"{arguments} {selection}", frozenset(), leaf=False), meta
        arguments, variables, leaf = "", frozenset[str](), True
        if not name.startswith("__"):
            arguments, variables = self._arguments(parent, name, parent.fields[name])
            leaf = is_leaf_type(get_named_type(parent.fields[name].type))
        key = random.choice(_ALIASES) if random.random() < 0.15 else name
        return _Known(_owner(parent, name), name, arguments, variables, leaf), key

    def _field_name(self, parent: _Composite, depth: int) -> str:
        random = self._random
        if depth == 0 and self._tables_alone:
            served = {name: weight for name, weight in _TABLE_FIELDS.items() if name in {"__typename", *parent.fields}}
            return random.choices(list(served), list(served.values()))[0]
        if depth == 0 and random.random() < 0.05:
            return random.choice(("__schema", "__type"))
        if depth == 0 and random.random() < 0.4:
            return random.choice(("orders", "ordersPage", "orderStatusChanges", "order", "nodes"))
        if random.random() < 0.07:
            return "__typename"
        left_out = _NEVER | _NOT_OF_TABLES if self._tables_alone else _NEVER
        names: list[str] = [name for name in parent.fields if f"{parent.name}.{name}" not in left_out]
        leaves: list[str] = [name for name in names if is_leaf_type(get_named_type(parent.fields[name].type))]
        if self._fields_left > 0 and depth < _DEEPEST:
            return random.choice(names)
        # A connection has no leaf fields.
        return random.choice(leaves or (names if depth < _SHALLOW else ["__typename"]))

    def _arguments(self, parent: _Composite, name: str, of: GraphQLField) -> tuple[str, frozenset[str]]:
        """Arguments in parentheses, and the variables in them."""
        if name == "orderSample":
            # Any other sample is random.
            return "(size: 0)", frozenset()
        random, ordering = self._random, None
        around, self._definition = self._definition, _Definition()
        if orderings := LISTS.get((parent.name, name)):
            ordering = random.choice(orderings) if random.random() < 0.5 else orderings[0]
        backward = "last" in of.args and random.random() < 0.35
        given = []
        for argument, one in of.args.items():
            share = 0.35
            if argument in {"first", "after", "last", "before"}:
                share = (
                    (0.85 if argument in {"first", "last"} else 0.5)
                    if (argument in {"last", "before"}) is backward
                    else 0.02
                )
            elif argument == "orderBy":
                share = 1.0 if ordering and not (ordering.by_key and not ordering.descending) else 0.2
            if is_required_argument(one) or random.random() < share:
                given.append(f"{argument}: {self._argument(one.type, (argument, ordering))}")
        random.shuffle(given)
        variables = frozenset(self._definition.variables)
        self._definition = around
        return (f"({', '.join(given)})" if given else ""), variables

    def _argument(self, wanted: GraphQLInputType, purpose: Purpose) -> str:
        value = self._instead(wanted, purpose)
        return literal(self._values.of(wanted, purpose) if value is ABSENT else value)

    def _instead(self, wanted: GraphQLInputType, purpose: Purpose) -> Any:
        if self._random.random() >= self._share_of_variables:
            return ABSENT
        variable = self.variables.for_position(wanted, purpose)
        self._definition.variables.add(variable.name)
        return variable

    def _directives(self) -> str:
        random = self._random
        if random.random() >= self._share_of_directives:
            return ""
        names = random.choice((["include"], ["skip"], ["skip", "include"], ["include", "skip"]))
        parts = []
        for name in names:
            condition = "true" if (random.random() < 0.75) is (name == "include") else "false"
            if random.random() < 0.6:
                variable = self.variables.for_position(GraphQLNonNull(GraphQLBoolean), (name, None))
                self._definition.variables.add(variable.name)
                condition = literal(variable)
            parts.append(f" @{name}(if: {condition})")
        return "".join(parts)


def _group(parent: _Composite) -> str:
    """The types whose objects can be in the same place."""
    return "Node" if any(kind.name == "Node" for kind in (parent, *parent.interfaces)) else parent.name


def _owner(parent: _Composite, name: str) -> str:
    """The type that defines a field. A field of Node is the same one on all types."""
    return _group(parent) if name in {"id", "__typename"} else parent.name
