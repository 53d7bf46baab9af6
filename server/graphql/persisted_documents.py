"""Owns the finding of a document by its hash: those of the manifest, and those that clients have sent before."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from strawberry.extensions import SchemaExtension

from schema.errors import ForbiddenError, Reason, RequestError
from schema.extensions import REMEMBERED_CHARACTERS
from server.graphql.manifest import hash_in, read_manifest, sha256_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from server.graphql.request import RequestData
    from server.settings import Settings

_CHARACTERS: Final = 1 << 20
_NOT_TRUSTED: Final = "Only documents of the manifest are run here: send the hash of one of them as `documentId`."


class RememberedDocuments:
    """The documents that clients have sent with their hash, the latest used, up to a bound; each process has its own.

    Args:
        most: how many there are; none where it is 0.
        characters: how many characters they may have together.
    """

    def __init__(self, most: int, *, characters: int = _CHARACTERS) -> None:
        self.most = most
        self._characters = characters
        self._remembered_characters = 0
        self._texts: OrderedDict[str, str] = OrderedDict()

    def find(self, digest: str) -> str | None:
        """The document of a hash."""
        if (text := self._texts.get(digest)) is not None:
            self._texts.move_to_end(digest)
        return text

    def learn(self, digest: str, text: str) -> None:
        """Remember a document under the hash that is its own, unless it is a very long one."""
        if digest in self._texts or len(text) > REMEMBERED_CHARACTERS:
            return
        self._texts[digest] = text
        self._remembered_characters += len(text)
        while len(self._texts) > self.most or self._remembered_characters > self._characters:
            _, forgotten = self._texts.popitem(last=False)
            self._remembered_characters -= len(forgotten)


class Documents:
    """Finds the text that a request asks for.

    Args:
        trusted: the manifest, by identifiers as `read_manifest` gives them.
        only: whether nothing else is run.
        remembered: how many others are remembered by their hash as clients send them.
    """

    def __init__(self, trusted: Mapping[str, str] | None = None, *, only: bool = False, remembered: int = 0) -> None:
        self._trusted = trusted or {}
        self._texts = frozenset(self._trusted.values()) if only else None
        # Where only the manifest is run there is nothing that a client could add to it.
        self._remembered = RememberedDocuments(0 if only else remembered)

    @classmethod
    def of(cls, settings: Settings) -> Documents:
        """As the settings have it.

        Raises:
            SettingsError: the manifest cannot be read, or a hash is not that of its text.
        """
        path = settings.persisted_documents
        return cls(
            read_manifest(path) if path else None,
            only=settings.persisted_documents_only,
            remembered=settings.automatic_persisted_queries,
        )

    def resolve(self, data: RequestData) -> None:
        """Give a request the text that it names, where it names one.

        Raises:
            RequestError: PERSISTED_QUERY_NOT_FOUND, PERSISTED_QUERY_NOT_SUPPORTED, PERSISTED_QUERY_MISMATCH.
            ForbiddenError: DOCUMENT_NOT_TRUSTED.
        """
        identifier = data.document_id
        if identifier is not None:
            self._resolve(data, identifier)
        elif self._texts is not None and data.query not in self._texts:
            raise ForbiddenError(Reason.DOCUMENT_NOT_TRUSTED, _NOT_TRUSTED)

    def learn(self, identifier: str, text: str) -> None:
        """Remember a document that has proved valid, under the hash that was checked before it was run."""
        digest = hash_in(identifier)
        if self._remembered.most and digest is not None and digest not in self._trusted:
            self._remembered.learn(digest, text)

    def _resolve(self, data: RequestData, identifier: str) -> None:
        known = self._trusted.get(identifier)
        digest = None
        if known is None and (digest := hash_in(identifier)) is not None:
            known = self._trusted.get(digest) or self._remembered.find(digest)
        if known is None and self._texts is not None:
            raise ForbiddenError(Reason.DOCUMENT_NOT_TRUSTED, _NOT_TRUSTED)
        if data.query is None:
            if known is None:
                raise self._unknown()
            data.query = known
        elif known is None:
            # What is remembered is what proves valid, which only the ordinary way of answering finds out.
            data.offered = bool(self._remembered.most) and "persistedQuery" in (data.extensions or {})
            if digest != sha256_of(data.query):
                raise RequestError(Reason.PERSISTED_QUERY_MISMATCH, "The hash is not that of the text beside it.")
        elif data.query != known:
            raise RequestError(Reason.PERSISTED_QUERY_MISMATCH, "The document of this hash is not the text beside it.")

    def _unknown(self) -> RequestError:
        # Apollo's clients know these messages.
        if self._remembered.most:
            return RequestError(Reason.PERSISTED_QUERY_NOT_FOUND, "PersistedQueryNotFound")
        return RequestError(Reason.PERSISTED_QUERY_NOT_SUPPORTED, "PersistedQueryNotSupported")


class RememberDocument(SchemaExtension):
    """Remembers a document that came with its hash, as Apollo's clients send it, once it is about to be executed.

    By then it is valid, and within all limits: what is not cannot push out others that are.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def on_execute(self) -> Iterator[None]:
        """The hash has been compared with the text when the request was read."""
        offered = (self.execution_context.operation_extensions or {}).get("persistedQuery")
        if offered is not None and self.execution_context.query is not None:
            self._documents.learn(offered["sha256Hash"], self.execution_context.query)
        yield
