"""Content negotiation: the weights of Accept and Accept-Encoding, and the media type of a response."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from server.http.client import headers

if TYPE_CHECKING:
    from starlette.requests import Request

GRAPHQL_RESPONSE: Final = "application/graphql-response+json"
JSON: Final = "application/json"
HTML: Final = "text/html"
EVENT_STREAM: Final = "text/event-stream"
# Clients send the same few headers, of some hundred characters each. A header has 64 KiB at most.
_REMEMBERED: Final = 128


def weights_of(header: str) -> dict[str, float]:
    """The values that a header lists, in lower case, each with its weight from 0 to 1 (RFC 9110, section 12.4.2).

    A value without `q` has weight 1; other parameters are ignored. A value whose weight is no number is left out: it
    is neither accepted nor refused.
    """
    weights: dict[str, float] = {}
    for part in header.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = next((piece[2:].strip() for piece in parameters if piece.startswith("q=")), "1")
        try:
            number = float(weight)
        except ValueError:
            number = math.nan
        if math.isnan(number):
            weights.pop(name, None)
        elif name:
            weights[name] = max(0.0, min(1.0, number))
    return weights


@lru_cache(maxsize=_REMEMBERED)
def media_type(accept: str | None) -> str | None:
    """The media type of the response, or None if the Accept header admits neither of the two that are offered.

    If a wildcard admits both equally, this is JSON, which every client reads.
    """
    wanted = weights_of(accept or "*/*")
    best, best_weight = None, 0.0
    for offered in (JSON, GRAPHQL_RESPONSE):
        weight = _weight(offered, wanted)
        # If the client names both with equal weight, it knows the newer type, which says more.
        if weight > best_weight or (weight == best_weight > 0 and GRAPHQL_RESPONSE in wanted):
            best, best_weight = offered, weight
    return best


@lru_cache(maxsize=_REMEMBERED)
def preferred(accept: str | None, offered: tuple[str, ...]) -> str | None:
    """The media type among those offered that the Accept header prefers; None if it admits none of them."""
    wanted = weights_of(accept or "*/*")
    best = max(offered, key=lambda media: _weight(media, wanted))
    return best if _weight(best, wanted) > 0 else None


def wants_page(accept: str | None) -> bool:
    """Whether a browser asks for a page: it names text/html, where curl sends a wildcard."""
    return weights_of(accept or "").get(HTML, 0.0) > 0


def wants_stream(accept: str | None) -> bool:
    """Whether the client accepts server-sent events, by name or by a wildcard."""
    return _weight(EVENT_STREAM, weights_of(accept or "*/*")) > 0


def accepted_by(request: Request) -> str | None:
    """The Accept header; several lines of it are one list."""
    return ", ".join(headers(request.scope, b"accept")) or None


def _weight(offered: str, wanted: dict[str, float]) -> float:
    kind = offered.partition("/")[0]
    return next((wanted[name] for name in (offered, f"{kind}/*", "*/*") if name in wanted), 0.0)
