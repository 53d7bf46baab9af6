"""The limits of a document: a document at a limit passes, one above is refused, and no document makes the check slow."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import pytest
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLSyntaxError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    get_introspection_query,
    parse,
    validate,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from schema import DocumentLimits, build_schema
from schema.errors import LimitError, Reason
from schema.limits.document import PLAIN_REPEATS, check_document, read_document
from schema.permissions import NOBODY
from schema.ports.statistics import NO_STATISTICS, TableStatistics
from schema.turns import Turns
from tests.support.calibration import hold
from tests.support.examples import examples
from tests.support.work import counted, processor_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from schema.ports.columns import Table

WIDE = DocumentLimits(**{limit.name: 1 << 20 for limit in fields(DocumentLimits)})
MANY = DocumentLimits(definitions=1_000, tokens=100_000)
SCHEMA = build_schema()._schema  # noqa: SLF001 # Strawberry has no public way to it
FEW = DocumentLimits(definitions=20, fields=300, repeats=4)
# The selections with which the last of the doubling fragments may end.
LAST = ("{__typename}", "{}", "{...Unknown}", "{...F0}")
STANDARD = get_introspection_query(
    descriptions=True,
    specified_by_url=True,
    directive_is_repeatable=True,
    schema_description=True,
    input_value_deprecation=True,
    one_of=True,
)


def read(document: str, limits: DocumentLimits = DocumentLimits()) -> None:  # noqa: B008 # frozen
    """Parse a document within the limits."""
    read_document(document, limits)


def refusal(document: str, limits: DocumentLimits = DocumentLimits()) -> dict[str, object]:  # noqa: B008 # frozen
    """The details of the refusal of a document."""
    with pytest.raises(LimitError) as refused:
        read(document, limits)
    assert refused.value.reason is Reason.LIMIT_EXCEEDED
    return refused.value.details


def nested(depth: int) -> str:
    """Nested fields."""
    return "{a" * depth + "}" * depth


def bomb(fragments: int, last: str = "{__typename}") -> str:
    """Fragments, each of which the one before spreads twice."""
    spreads = (f"fragment F{n} on Query{{...F{n + 1} ...F{n + 1}}}" for n in range(fragments))
    return f"{{...F0}}{''.join(spreads)} fragment F{fragments} on Query{last}"


DOCUMENTS: dict[str, Callable[[int], str]] = {
    "characters": lambda n: "{a}" + "#" * (n - 3),
    "tokens": lambda n: "{" + " ".join(f"f{i}" for i in range(n - 2)) + "}",
    "definitions": lambda n: "{a}" + "".join(f" fragment F{i} on Q{{a}}" for i in range(n - 1)),
    "depth": nested,
    "fields": lambda n: "{" + " ".join(f"f{i}" for i in range(n)) + "}",
    "aliases": lambda n: "{" + " ".join(f"a{i}:f" for i in range(n)) + "}",
    "root_fields": lambda n: "{" + " ".join(f"f{i}{{a}}" for i in range(n)) + "}",
    "root_mutations": lambda n: "mutation{" + " ".join(f"f{i}{{a}}" for i in range(n)) + "}",
    "repeats": lambda n: "{a{" + " ".join("f{b}" for _ in range(n)) + "}}",
    "directives": lambda n: "query($v:Int @a){f " + "@skip(if:true)" * (n - 1) + "}",
}


@pytest.mark.parametrize("name", [limit.name for limit in fields(DocumentLimits) if limit.name != "cost"])
@pytest.mark.parametrize("allowed", [3, None])
def test_a_document_at_a_limit_passes_and_one_more_is_refused(name: str, allowed: int | None) -> None:
    """The refusal has both numbers, whether the limit is set or has its default."""
    allowed = allowed or getattr(DocumentLimits(), name)
    limits = replace(WIDE, **{name: allowed})
    read(DOCUMENTS[name](allowed), limits)
    first, *rest = name.split("_")
    details = {"limit": first + "".join(map(str.capitalize, rest)), "requested": allowed + 1, "allowed": allowed}
    assert refusal(DOCUMENTS[name](allowed + 1), limits) == details


def relay_page(components: int) -> str:
    """A page as Relay's compiler writes it: each component has a fragment with the fields that it needs of an order."""
    spreads = " ".join(f"...Card{n}_order @include(if: $expanded)" for n in range(components))
    fragments = "".join(
        f"fragment Card{n}_order on Order {{ id __typename orderKey label{n}: clerk statusChanges(first: 1) {{ nodes {{ id status }} }} }}\n"
        for n in range(components)
    )
    return (
        "query PageQuery($first: Int!, $after: String, $expanded: Boolean!) { orders(first: $first, after: $after) {"
        f" edges {{ node {{ {spreads} __typename id }} cursor }} pageInfo {{ hasNextPage endCursor }} totalCount }} }}\n{fragments}"
    )


