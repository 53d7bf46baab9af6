"""Settings that protect the server: limits on documents, requests, connections and callers."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 # pydantic reads the annotations at run time
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field, IPvAnyNetwork, NonNegativeInt, PositiveInt
from pydantic_settings import BaseSettings, NoDecode

from schema import DocumentLimits
from server.settings.auth import Separated

if TYPE_CHECKING:
    from collections.abc import Iterator

_Seconds = Annotated[float, Field(ge=0.01, le=86_400, allow_inf_nan=False)]
# A process holds 110 MB without any load, 165 MB with the Databricks SDK.
LEAST_MEGABYTES: Final = 256
_Rate = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


class LimitSettings(BaseSettings):
    """What the server refuses."""

    limit_characters: PositiveInt = Field(
        65_536,
        le=1 << 20,
        description="Characters in a document, comments included. Reading one takes a tenth of a microsecond.",
    )
    limit_tokens: PositiveInt = Field(
        1_000, le=100_000, description="Tokens in a document. Relay's largest pages have some hundreds."
    )
    limit_depth: PositiveInt = Field(
        16,
        le=100,
        description="How deep fields may be nested. Introspection (`__schema`, `__type`) has its own limits.",
    )
    limit_root_mutations: PositiveInt = Field(
        1,
        le=100,
        description=(
            "Root fields in a mutation. For a list of changes there is `setOrderStatuses`, which is one transaction."
        ),
    )
    limit_cost: PositiveInt = Field(
        25_000,
        le=10_000_000,
        description=(
            "The cost of an operation: its selected fields times the page sizes around them. A page of 1,000 orders "
            "with all their fields and `__typename` costs less, and so does a single scan of the table."
        ),
    )
    body_bytes: PositiveInt = Field(
        2_097_152,
        le=64 << 20,
        description=(
            "Bytes in a request body or a WebSocket message. 1,000 changes with the longest notes take half of the "
            "default."
        ),
    )
    max_connections: PositiveInt = Field(
        1_000,
        le=100_000,
        description=(
            "Client connections of a process. At the limit, a new one replaces the one that has been idle longest, of "
            "the address (or behind a proxy the caller) that has the most idle ones, or is refused if none is idle."
        ),
    )
    proxy_networks: Annotated[frozenset[IPvAnyNetwork], NoDecode, Separated] = Field(
        frozenset(),
        description=(
            "The addresses of proxies in front of the server, as networks separated by commas: `10.0.0.0/8,fd00::/8`. "
            "Limits by address do not apply to them, because all clients behind a proxy have its address. With "
            "`AUTH_MODE=databricks-app` they apply to nobody."
        ),
    )
    max_requests: PositiveInt | None = Field(
        None,
        le=100_000,
        description=(
            "Operations in flight in a process, not counting those that wait for a slow count. Default: four for each "
            "connection of `POOL_SIZE`."
        ),
    )
    memory_limit: Annotated[int, Field(ge=LEAST_MEGABYTES, le=1 << 20)] | Literal["off"] | None = Field(
        None,
        description=(
            "Megabytes that a process may hold before it refuses new work, at least 256. From four fifths of it on, "
            "caches are let go. `off`: no limit. Default: four fifths of the container's memory, divided by `WORKERS`; "
            "no limit without a container."
        ),
    )
    max_subscriptions_per_caller: PositiveInt = Field(
        500,
        le=100_000,
        description="Subscriptions of one caller in a process, over all its connections.",
    )
    subscription_timeout: _Seconds = Field(
        14_400.0,
        description="Seconds after which the server ends a subscription. The client resumes from its last cursor.",
    )
    export_seconds: _Seconds = Field(
        100.0,
        description=(
            "Seconds after which the server ends an export, whose client resumes from its last cursor. The platform's "
            "proxy ends every request at 120."
        ),
    )
    rate_limit: _Rate | Literal["off"] = Field(
        "off", description="Points of cost that a caller may spend per second in each process; `off`: no limit."
    )
    rate_burst: PositiveInt = Field(
        100_000,
        description="Points that a caller may save up for a burst, and has at the start.",
    )
    persisted_documents: Path | None = Field(
        None,
        description=(
            "A manifest of trusted documents, which clients name by hash: Apollo's format, or a JSON object that maps "
            "hashes to documents."
        ),
    )
    persisted_documents_only: bool = Field(
        default=False, description="Whether the server runs nothing but the documents of `PERSISTED_DOCUMENTS`."
    )
    automatic_persisted_queries: NonNegativeInt = Field(
        1_000,
        # As many as the cache of documents holds (schema/plans/documents.py).
        le=1_000,
        description=(
            "Documents that the server remembers by hash for Apollo's automatic persisted queries, at most 1,000; "
            "0: none."
        ),
    )
    exploring: Literal["on", "admin", "off"] | None = Field(
        None,
        description=(
            "Who gets introspection, GraphiQL, and names of the schema in error messages. `on`: everybody; `admin`: "
            "the role `admin`; `off`: nobody. Default: `on` in development and `admin` in production."
        ),
    )

    @property
    def document_limits(self) -> DocumentLimits:
        """The limits of a document, in the schema's form."""
        return DocumentLimits(
            characters=self.limit_characters,
            tokens=self.limit_tokens,
            depth=self.limit_depth,
            root_mutations=self.limit_root_mutations,
            cost=self.limit_cost,
        )

    def mistakes(self) -> Iterator[str]:
        """The contradictions between these settings, a sentence each."""
        if self.persisted_documents_only and self.persisted_documents is None:
            yield "PERSISTED_DOCUMENTS_ONLY needs PERSISTED_DOCUMENTS too"
