"""Serves the peers in Python by uvicorn with its fast parts, like the server (server/process/uvicorn_server.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import uvicorn

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def serve(app: ASGIApp, port: int, *, lifespan: Literal["on", "off"] = "on") -> None:
    """Serve on loopback until stopped."""
    uvicorn.run(
        app,
        port=port,
        loop="uvloop",
        http="httptools",
        lifespan=lifespan,
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=30,
    )