def test_a_relay_page_of_25_fragments_passes() -> None:
    """All of them select fields of the same order, and each has a directive."""
    document = read_document(relay_page(25), DocumentLimits())
    assert validate(SCHEMA, document) == []


def crossed(fragments: int, repeats: int) -> str:
    """The same response key `repeats` times, each with every fragment below it: validation compares them in pairs."""
    spreads = " ".join(f"...F{n}" for n in range(fragments))
    parts = " ".join(f"fragment F{n} on Order {{ id }}" for n in range(fragments))
    return f"{{ {f'order(orderKey: 1) {{ {spreads} }} ' * repeats}}} {parts}"


# The worst known documents within the limits, each of nearly 1,000 tokens.
WORST = [crossed(22, 16), crossed(21, 17), crossed(13, 26), crossed(80, 2)]


@pytest.mark.parametrize("text", WORST)
def test_validating_the_worst_document_takes_bounded_work(text: str) -> None:
    """About twenty times the work of reading it: the limits bound the number of pairs."""
    with counted() as reading:
        document = read_document(text, DocumentLimits())
    with counted() as validating:
        assert validate(SCHEMA, document) == []
    assert validating.calls < 30 * reading.calls


@pytest.mark.long
def test_the_worst_document_is_validated_quickly() -> None:
    """It takes thirty milliseconds."""
    for text in WORST:
        document = read_document(text, DocumentLimits())
        seconds = processor_seconds(functools.partial(validate, SCHEMA, document))
        hold("the worst document within the limits, validated", seconds, computing_seconds=0.06)


def test_plain_fields_may_be_repeated_more_often() -> None:
    """Every fragment of a frontend's components selects `id` and `__typename` again."""
    most = DocumentLimits().repeats * PLAIN_REPEATS
    read("{a{" + "id " * most + "}}")
    assert refusal("{a{" + "id " * (most + 1) + "}}")["limit"] == "repeats"


@pytest.mark.parametrize(
    ("document", "refused"),
    [
        ("{...F ...F} fragment F on Query{a b}", ("fields", 4)),
        ("{...F} fragment F on Query{a{b{c{d}}}}", ("depth", 4)),
        ("{a{...F}} fragment F on A{b{...G}} fragment G on B{c{d}}", ("depth", 4)),
        ("{a{x{b}}} fragment Unused on Query{a{b{c{d}}}}", ("depth", 4)),
        ("{a} query Other{a b c d}", ("fields", 4)),
        ("{...{...{...{a b c d}}}}", ("fields", 4)),
        ("{...F} fragment F on Query{a:f b:f ...{c:f} ...G} fragment G on Query{d:f}", ("fields", 4)),
    ],
)
def test_a_fragment_counts_wherever_it_is_spread(document: str, refused: tuple[str, int]) -> None:
    """A fragment that is not spread counts like an operation; every operation of a document is counted separately."""
    details = refusal(document, replace(WIDE, depth=3, fields=3))
    assert (details["limit"], details["requested"]) == refused


def test_repeats_are_counted_over_merged_selections() -> None:
    """Twice two are four, however they are merged. A fragment counts once, however often it is spread."""
    limits = replace(WIDE, repeats=3)
    assert refusal("{a{x{b} x{b}} a{x{b} ...F}} fragment F on A{x{b}}", limits)["requested"] == 4
    read("{a{...F ...F ...F ...F ...F}} fragment F on A{x{b}}", limits)


_MERGED = [
    "change(i: 1){a}",
    "change(i: 1){a} change(i: 1){b}",
    "...A ...B",
    "...A ...B ...A ... on Mutation{...B change(i: 1){c}}",
    "__typename ...A t: __typename",
]
_FRAGMENTS = "fragment A on Mutation{change(i: 1){a}} fragment B on Mutation{change(i: 1){b} ...A}"


