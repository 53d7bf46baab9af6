"""Finds a document by its hash: in the manifest, or among those that clients have offered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from strawberry.extensions import SchemaExtension

from schema.errors import ForbiddenError, Reason, RequestError
from server.graphql.documents.manifest import hash_in, read_manifest, sha256_of
from server.graphql.request import persisted_hash

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schema import DocumentCache
    from server.graphql.request import RequestData
    from server.settings import Settings

_NOT_TRUSTED: Final = "Only documents of the manifest are run here: send the hash of one of them as `documentId`."


class Documents:
    """Finds the text of the document that a request names.

    Args:
        cache: the cache of documents, among them those that clients have offered with their hash.
        trusted: the manifest, by identifiers as `read_manifest` returns them.
        only: whether the server runs only trusted documents.
        remembered: how many offered documents may be found by their hash; 0 if clients may not offer any.
    """

    def __init__(
        self,
        cache: DocumentCache,
        trusted: Mapping[str, str] | None = None,
        *,
        only: bool = False,
        remembered: int = 0,
    ) -> None:
        self._cache = cache
        self._trusted = trusted or {}
        self._texts = frozenset(self._trusted.values()) if only else None
        # If the server runs only the manifest, clients can add no document.
        self._remembered = 0 if only else remembered

    @classmethod
    def of(cls, settings: Settings, cache: DocumentCache) -> Documents:
        """The documents that the settings name.

        Raises:
            SettingsError: the manifest cannot be read, or a hash is not that of its text.
        """
        path = settings.persisted_documents
        return cls(
            cache,
            read_manifest(path) if path else None,
            only=settings.persisted_documents_only,
            remembered=settings.automatic_persisted_queries,
        )

    def resolve(self, data: RequestData) -> None:
        """Set the text of a request that names its document, and check that the document may be run.

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
        """Remember the hash of a valid document. `resolve` has compared it with the text."""
        digest = hash_in(identifier)
        if self._remembered and digest is not None and digest not in self._trusted:
            self._cache.offer(digest, text, most=self._remembered)

    def _resolve(self, data: RequestData, identifier: str) -> None:
        known = self._trusted.get(identifier)
        digest = None
        if known is None and (digest := hash_in(identifier)) is not None:
            known = self._trusted.get(digest)
            if known is None and (document := self._cache.find(digest)):
                known = document.text
        if known is None and self._texts is not None:
            raise ForbiddenError(Reason.DOCUMENT_NOT_TRUSTED, _NOT_TRUSTED)
        if data.query is None:
            if known is None:
                raise self._unknown()
            data.query = known
        elif known is None:
            # Only valid documents are remembered by their hash, and only the ordinary path finds out which are valid.
            data.offered = bool(self._remembered) and "persistedQuery" in (data.extensions or {})
            if digest != sha256_of(data.query):
                raise RequestError(
                    Reason.PERSISTED_QUERY_MISMATCH, "The hash is not the hash of the text sent with it."
                )
        elif data.query != known:
            raise RequestError(
                Reason.PERSISTED_QUERY_MISMATCH, "The document with this hash differs from the text sent with it."
            )

    def _unknown(self) -> RequestError:
        # Apollo's clients know these messages.
        if self._remembered:
            return RequestError(Reason.PERSISTED_QUERY_NOT_FOUND, "PersistedQueryNotFound")
        return RequestError(Reason.PERSISTED_QUERY_NOT_SUPPORTED, "PersistedQueryNotSupported")


class RememberDocument(SchemaExtension):
    """Remembers a document by the hash that an Apollo client sent with it, once it is about to be executed.

    By then it is valid and within all limits, so other documents cannot push out remembered ones.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def on_execute(self) -> Iterator[None]:
        """`Documents.resolve` has compared the hash with the text."""
        extensions, text = self.execution_context.operation_extensions, self.execution_context.query
        digest = persisted_hash(extensions) if extensions else None
        if digest is not None and text is not None:
            self._documents.learn(digest, text)
        yield
