"""Owns the GraphiQL page: the page itself, or where its third-party files are not fetched, how to fetch them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from starlette.responses import HTMLResponse, Response

STATIC: Final = Path(__file__).parent / "static"
VENDOR: Final = STATIC / "vendor"


def page() -> Response:
    """GraphiQL, all of whose scripts and styles come from our own `/static/`."""
    if VENDOR.is_dir():
        return HTMLResponse((STATIC / "graphiql.html").read_text())
    return HTMLResponse((STATIC / "graphiql-missing.html").read_text(), status_code=503)
