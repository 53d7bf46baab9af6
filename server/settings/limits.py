"""Owns the settings of what is held off: documents too dear, bodies too long, callers too many, slow or eager."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 # pydantic reads the annotations at run time
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt
from pydantic_settings import BaseSettings

from schema import DocumentLimits

if TYPE_CHECKING:
    from collections.abc import Iterator

_Wait = Annotated[float, Field(ge=0.01, le=86_400, allow_inf_nan=False)]
_Rate = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


class LimitSettings(BaseSettings):
    """What the server is told to refuse, and what for."""

    limit_characters: PositiveInt = Field(
        65_536,
        le=1 << 20,
        description="Characters of a document, comments included: reading a character takes a tenth of a microsecond.",
    )
    limit_tokens: PositiveInt = Field(
        1_000, le=100_000, description="Tokens of a document; Relay's largest pages have some hundreds."
    )
    limit_definitions: PositiveInt = Field(
        20,
        le=1_000,
        description="Operations and fragments of a document; each fragment is validated against all others.",
    )
    limit_depth: PositiveInt = Field(
        16,
        le=100,
        description="How deep fields may be nested. What is below `__schema` and `__type` has bounds of its own.",
    )
    limit_fields: PositiveInt = Field(
        300, le=10_000, description="Fields of an operation, each fragment counted wherever it is spread."
    )
    limit_aliases: PositiveInt = Field(
        30, le=10_000, description="Aliases of an operation, by which one field is asked for many times."
    )
    limit_root_fields: PositiveInt = Field(
        20, le=1_000, description="Root fields of an operation: each is at least one question to the database."
    )
    limit_root_mutations: PositiveInt = Field(
        1,
        le=100,
        description="Root fields of a mutation: a list of changes is `setOrderStatuses`, which is one transaction.",
    )
    limit_repeats: PositiveInt = Field(
        4,
        le=100,
        description=(
            "How often one selection may name a response key: all of a key's fields are compared in pairs. Plain "
            "fields, without arguments and selections, eight times as often."
        ),
    )
    limit_directives: PositiveInt = Field(20, le=1_000, description="Directives of an operation.")
    limit_cost: PositiveInt = Field(
        20_000,
        le=10_000_000,
        description=(
            "What an operation may cost: selected fields times page sizes, those of nested pages multiplied. A page of "
            "1,000 orders with all their fields is below it."
        ),
    )
    body_bytes: PositiveInt = Field(
        2_097_152,
        le=64 << 20,
        description="Bytes of a body, or of a WebSocket's message: 1,000 changes with the longest notes are a half.",
    )
    headers_timeout: _Wait = Field(5.0, description="Seconds in which a request's headers have to be there.")
    body_timeout: _Wait = Field(
        10.0, description="Seconds in which its body has to be there, counted from its first byte."
    )
    send_timeout: _Wait = Field(30.0, description="Seconds for which a caller may take nothing of its answer.")
    max_connections: PositiveInt = Field(
        1_000,
        le=100_000,
        description="Connections of a process. One more closes the one that has been idle longest, or is refused.",
    )
    max_requests: PositiveInt | None = Field(
        None,
        le=100_000,
        description=(
            "Operations in flight in a process, without those that wait for a slow count; four for each connection of "
            "`POOL_SIZE` where it is not set."
        ),
    )
    max_requests_wait: _Wait = Field(0.25, description="Seconds that one waits to be among them before `OVERLOADED`.")
    max_subscriptions: PositiveInt = Field(100, le=100_000, description="Operations at once on one WebSocket.")
    max_subscriptions_per_caller: PositiveInt = Field(
        500, le=100_000, description="Subscriptions of one caller in a process, over all connections."
    )
    subscription_timeout: _Wait = Field(
        14_400.0, description="Seconds after which a subscription is ended; its caller goes on from its last cursor."
    )
    socket_init_timeout: _Wait = Field(3.0, description="Seconds in which a WebSocket has to say `connection_init`.")
    socket_idle_timeout: _Wait = Field(
        900.0, description="Seconds after which a WebSocket on which nothing runs and nothing is said is closed."
    )
    rate_limit: _Rate | Literal["off"] = Field(
        "off",
        description=(
            "Points of cost that a caller may spend in a second, in each process; `off`: any number. What was not "
            "spent is kept, up to"
        ),
    )
    rate_burst: PositiveInt = Field(100_000, description="so many points, which are there to begin with.")
    persisted_documents: Path | None = Field(
        None,
        description=(
            "A manifest of trusted documents, by whose hash they are asked for: Apollo's, or an object of document by "
            "hash."
        ),
    )
    persisted_documents_only: bool = Field(
        default=False, description="Whether nothing else is run than what stands in `PERSISTED_DOCUMENTS`."
    )
    automatic_persisted_queries: NonNegativeInt = Field(
        1_000,
        le=100_000,
        description="How many documents are remembered by their hash as Apollo's clients send them; 0: none.",
    )
    exploring: Literal["on", "admin", "off"] | None = Field(
        None,
        description=(
            "Who may look around: introspection, GraphiQL, and suggestions in error messages. `on`: everybody; "
            "`admin`: the role `admin`; `off`: nobody. Where it is not set, `on` in development and "
            "`admin` in production."
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
        """What does not go together, a sentence each."""
        if self.persisted_documents_only and self.persisted_documents is None:
            yield "PERSISTED_DOCUMENTS_ONLY needs PERSISTED_DOCUMENTS beside it"
