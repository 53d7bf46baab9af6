"""Documents by hash: which manifests are read, what is found in them, and what is remembered of clients' documents."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from graphql import parse

from schema import DocumentCache, DocumentLimits, build_schema
from schema.errors import ApiError
from schema.permissions import Role
from server.graphql.documents.manifest import check_manifest, read_manifest
from server.graphql.documents.persisted import Documents, RememberDocument
from server.graphql.request import RequestData, data_of
from server.settings import Settings, SettingsError
from tests.schema.recording import RecordingAdministration, context

if TYPE_CHECKING:
    from pathlib import Path

ORDER = "query One { order(orderKey: 1) { orderKey } }"
PAGE = "query Page { orders(first: 1) { nodes { orderKey } } }"


def sha(text: str) -> str:
    """The hash that clients send."""
    return hashlib.sha256(text.encode()).hexdigest()


def md5(text: str) -> str:
    """The hash that Relay's compiler writes."""
    return hashlib.md5(text.encode()).hexdigest()  # noqa: S324 # it names a text, and guards nothing


def apollo(*bodies: str, **others: object) -> dict[str, object]:
    """Apollo's manifest of these documents."""
    operations = [{"id": sha(body), "name": "Name", "type": "query", "body": body} for body in bodies]
    return {"format": "apollo-persisted-query-manifest", "version": 1, "operations": operations, **others}


def write(path: Path, content: object) -> Path:
    """A file with this content; text is written as it is."""
    file = path / "manifest.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def persisted(hashed: object, query: str | None = None, version: object = 1) -> RequestData:
    """A request as Apollo's clients send it."""
    return data_of({"query": query, "extensions": {"persistedQuery": {"version": version, "sha256Hash": hashed}}})


def reason_of(documents: Documents, data: RequestData) -> str:
    """Why a request is refused, or `ok`; it has a text then."""
    try:
        documents.resolve(data)
    except ApiError as error:
        return error.reason.name
    assert data.query is not None
    return "ok"


@pytest.mark.parametrize(
    ("content", "identifiers"),
    [
        (apollo(ORDER, PAGE), {sha(ORDER), sha(PAGE)}),
        (apollo(), set()),
        ({md5(ORDER): ORDER, "x-page": PAGE}, {md5(ORDER), "x-page"}),
        ({sha(ORDER).upper(): ORDER, f"sha256:{sha(PAGE)}": PAGE}, {sha(ORDER), sha(PAGE)}),
    ],
    ids=["apollo", "apollo, empty", "relay", "codegen"],
)
def test_both_forms_are_read(tmp_path: Path, content: object, identifiers: set[str]) -> None:
    """Apollo's, and an object of documents by hash, whatever the hash; a SHA-256 in upper case or with a prefix too."""
    assert set(read_manifest(write(tmp_path, content))) == identifiers


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not JSON"),
        ("\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "not JSON"),
        ("[" * 100_000, "not JSON"),
        ([ORDER], "neither Apollo's manifest nor an object"),
        ({"format": "other"}, "`format` and `version` are not"),
        (apollo(version=2), "`format` and `version` are not"),
        (apollo(operations={}), "`operations` is not a list"),
        (apollo(operations=[ORDER]), "`operations` is not a list"),
        (apollo(operations=[{"id": "x"}]), "an identifier or a document is missing"),
        ({"x": 1}, "is not text"),
        ({"": ORDER}, "is missing"),
        ({sha(PAGE): ORDER}, f"{sha(PAGE)}: this is not the SHA-256"),
        ({sha(ORDER): ORDER, sha(ORDER).upper(): f"{ORDER} "}, "two documents"),
    ],
)
def test_a_manifest_that_is_wrong_is_a_wrong_setting(tmp_path: Path, content: object, said: str) -> None:
    """The error names the setting. A hash that is not that of its text is a mistake too."""
    with pytest.raises(SettingsError, match=re.escape(said)) as refused:
        read_manifest(write(tmp_path, content))
    assert str(refused.value).startswith("The settings are wrong:\n  PERSISTED_DOCUMENTS: ")


