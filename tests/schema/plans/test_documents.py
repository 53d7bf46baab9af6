"""The cache of documents: what it remembers, what never gets in, and what is forgotten first."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from graphql import parse

from schema import DocumentCache, DocumentLimits, build_schema
from schema.errors import RateLimitedError, Reason
from schema.limits.prices import REMEMBERED_CHARACTERS
from schema.plans.documents import Document
from tests.schema.recording import RecordingAccount, RecordingAdministration, context, reasons
from tests.support.work import counted

if TYPE_CHECKING:
    from strawberry import Schema

PAGE: Final = "query Page($first: Int) { orders(first: $first) { nodes { orderKey } } }"
TWO: Final = "query A { order(orderKey: 1) { clerk } } query B { order(orderKey: 2) { clerk } }"


@pytest.fixture
def cache() -> DocumentCache:
    """An empty cache."""
    return DocumentCache()


@pytest.fixture
def schema(cache: DocumentCache) -> Schema:
    """A schema with this cache."""
    return build_schema(documents=cache, plans=True)


async def ask(schema: Schema, text: str, name: str | None = None) -> Any:
    """Run a document; whether it can be answered does not matter here."""
    return await schema.execute(text, context_value=context(RecordingAdministration()), operation_name=name)


def add(cache: DocumentCache, text: str) -> str:
    """Add a document, and return its text."""
    cache.add(text, parse(text))
    return text


async def test_a_document_is_parsed_and_validated_once(schema: Schema) -> None:
    """The second time takes a fraction of the work, even without a plan."""
    text = f'{{ databaseInstance(name: "x") {{ {" ".join(f"a{n}: name" for n in range(30))} }} }}'
    works = []
    for _ in range(2):
        with counted() as work:
            assert (await ask(schema, text)).errors is None
        works.append(work.calls)
    assert works[1] < works[0] / 3


@pytest.mark.parametrize(
    "text",
    ["{", "{ nothing }", "{ orders(first: 1", f"{{ {'a: __typename ' * 101} }}", "{ __typename } #" + "x" * 17_000],
)
async def test_only_valid_documents_of_moderate_length_are_remembered(
    schema: Schema, cache: DocumentCache, text: str
) -> None:
    """Invalid documents, documents over a limit and very long ones never displace others."""
    await ask(schema, text)
    assert cache.get(text) is None


async def test_the_same_mistakes_are_reported_each_time(schema: Schema) -> None:
    """The document is validated anew, because it is not remembered."""
    first, second = [await ask(schema, "{ nothing nobody }") for _ in range(2)]
    assert [error.message for error in first.errors] == [error.message for error in second.errors]
    assert len(first.errors) == 2


async def test_each_operation_has_its_own_formula_and_plan(schema: Schema, cache: DocumentCache) -> None:
    """By the name that a request gives. The only operation of a document need not be named."""
    for text, name in ((TWO, "A"), (TWO, "B"), (TWO, None), (PAGE, None), (PAGE, "Page")):
        # Without the order store of this context, the ordinary path fails after the document has been planned.
        await ask(schema, text, name)
    two, page = cache.get(TWO), cache.get(PAGE)
    assert two
    assert page
    assert {name: plan.name for name, plan in two.plans.items() if plan} == {"A": "A", "B": "B"}
    plan = page.plans[None]
    assert plan
    assert page.plans["Page"] is plan
    core = schema._schema  # noqa: SLF001 # Strawberry has no public way to it
    assert page.formula(core, None) is page.formula(core, "Page") is plan.cost.formula
    assert two.formula(core, "A") is not two.formula(core, "B")
    assert two.formula(core, "C").points == 0


async def test_an_operation_refused_for_its_cost_has_no_plan() -> None:
    """An operation is planned only after every extension has let it pass."""
    cache = DocumentCache()
    schema = build_schema(documents=cache, plans=True, limits=DocumentLimits(cost=1))
    await ask(schema, PAGE)
    document = cache.get(PAGE)
    assert document
    assert document.plans == {}


def test_the_most_recently_used_documents_are_remembered() -> None:
    """Up to a number of documents."""
    cache = DocumentCache(2)
    a, b = add(cache, "{a}"), add(cache, "{b}")
    assert cache.get(a)
    c = add(cache, "{c}")
    assert [isinstance(cache.get(text), Document) for text in (a, b, c)] == [True, False, True]


def test_the_remembered_characters_are_bounded() -> None:
    """A document with several operations counts once for each of them."""
    cache = DocumentCache(characters=12)
    texts = [add(cache, f"{{{name}}}") for name in "abcde"]
    assert [cache.get(text) is not None for text in texts] == [False, True, True, True, True]
    several = add(cache, "{a}{b}")
    assert [cache.get(text) is not None for text in (*texts, several)] == [False] * 5 + [True]
    # Added again, it does not count again. Forgotten, it frees all of its characters.
    add(cache, several)
    texts = [add(cache, f"{{{name}}}") for name in "abcd"]
    assert [cache.get(text) is not None for text in (*texts, several)] == [True] * 4 + [False]


async def test_a_new_document_is_paid_for_by_its_length_before_it_is_read(schema: Schema) -> None:
    """A point for every 10 characters. A known one is free. A very long one is read anew each time, and paid for."""
    account = RecordingAccount()
    caller = replace(context(RecordingAdministration()), account=account)
    for length in (1_000, REMEMBERED_CHARACTERS, REMEMBERED_CHARACTERS + 1, 65_536):
        text = '{ instance: __type(name: "'
        text += "\\n" * ((length - len(text) - 13) // 2)
        text = f'{text}") {{ name }} }}'.ljust(length)
        for _ in range(2):
            assert (await schema.execute(text, context_value=caller)).errors is None
    often = [1_000, REMEMBERED_CHARACTERS, *[REMEMBERED_CHARACTERS + 1] * 2, *[65_536] * 2]
    assert account.paid == [3 + length // 10 for length in often]


@pytest.mark.parametrize(
    "text",
    [
        "{ nothing }",
        "{",
        f"#{'x' * 60_000}",
        f"{{ orders(first: 1, filter: {{{' '.join(f'x{n}: 1' for n in range(300))}}}) {{ nodes {{ id }} }} }}",
        " ".join(f"query q{n} {{ nothing }}" for n in range(50)),
        f"{{ {' '.join(f'a{n}: orders {{ nodes {{ id }} }}' for n in range(90))} }}",
    ],
    ids=["mistake", "syntax", "comment", "fields", "operations", "limits"],
)
async def test_a_document_that_is_refused_is_paid_for_each_time(schema: Schema, text: str) -> None:
    """By its length, and afterwards by the time that refusing it took, whichever check refuses it."""
    account = RecordingAccount()
    caller = replace(context(RecordingAdministration()), account=account)
    for number in (1, 2):
        assert (await schema.execute(text, context_value=caller)).errors
        assert account.paid == [3 + len(text) // 10] * number
        assert len(account.settled) >= number


async def test_who_cannot_pay_for_a_document_has_it_refused_unread(schema: Schema) -> None:
    """The error is that of the account, and not of the document."""

    class Empty(RecordingAccount):
        def pay(self, points: int) -> None:
            raise RateLimitedError(Reason.RATE_LIMITED, f"{points} points.", retry_after_seconds=1)

    caller = replace(context(RecordingAdministration()), account=Empty())
    assert reasons(await schema.execute("{", context_value=caller)) == ["RATE_LIMITED"]


def test_a_very_long_document_is_not_remembered(cache: DocumentCache) -> None:
    """The length of each document is bounded too."""
    assert cache.get(add(cache, "{a}" + " " * (REMEMBERED_CHARACTERS - 3)))
    assert cache.get(add(cache, "{a}" + " " * (REMEMBERED_CHARACTERS - 2))) is None


def test_a_document_is_found_by_its_hash_as_long_as_it_is_remembered() -> None:
    """Finding it by its hash counts as a use. A document that is not remembered cannot be offered."""
    cache = DocumentCache(2)
    a, b = add(cache, "{a}"), add(cache, "{b}")
    for digest, text in (("A", a), ("B", b), ("C", "{c}")):
        cache.offer(digest, text, most=10)
    found = [cache.find(digest) for digest in "CBA"]
    assert [document and document.text for document in found] == [None, b, a]
    add(cache, "{c}")
    assert [cache.find(digest) is not None for digest in "ABC"] == [True, False, False]
    # A document that was forgotten and added again has to be offered again.
    add(cache, b)
    assert cache.find("B") is None
    cache.offer("B", b, most=10)
    assert cache.find("B") is cache.get(b)


def test_after_all_documents_were_forgotten_the_cache_is_as_new() -> None:
    """The number and the characters of documents are counted anew, and no hash is found."""
    cache = DocumentCache(2, characters=6)
    texts = [add(cache, f"{{{name}}}") for name in "ab"]
    cache.offer("A", texts[0], most=1)
    cache.clear()
    assert [cache.get(text) for text in texts] == [None, None]
    assert cache.find("A") is None
    texts = [add(cache, f"{{{name}}}") for name in "bcd"]
    assert [cache.get(text) is not None for text in texts] == [False, True, True]
    cache.offer("D", texts[2], most=1)
    assert cache.find("D")
