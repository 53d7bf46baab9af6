"""Owns the choice of a response's media type from an Accept header."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from server.http.client import headers

if TYPE_CHECKING:
    from starlette.requests import Request


from typing import TYPE_CHECKING

GRAPHQL_RESPONSE: Final = "application/graphql-response+json"
JSON: Final = "application/json"
HTML: Final = "text/html"
EVENT_STREAM: Final = "text/event-stream"
# Clients send the same few, of some hundred characters each; a header has 64 KiB at most.
_REMEMBERED: Final = 128


@lru_cache(maxsize=_REMEMBERED)
def media_type(accept: str | None) -> str | None:
    """The media type to answer in, or None where the header admits neither.

    JSON is preferred where both are equally welcome by a wildcard, because that is what every client reads.
    """
    wanted = _ranges(accept or "*/*")
    best, best_quality = None, 0.0
    for offered in (JSON, GRAPHQL_RESPONSE):
        quality = _quality(offered, wanted)
        # Named together with equal weight, the newer type is the one that the client knows better.
        if quality > best_quality or (quality == best_quality > 0 and GRAPHQL_RESPONSE in wanted):
            best, best_quality = offered, quality
    return best


def wants_page(accept: str | None) -> bool:
    """Whether a browser asks for a page: text/html by name, not by a wildcard as curl does."""
    return _ranges(accept or "").get(HTML, 0.0) > 0


def wants_stream(accept: str | None) -> bool:
    """Whether server-sent events are admitted, by name or by a wildcard."""
    return _quality(EVENT_STREAM, _ranges(accept or "*/*")) > 0


def _quality(offered: str, wanted: dict[str, float]) -> float:
    kind = offered.partition("/")[0]
    return next((wanted[name] for name in (offered, f"{kind}/*", "*/*") if name in wanted), 0.0)


def _ranges(accept: str) -> dict[str, float]:
    """The media ranges of the header and their weights; parameters other than q are left aside."""
    ranges = {}
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = next((piece[2:].strip() for piece in parameters if piece.startswith("q=")), "1")
        try:
            quality = float(weight)
            # Neither below zero nor "nan" is more than nothing.
            ranges[name] = min(quality, 1.0) if quality > 0 else 0.0
        except ValueError:
            ranges[name] = 0.0
    return ranges


def accepted_by(request: Request) -> str | None:
    """The Accept header; several lines are one list."""
    return ", ".join(headers(request.scope, b"accept")) or None