def test_a_manifest_that_is_not_there_is_a_wrong_setting(tmp_path: Path) -> None:
    """And so is a directory."""
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(SettingsError, match="PERSISTED_DOCUMENTS: the file cannot be read"):
            read_manifest(path)


def test_every_document_has_to_fit_the_schema(tmp_path: Path) -> None:
    """All mistakes are reported at once, each with its identifier; a hidden field is not in the schema."""
    wrong = {"a": "{", "b": "{ nothing }", "c": ORDER, "d": "{ order(orderKey: 1) { clerk } }", "e": "{" * 9000}
    settings = Settings(
        database_url="postgresql://h/db",
        persisted_documents=write(tmp_path, wrong),
        hidden_fields="Order.clerk",
    )
    with pytest.raises(SettingsError) as refused:
        check_manifest(settings)
    first, *lines = str(refused.value).splitlines()
    assert first == "The settings are wrong:"
    assert [re.match(r"  PERSISTED_DOCUMENTS: (\w): ", line)[1] for line in lines] == list("abde")  # type: ignore[index]
    check_manifest(settings.model_copy(update={"persisted_documents": write(tmp_path, apollo(ORDER, PAGE))}))
    check_manifest(settings.model_copy(update={"persisted_documents": None}))


@pytest.mark.parametrize(
    "parameters",
    [
        {"documentId": sha(ORDER)},
        {"documentId": f"sha256:{sha(ORDER)}"},
        {"documentId": sha(ORDER).upper()},
        {"doc_id": sha(ORDER)},
        {"documentId": "relay"},
        {"documentId": "relay", "query": ORDER},
        {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": sha(ORDER)}}},
        {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "relay"}}, "documentId": "relay"},
        {"query": ORDER},
    ],
)
@pytest.mark.parametrize("only", [False, True])
def test_a_trusted_document_is_found(parameters: dict[str, Any], *, only: bool) -> None:
    """By `documentId`, by `doc_id`, by Apollo's extension, and by its very text."""
    data = data_of(parameters)
    Documents(DocumentCache(), {sha(ORDER): ORDER, "relay": ORDER}, only=only).resolve(data)
    assert (data.query, data.offered) == (ORDER, False)


@pytest.mark.parametrize(
    "data",
    [
        RequestData(PAGE, None, None, None),
        RequestData(f"{ORDER} ", None, None, None),
        RequestData(None, None, None, None),
        data_of({"documentId": "x"}),
        data_of({"documentId": sha(PAGE), "query": PAGE}),
        persisted(sha(PAGE)),
        persisted(sha(PAGE), PAGE),
        persisted(sha(PAGE), ORDER),
    ],
)
def test_where_only_the_manifest_is_trusted_nothing_else_is_run(data: RequestData) -> None:
    """Neither another text, even by a space, nor another hash, with or without its text; nothing is ever learnt."""
    cache = DocumentCache()
    cache.add(PAGE, parse(PAGE))
    documents = Documents(cache, {sha(ORDER): ORDER}, only=True, remembered=10)
    documents.learn(sha(PAGE), PAGE)
    assert reason_of(documents, data) == "DOCUMENT_NOT_TRUSTED"


