"""The limits of a document, checked in one pass over it before it is validated."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLSyntaxError,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    parse,
)

from schema.errors import LimitError, Reason
from schema.limits.locations import IndexedSource

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from graphql import DocumentNode, SelectionSetNode

# Counts stop here, above every limit: the count of a fragment that is spread 2^40 times need not be exact.
_MOST_COUNTED: Final = 1 << 31
INTROSPECTION_FIELDS: Final = frozenset({"__schema", "__type"})
# A plain field has neither arguments nor a selection. A selection may name it this many times as often as other fields:
# comparing two of them costs next to nothing, and every fragment of a frontend's components selects `id`, `__typename`.
PLAIN_REPEATS: Final = 3
_MESSAGES: Final = {
    "characters": "The document has {requested:,} characters, and at most {allowed:,} are read.",
    "tokens": "The document has {requested:,} tokens or more, and at most {allowed:,} are read.",
    "definitions": "The document has {requested:,} operations and fragments, and at most {allowed:,} are read.",
    "depth": "Fields are nested {requested:,} levels deep, and at most {allowed:,} levels are allowed.",
    "fields": "The operation has {requested:,} fields, and at most {allowed:,} are allowed.",
    "aliases": "The operation has {requested:,} aliases, and at most {allowed:,} are allowed.",
    "directives": "The operation has {requested:,} directives, and at most {allowed:,} are allowed.",
    "rootFields": "The operation has {requested:,} root fields, and at most {allowed:,} are allowed.",
    "rootMutations": "The operation makes {requested:,} changes, and at most {allowed:,} at once is allowed.",
    "repeats": "A selection names one response key {requested:,} times, and at most {allowed:,} are allowed.",
    "introspectionDepth": (
        "Fields below `__schema` are {requested:,} levels deep, and at most {allowed:,} levels are allowed."
    ),
    "introspectionFields": "There are {requested:,} fields below `__schema`, and at most {allowed:,} are allowed.",
    "introspectionAliases": "There are {requested:,} aliases below `__schema`, and at most {allowed:,} are allowed.",
    "introspectionDirectives": (
        "There are {requested:,} directives below `__schema`, and at most {allowed:,} are allowed."
    ),
}


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """The limits of a document. Settings change `characters`, `tokens`, `depth`, `root_mutations` and `cost`.

    The others have room for a Relay page of 25 components, each with its own fragment. Within all limits, the worst
    known document takes some 30 ms to validate, and an ordinary page 1 ms; tests check this.

    Args:
        characters: characters, comments included.
        tokens: tokens, which bound the work of the parser and the validation rules.
        definitions: operations and fragments. Every fragment is validated against all others.
        depth: how deep fields are nested.
        fields: fields of an operation. A fragment counts wherever it is spread.
        aliases: aliases of an operation, by which it asks for one field many times.
        root_fields: root fields of an operation, each of which is at least one query to the database. Those that are
            merged into one count once.
        root_mutations: root fields of a mutation.
        repeats: how often a selection names one response key. All fields of a key are compared in pairs.
        directives: directives of an operation.
        cost: the cost of an operation.
    """

    characters: int = 65_536
    tokens: int = 1_000
    definitions: int = 100
    depth: int = 16
    fields: int = 500
    aliases: int = 100
    root_fields: int = 50
    root_mutations: int = 1
    repeats: int = 30
    directives: int = 100
    cost: int = 25_000


# Introspection has limits of its own, which no setting changes, so that the standard introspection query always passes.
# It has 1,700 characters, 190 tokens, 4 definitions, and 220 fields, 15 levels deep.
_INTROSPECTION: Final = DocumentLimits(
    characters=4_096, tokens=400, definitions=6, fields=300, aliases=10, directives=20
)


def read_document(text: str, limits: DocumentLimits) -> DocumentNode:
    """Parse a document that is within the limits.

    Raises:
        GraphQLSyntaxError: the text is not a document.
        LimitError: LIMIT_EXCEEDED.
    """
    if "__schema" in text:
        limits = replace(
            limits,
            characters=max(limits.characters, _INTROSPECTION.characters),
            tokens=max(limits.tokens, _INTROSPECTION.tokens),
            definitions=max(limits.definitions, _INTROSPECTION.definitions),
        )
    _check("characters", len(text), limits.characters)
    try:
        document = parse(IndexedSource(text), max_tokens=limits.tokens)
    except GraphQLSyntaxError as error:
        if error.message.endswith(f"contains more than {limits.tokens} tokens. Parsing aborted."):
            _check("tokens", limits.tokens + 1, limits.tokens)
        raise
    check_document(document, limits)
    return document


def check_document(document: DocumentNode, limits: DocumentLimits) -> None:
    """Refuse a document that exceeds the limits.

    They hold for each operation, and for each fragment as if it were an operation, since validation also visits
    fragments that are not spread. Other mistakes, such as a cycle of fragments, are left to validation.

    Raises:
        LimitError: LIMIT_EXCEEDED.
    """
    _check("definitions", len(document.definitions), limits.definitions)
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    totals = _Totals(fragments)
    roots = [
        node for node in document.definitions if isinstance(node, OperationDefinitionNode | FragmentDefinitionNode)
    ]
    for node in roots:
        total = totals.of(node)
        _check_counts("", total.ordinary, limits)
        _check_counts("introspection", total.introspection, _INTROSPECTION)
        if isinstance(node, OperationDefinitionNode):
            root_fields = _root_fields(node, fragments)
            _check("rootFields", root_fields, limits.root_fields)
            if node.operation is OperationType.MUTATION:
                _check("rootMutations", root_fields, limits.root_mutations)
    # By now the number of fields is bounded, so each can be visited wherever its fragment is spread.
    spread: set[str] = set()
    for node in sorted(roots, key=lambda node: isinstance(node, FragmentDefinitionNode)):
        if not (isinstance(node, FragmentDefinitionNode) and node.name.value in spread):
            spread |= _check_repeats(node.selection_set, fragments, totals.circular, limits.repeats)


def _check(limit: str, requested: int, allowed: int) -> None:
    if requested > allowed:
        message = _MESSAGES[limit].format(requested=requested, allowed=allowed)
        raise LimitError(Reason.LIMIT_EXCEEDED, message, limit=limit, requested=requested, allowed=allowed)


def _check_counts(prefix: str, counts: _Counts, limits: DocumentLimits) -> None:
    for name in ("depth", "fields", "aliases", "directives"):
        limit = f"{prefix}{name.capitalize()}" if prefix else name
        _check(limit, getattr(counts, name), getattr(limits, name))


@dataclass(slots=True)
class _Counts:
    fields: int = 0
    aliases: int = 0
    directives: int = 0
    depth: int = 0

    def add(self, other: _Counts, *, below: int) -> None:
        """Add the counts of a fragment that is spread at a depth."""
        self.fields = min(self.fields + other.fields, _MOST_COUNTED)
        self.aliases = min(self.aliases + other.aliases, _MOST_COUNTED)
        self.directives = min(self.directives + other.directives, _MOST_COUNTED)
        if other.depth:
            self.depth = min(max(self.depth, other.depth + below), _MOST_COUNTED)


@dataclass(slots=True)
class _Spread:
    node: FragmentSpreadNode
    depth: int
    introspects: bool


@dataclass(slots=True)
class _Total:
    """The counts of a definition: first those of its own fields, then also those of the fragments that it spreads."""

    ordinary: _Counts = field(default_factory=_Counts)
    introspection: _Counts = field(default_factory=_Counts)
    spreads: list[_Spread] = field(default_factory=list)

    def add(self, other: _Total, spread: _Spread) -> None:
        """Add the counts of a fragment at one of its spreads."""
        if spread.introspects:
            self.introspection.add(other.ordinary, below=spread.depth)
            self.introspection.add(other.introspection, below=spread.depth)
            return
        self.ordinary.add(other.ordinary, below=spread.depth)
        self.introspection.add(other.introspection, below=0)


class _Totals:
    """The totals of a document's definitions. Each fragment is counted once, and without recursion.

    `circular` holds the identities of the spreads that lead back to their own fragment, which count for nothing.
    """

    def __init__(self, fragments: dict[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._begun: set[str] = set()
        self._found: dict[str, _Total] = {}
        self._awaited: list[_Spread] = []
        self.circular: set[int] = set()

    def of(self, node: OperationDefinitionNode | FragmentDefinitionNode) -> _Total:
        """The total of a definition, in which a fragment counts wherever it is spread."""
        if isinstance(node, FragmentDefinitionNode) and node.name.value in self._found:
            return self._found[node.name.value]
        waiting = [_own(node)]
        names = [node.name.value if isinstance(node, FragmentDefinitionNode) else None]
        self._begun |= {name for name in names if name}
        following = [iter(waiting[0].spreads)]
        while True:
            entered = self._next_unknown(following[-1], waiting[-1])
            if entered is not None:
                waiting.append(_own(self._fragments[entered]))
                names.append(entered)
                following.append(iter(waiting[-1].spreads))
                continue
            total, name = waiting.pop(), names.pop()
            following.pop()
            if name is not None:
                self._found[name] = total
            if not waiting:
                return total
            # The first spread of a fragment waits for its total. Later spreads find it known.
            waiting[-1].add(total, self._awaited.pop())

    def _next_unknown(self, spreads: Iterator[_Spread], total: _Total) -> str | None:
        for spread in spreads:
            name = spread.node.name.value
            if (found := self._found.get(name)) is not None:
                total.add(found, spread)
            elif name in self._begun:
                self.circular.add(id(spread.node))
            elif name in self._fragments:
                self._begun.add(name)
                self._awaited.append(spread)
                return name
        return None


def _own(definition: OperationDefinitionNode | FragmentDefinitionNode) -> _Total:
    """The counts of a definition without the fragments that it spreads."""
    total = _Total()
    total.ordinary.directives = len(definition.directives or ())
    for variable in definition.variable_definitions or ():
        total.ordinary.directives += len(variable.directives or ())
    introspected = isinstance(definition, FragmentDefinitionNode) and definition.type_condition.name.value[:2] == "__"
    waiting: list[tuple[SelectionSetNode, int, bool]] = [(definition.selection_set, 0, introspected)]
    while waiting:
        selection_set, depth, introspects = waiting.pop()
        counts = total.introspection if introspects else total.ordinary
        for node in selection_set.selections:
            counts.directives += len(node.directives or ())
            if isinstance(node, FragmentSpreadNode):
                total.spreads.append(_Spread(node, depth, introspects))
            elif isinstance(node, InlineFragmentNode):
                waiting.append((node.selection_set, depth, introspects))
            elif isinstance(node, FieldNode):
                counts.fields += 1
                counts.aliases += node.alias is not None
                counts.depth = max(counts.depth, depth + 1)
                begins = node.name.value in INTROSPECTION_FIELDS and not introspects
                if begins:
                    total.introspection.fields += 1
                    total.introspection.depth = max(total.introspection.depth, 1)
                if node.selection_set:
                    waiting.append((node.selection_set, 1 if begins else depth + 1, introspects or begins))
    return total


def _root_fields(operation: OperationDefinitionNode, fragments: dict[str, FragmentDefinitionNode]) -> int:
    """How many root fields are executed. Fields with one response key are merged into one, across all fragments."""
    fields = merged_fields([operation.selection_set], fragments, visited=set())
    return len({(node.alias or node.name).value for node in fields if node.name.value != "__typename"})


@dataclass(slots=True)
class _Repeated:
    """The fields of one response key in a selection. graphql-core merges their selections."""

    plain: int = 0
    others: int = 0
    below: list[SelectionSetNode] = field(default_factory=list)


def _check_repeats(
    selection_set: SelectionSetNode, fragments: dict[str, FragmentDefinitionNode], circular: set[int], allowed: int
) -> set[str]:
    """Refuse a selection that names a response key too often. Returns the names of the fragments it has visited."""
    visited: set[str] = set()
    waiting = [[selection_set]]
    while waiting:
        repeated: dict[str, _Repeated] = {}
        for node in merged_fields(waiting.pop(), fragments, visited=visited, skipped=circular):
            same = repeated.setdefault((node.alias or node.name).value, _Repeated())
            if node.selection_set:
                same.below.append(node.selection_set)
            if node.selection_set or node.arguments:
                same.others += 1
            else:
                same.plain += 1
        for same in repeated.values():
            _check("repeats", same.others, allowed)
            _check("repeats", same.others + same.plain, allowed * PLAIN_REPEATS)
            if same.below:
                waiting.append(same.below)
    return visited


def merged_fields(
    selection_sets: list[SelectionSetNode],
    fragments: dict[str, FragmentDefinitionNode],
    *,
    visited: set[str],
    skipped: Collection[int] = (),
) -> Iterator[FieldNode]:
    """The fields of merged selections. As in graphql-core, each fragment counts once.

    Args:
        selection_sets: the selections.
        fragments: the fragments of the document.
        visited: a set to which the names of the fragments spread there are added.
        skipped: the identities of spreads to skip.
    """
    entered: set[str] = set()
    waiting = list(reversed(selection_sets))
    while waiting:
        for node in waiting.pop().selections:
            if isinstance(node, FieldNode):
                yield node
            elif isinstance(node, InlineFragmentNode):
                waiting.append(node.selection_set)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in entered and id(node) not in skipped:
                entered.add(node.name.value)
                if (fragment := fragments.get(node.name.value)) is not None:
                    visited.add(node.name.value)
                    waiting.append(fragment.selection_set)