@pytest.mark.parametrize("selection", _MERGED)
def test_root_fields_that_are_merged_into_one_count_once(selection: str) -> None:
    """One change is one change, however many fragments of a page select its payload."""
    document = f"mutation{{{selection}}} {_FRAGMENTS}"
    limits = replace(WIDE, root_fields=1, root_mutations=1)
    read(document, limits)
    assert refusal(document.replace("{", "{again: change(i: 1){a} ", 1), limits)["limit"] == "rootFields"
    assert refusal(document.replace("{", "{other(i: 1){a} ", 1), replace(WIDE, root_mutations=1)) == {
        "limit": "rootMutations",
        "requested": 2,
        "allowed": 1,
    }


def test_a_subscription_may_select_its_one_field_in_several_fragments() -> None:
    """Merged, it is one root field."""
    text = (
        "subscription { ...A ...B } fragment A on Subscription { orderStatusChanged { cursor } }"
        " fragment B on Subscription { orderStatusChanged { orderKey } }"
    )
    assert validate(SCHEMA, read_document(text, DocumentLimits())) == []


@pytest.mark.parametrize("document", ["{...Unknown}", "{...A} fragment A on Q{...B} fragment B on Q{...A a{...B}}"])
def test_other_mistakes_are_left_to_validation(document: str) -> None:
    """Such as a fragment that does not exist, or fragments in a circle."""
    read(document)


@pytest.mark.parametrize("document", ["{...A} fragment A on Q{...B} fragment B on Q{", "fragment A on Q{...A "])
def test_a_circle_hides_nothing(document: str) -> None:
    """The circle counts for nothing, but the fields beside it count."""
    rest = "...A x{" * document.startswith("{") + "b{c} " * 5 + "}" * document.startswith("{")
    assert refusal(f"{document}{rest}}}", FEW)["limit"] == "repeats"


@pytest.mark.parametrize("last", LAST)
@pytest.mark.parametrize("fragments", [*range(8, 41, 4), 900])
@pytest.mark.parametrize("limits", [FEW, DocumentLimits(), MANY])
def test_doubling_fragments_take_little_work(limits: DocumentLimits, fragments: int, last: str) -> None:
    """The work grows with the number of fragments, not with the number of fields they expand to."""
    document = bomb(fragments, last)
    with counted() as work:
        try:
            read(document, limits)
        except LimitError as refused:
            assert refused.details["limit"] in {"definitions", "fields", "tokens"}  # noqa: PT017 # those without fields pass
        else:
            assert fragments < 9 or last != "{__typename}"
    assert work.calls < 600 * fragments


@pytest.mark.long
@pytest.mark.parametrize(("fragments", "seconds"), [(40, 0.05), (900, 1)])
def test_doubling_fragments_are_read_quickly(fragments: int, seconds: float) -> None:
    """Whatever the last fragment selects, and however many are allowed."""
    for limits in (FEW, DocumentLimits(), MANY):
        for last in LAST:
            document = bomb(fragments, last)

            def work(document: str = document, limits: DocumentLimits = limits) -> None:
                with contextlib.suppress(LimitError):
                    read(document, limits)

            hold(f"{fragments} fragments that end with {last}", processor_seconds(work), computing_seconds=seconds)


def test_a_document_that_is_nested_too_deeply_is_refused_cleanly() -> None:
    """The parser refuses it, because Python's recursion is limited. The limits themselves are counted without recursion."""
    for limits in (DocumentLimits(), WIDE):
        with pytest.raises(GraphQLSyntaxError, match="nested too deeply"):
            read(nested(5_000), limits)
    assert refusal(nested(150), replace(WIDE, depth=16))["requested"] == 150
    chain = "".join(f"fragment F{n} on Q{{a{{...F{n + 1}}}}}" for n in range(1_500))
    assert refusal(f"{{...F0}}{chain}fragment F1500 on Q{{a}}", replace(WIDE, depth=16))["requested"] == 1_501


async def test_the_standard_introspection_query_passes_whatever_is_set() -> None:
    """With all of its options, and with every limit set to 1."""
    limits = DocumentLimits(**{limit.name: 1 for limit in fields(DocumentLimits)})
    result = await build_schema(limits=limits).execute(STANDARD, context_value=_Context())
    assert result.errors is None