@pytest.mark.parametrize(
    ("data", "remembered", "reason"),
    [
        (persisted(sha(PAGE)), 1, "PERSISTED_QUERY_NOT_FOUND"),
        (data_of({"documentId": "x"}), 1, "PERSISTED_QUERY_NOT_FOUND"),
        (persisted(sha(PAGE)), 0, "PERSISTED_QUERY_NOT_SUPPORTED"),
        (persisted(sha(PAGE), PAGE), 1, "ok"),
        (persisted(sha(PAGE), PAGE), 0, "ok"),
        (persisted(sha(PAGE), f"{PAGE} "), 1, "PERSISTED_QUERY_MISMATCH"),
        (persisted("x", PAGE), 1, "PERSISTED_QUERY_MISMATCH"),
        (persisted(sha(ORDER), PAGE), 1, "PERSISTED_QUERY_MISMATCH"),
        (data_of({"query": PAGE}), 0, "ok"),
    ],
)
def test_what_is_not_trusted_is_run_by_its_text(data: RequestData, remembered: int, reason: str) -> None:
    """A hash alone has to be known; a hash beside a text has to be the hash of that text."""
    assert reason_of(Documents(DocumentCache(), {sha(ORDER): ORDER}, remembered=remembered), data) == reason


@pytest.mark.parametrize(
    "parameters",
    [
        {"documentId": 1},
        {"documentId": "x", "extensions": {"persistedQuery": {"version": 1, "sha256Hash": "y"}}},
        {"extensions": {"persistedQuery": "x"}},
        {"extensions": {"persistedQuery": {"version": 2, "sha256Hash": "x"}}},
        {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": 5}}},
    ],
)
def test_a_malformed_request_is_refused(parameters: dict[str, Any]) -> None:
    """With two identifiers, one would be remembered that was never compared with the text."""
    with pytest.raises(ApiError) as refused:
        data_of(parameters)
    assert refused.value.reason.name == "PARAMETER_INVALID"


async def test_only_valid_documents_are_remembered() -> None:
    """An invalid document is forgotten at once. A valid one is found by its hash from then on."""
    cache = DocumentCache()
    documents = Documents(cache, remembered=10)
    schema = build_schema(extensions=[lambda: RememberDocument(documents)], documents=cache)
    for text in ("{ __typename }", "{", "{ nothing }", "{ orders(first: 1"):
        data = persisted(sha(text), text)
        documents.resolve(data)
        assert data.offered
        await schema.execute(
            data.query,
            context_value=context(RecordingAdministration(), Role.ADMIN),
            operation_extensions=data.extensions,
        )
        found = reason_of(documents, persisted(sha(text)))
        assert found == ("ok" if text == "{ __typename }" else "PERSISTED_QUERY_NOT_FOUND")


async def test_what_costs_too_much_is_not_remembered_by_its_hash() -> None:
    """It is valid, and would be refused each time; nor is a very long document."""
    cache = DocumentCache()
    documents = Documents(cache, remembered=10)
    schema = build_schema(
        extensions=[lambda: RememberDocument(documents)], documents=cache, limits=DocumentLimits(cost=1)
    )
    for text in ("{ __typename }", "{ databaseInstances { nodes { name } } }", f"{{ __typename }} #{'x' * 17_000}"):
        data = persisted(sha(text), text)
        # Twice: what the cache knows already is no reason to believe a hash either.
        for _ in range(2):
            documents.resolve(data)
            await schema.execute(
                data.query,
                context_value=context(RecordingAdministration(), Role.ADMIN),
                operation_extensions=data.extensions,
            )
        found = reason_of(documents, persisted(sha(text)))
        assert found == ("ok" if text == "{ __typename }" else "PERSISTED_QUERY_NOT_FOUND")


def test_as_many_are_found_by_their_hash_as_are_set() -> None:
    """The latest used."""
    cache = DocumentCache()
    documents = Documents(cache, remembered=2)
    texts = [f"{{ {name}: __typename }}" for name in "abc"]
    for text in texts:
        cache.add(text, parse(text))
    for text in texts[:2]:
        documents.learn(sha(text), text)
    assert reason_of(documents, persisted(sha(texts[0]))) == "ok"
    documents.learn(sha(texts[2]), texts[2])
    found = [reason_of(documents, persisted(sha(text))) for text in texts]
    assert found == ["ok", "PERSISTED_QUERY_NOT_FOUND", "ok"]
