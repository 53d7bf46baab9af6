"""The GraphiQL page. If its third-party files are missing, the page says how to fetch them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from starlette.responses import HTMLResponse, Response

from server.graphql.graphiql.vendor import STATIC, is_complete

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["STATIC", "page"]

# When a dialog or a menu opens, GraphiQL adds a <style> that stops the page behind it from scrolling. Our page has no
# margins and no scroll bars, so the text is always the same, and the policy allows its hash and no other inline style.
_SCROLL_LOCK: Final = "sha256-nzTgYzXYDNe6BAHiiI7NNlfK8n/auuOAhh2t92YvuXo="
_CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; "
    "script-src 'self'; "
    f"style-src 'self' '{_SCROLL_LOCK}'; "
    "img-src data:; "
    "font-src data:; "
    "connect-src 'self'; "
    "base-uri 'none'; "
    "form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS: Final = {
    "content-security-policy": _CONTENT_SECURITY_POLICY,
    # No other page may frame this one, hold a reference to its window, or see its address in a referrer.
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    # A client that does not ask for a page gets JSON from the same address.
    "vary": "accept",
}


def page(static: Path = STATIC) -> Response:
    """GraphiQL, with all scripts and styles from our own `/static/`; a 503 with instructions if files are missing."""
    if is_complete(static):
        return HTMLResponse((static / "graphiql.html").read_text(), headers=_HEADERS)
    return HTMLResponse((static / "graphiql-missing.html").read_text(), status_code=503, headers=_HEADERS)