@pytest.mark.parametrize(
    ("below", "limit"),
    [
        ("types{ofType" + "{ofType" * 15 + "}" * 16, "introspectionDepth"),
        ("types{" + " ".join(f"f{n}" for n in range(300)) + "}", "introspectionFields"),
        (" ".join(f"a{n}: types{{name}}" for n in range(11)), "introspectionAliases"),
        ("types{name " + "@a" * 21 + "}", "introspectionDirectives"),
        ("types{name} " * 5, "repeats"),
    ],
)
def test_introspection_has_bounds_of_its_own(below: str, limit: str) -> None:
    """No setting moves them, and no other limit counts the fields below `__schema`."""
    assert refusal(f"{{__schema{{{below}}}}}", replace(WIDE, repeats=4))["limit"] == limit


async def test_introspection_that_goes_round_in_circles_is_refused() -> None:
    """By depth, by graphql-core's rule, or by the number of values."""
    schema = build_schema()
    round_ = "{ __schema { types { fields { type { fields { type { fields { name } } } } } } } }"
    for document in (round_, round_.replace("__schema { types", '__type(name: "Order") ').replace("} }", "}", 1)):
        result = await schema.execute(document, context_value=_Context())
        assert result.errors
        assert result.data is None


class _Context:
    """A context with only what the extensions need."""

    account = None
    limits = None
    principal = NOBODY
    tells_cost = False
    turns = Turns()

    def for_operation(self) -> _Context:
        return self

    def charge(self, _cost: int) -> None: ...

    def statistics(self, _table: Table) -> TableStatistics:
        return NO_STATISTICS


_NAMES = st.sampled_from("abc")
_SPREAD = st.builds("...F{}{}".format, st.integers(0, 3), st.sampled_from(["", " @d"]))
_FIELD = st.builds("{}{}{}".format, st.sampled_from(["", "x:", "y:"]), _NAMES, st.sampled_from(["", " @d", "(i:1)"]))
_SELECTIONS = st.recursive(
    st.lists(_FIELD | _SPREAD, min_size=1, max_size=3).map(" ".join),
    lambda inner: st.lists(
        st.builds("{}{{{}}}".format, _FIELD | st.just("... on A "), inner) | _FIELD | _SPREAD, min_size=1, max_size=3
    ).map(" ".join),
    max_leaves=8,
)


@pytest.mark.faults
@given(st.tuples(_SELECTIONS, *(_SELECTIONS for _ in range(3))))
@settings(max_examples=examples(50, many=100))
def test_the_counts_are_those_of_the_document_with_its_fragments_inlined(parts: tuple[str, ...]) -> None:
    """Here a fragment spreads only later ones: a circle could not be inlined."""
    operation, *others = parts
    texts = [f"{{{operation}}}"]
    for number, part in enumerate(others):
        for known in range(number + 1):
            part = part.replace(f"...F{known}", "typed")  # noqa: PLW2901 # step by step
        texts.append(f"fragment F{number} on A{{{part}}}")
    document = parse(" ".join(texts))
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    expected = _Naive(fragments)
    for node in document.definitions:
        assert isinstance(node, OperationDefinitionNode | FragmentDefinitionNode)
        expected.count(node)
    for name, most in expected.most.items():
        limits = replace(WIDE, **{name: max(most, 1)})
        check_document(document, limits)
        if most > 1:
            with pytest.raises(LimitError) as refused:
                check_document(document, replace(WIDE, **{name: most - 1}))
            assert refused.value.details["allowed"] == most - 1


class _Naive:
    """Counts by walking through every fragment wherever it is spread."""

    def __init__(self, fragments: dict[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self.most = dict.fromkeys(("fields", "aliases", "directives", "depth"), 0)

    def count(self, definition: OperationDefinitionNode | FragmentDefinitionNode) -> None:
        """Note the largest counts of any definition."""
        self._now = dict.fromkeys(self.most, 0)
        self._walk(definition.selection_set, 1)
        for name, number in self._now.items():
            self.most[name] = max(self.most[name], number)

    def _walk(self, selections: SelectionSetNode, depth: int) -> None:
        for node in selections.selections:
            self._now["directives"] += len(node.directives or ())
            if isinstance(node, FieldNode):
                self._now["fields"] += 1
                self._now["aliases"] += node.alias is not None
                self._now["depth"] = max(self._now["depth"], depth)
                if node.selection_set:
                    self._walk(node.selection_set, depth + 1)
            elif isinstance(node, InlineFragmentNode):
                self._walk(node.selection_set, depth)
            elif isinstance(node, FragmentSpreadNode) and node.name.value in self._fragments:
                self._walk(self._fragments[node.name.value].selection_set, depth)
