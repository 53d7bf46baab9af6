"""The manifest of trusted documents: how it is read, and how it is checked before the server starts."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final

from server.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from server.settings import Settings

_APOLLO: Final = "apollo-persisted-query-manifest"
_APOLLO_VERSION: Final = 1
_SHA256: Final = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)
_PREFIX: Final = "sha256:"


def hash_in(identifier: str) -> str | None:
    """The SHA-256 in an identifier, in lower case; None if the identifier is a name or another hash.

    It may have the prefix `sha256:` of GraphQL over HTTP's appendix on persisted documents.
    """
    bare = identifier.removeprefix(_PREFIX)
    return bare.lower() if _SHA256.fullmatch(bare) else None


def sha256_of(text: str) -> str:
    """The SHA-256 of a document."""
    # JSON can contain a lone surrogate, which has no UTF-8 form. No client can know the hash of such a text.
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def read_manifest(path: Path) -> dict[str, str]:
    """Read the documents of a manifest, by identifier. Hashes lose their prefix and are in lower case.

    Raises:
        SettingsError: the file cannot be read, its format is unknown, or a hash is not that of its text.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise _wrong([f"the file cannot be read: {(error.strerror or str(error)).lower()}"]) from None
    except (ValueError, RecursionError):
        raise _wrong(["the file is not JSON"]) from None
    documents: dict[str, str] = {}
    mistakes: list[str] = []
    for identifier, text in _pairs(content):
        key = hash_in(identifier) or identifier
        if hash_in(identifier) not in {None, sha256_of(text)}:
            mistakes.append(f"{identifier}: this is not the SHA-256 of its document")
        if documents.setdefault(key, text) != text:
            mistakes.append(f"{identifier}: two documents have this one identifier")
    if mistakes:
        raise _wrong(mistakes)
    return documents


def check_manifest(settings: Settings) -> None:
    """Check that every document of the manifest, if one is set, is valid for the schema.

    Raises:
        SettingsError: with a line for each mistake.
    """
    if settings.persisted_documents is None:
        return
    documents = read_manifest(settings.persisted_documents)
    # These imports take half a second, which a server without a manifest need not spend.
    from graphql import GraphQLError, parse, validate  # noqa: PLC0415

    from schema import build_schema  # noqa: PLC0415
    from schema.tables.older_documents import accept_single_orders  # noqa: PLC0415

    schema = build_schema(tables=settings.tables, hidden_fields=settings.hidden_fields)._schema  # noqa: SLF001 # there is no other way to graphql-core's
    mistakes: list[str] = []
    for identifier, text in documents.items():
        try:
            found = validate(schema, accept_single_orders(parse(text)))
        except GraphQLError as error:
            found = [error]
        except RecursionError:
            found = [GraphQLError("it is nested too deeply")]
        mistakes += [f"{identifier}: {error.message}" for error in found]
    if mistakes:
        raise _wrong(mistakes)


def _pairs(content: Any) -> Iterator[tuple[str, str]]:
    """The identifier and text of each document, in either format."""
    if isinstance(content, dict) and "format" in content:
        if (content["format"], content.get("version")) != (_APOLLO, _APOLLO_VERSION):
            raise _wrong([f"`format` and `version` are not `{_APOLLO}` and {_APOLLO_VERSION}"])
        operations = content.get("operations")
        if not isinstance(operations, list) or not all(isinstance(operation, dict) for operation in operations):
            raise _wrong(["`operations` is not a list of objects"])
        pairs = [(operation.get("id"), operation.get("body")) for operation in operations]
    elif isinstance(content, dict):
        pairs = list(content.items())
    else:
        raise _wrong(["it is neither Apollo's manifest nor an object of document by hash"])
    for identifier, text in pairs:
        if not isinstance(identifier, str) or not isinstance(text, str) or not identifier:
            raise _wrong(["an identifier or a document is missing, or is not text"])
        yield identifier, text


def _wrong(mistakes: list[str]) -> SettingsError:
    return SettingsError(("PERSISTED_DOCUMENTS", mistake) for mistake in mistakes)
