"""The bare application: an ASGI function that hands PostgreSQL's JSON to the client, without GraphQL."""

from __future__ import annotations

import functools
import os
import sys
from base64 import urlsafe_b64decode
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import orjson

from tests.bench.nested.bare_sql import json_page, text_page
from tests.bench.serving import serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

_CONNECTIONS: Final = 10
_HEADER: Final = (b"content-type", b"application/json")


class BareApp:
    """Takes the page's size and the cursor out of a request's variables. It does not parse the document.

    Args:
        url: the database.
        statement: the statement for a page's size.
    """

    def __init__(self, url: str, statement: Callable[[int], str]) -> None:
        self._url = url
        self._statement = statement
        self._pool: asyncpg.Pool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or the lifespan."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        content = await self._page(orjson.loads(body)["variables"])
        headers = [_HEADER, (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _page(self, variables: dict[str, Any]) -> bytes:
        statement, after = self._statement(variables["first"]), variables["after"]
        async with self._pool.acquire() as connection:
            page: str = await connection.fetchval(statement, 0 if after is None else _key(after))
        return page.encode()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        # No reset: it costs a statement each time, and these requests leave nothing to undo.
        self._pool = await asyncpg.create_pool(self._url, min_size=_CONNECTIONS, max_size=_CONNECTIONS, reset=_nothing)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._pool.close()
        await send({"type": "lifespan.shutdown.complete"})


async def _nothing(_connection: asyncpg.Connection) -> None:
    pass


def _key(cursor: str) -> int:
    _, _, key = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    return int(key)


if __name__ == "__main__":
    _page = {"json": json_page, "text": text_page}[sys.argv[1]]
    _orders, _overlay = os.environ["ORDERS_TABLE"], f"{os.environ['APP_SCHEMA']}.order_status"
    serve(
        BareApp(os.environ["DATABASE_URL"], functools.cache(lambda size: _page(_orders, _overlay, size))),
        int(os.environ["PORT"]),
    )
