"""The floor: a bare ASGI application that gets the same requests as the server and gives the same responses."""

from __future__ import annotations

from base64 import b64encode
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import orjson

from schema.orders.enums import OrderStatus
from server.settings import Settings, load_settings
from tests.bench.floor_reads import FloorReads
from tests.bench.floor_writes import READ_OPERATION, floor_of
from tests.bench.serving import serve

if TYPE_CHECKING:
    import asyncpg
    from starlette.types import Receive, Scope, Send

    from tests.bench.floor_writes import Floor

_STORED: Final = {status.name: str(status.value) for status in OrderStatus}
_NAMES: Final = {stored: name for name, stored in _STORED.items()}
_JSON: Final = (b"content-type", b"application/json")


class BareApp:
    """Recognises requests by the name of the operation. It does not parse the document."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self._reads = FloorReads(settings.orders_table, f"{settings.app_schema}.order_status")
        self._writes: Floor
        # There are at most as many clients as connections.
        self._idle: list[asyncpg.Connection]

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
        answer = await self._answer(orjson.loads(body)) if body else {}
        content = orjson.dumps({"data": answer})
        headers = [_JSON, (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        read = self._reads.operations.get(request["operationName"])
        answer: dict[str, Any] = await (self._change(request) if read is None else read(request["variables"]))
        return answer

    async def _change(self, request: dict[str, Any]) -> dict[str, Any]:
        wanted = request["variables"]["input"]
        key, status = int(wanted["orderKey"]), wanted["status"]
        connection = self._idle.pop()
        try:
            id_, version = await self._writes.set_status(connection, key, _STORED[status], wanted["idempotencyKey"])
            payload = {
                "change": {"id": b64encode(b"OrderStatusChange:%d" % id_).decode(), "version": version},
                "userErrors": [],
            }
            if request["operationName"] == READ_OPERATION:
                _, stored, version = await self._writes.read(connection, key)
                payload["order"] = {"status": _NAMES[stored], "statusVersion": version}
        finally:
            self._idle.append(connection)
        return {"setOrderStatus": payload}

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._writes, self._idle = await self._stack.enter_async_context(floor_of(self._settings))
        if url := self._settings.database_url:
            await self._reads.open(url.get_secret_value())
            self._stack.push_async_callback(self._reads.close)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._stack.aclose()
        await send({"type": "lifespan.shutdown.complete"})


if __name__ == "__main__":
    _settings = load_settings()
    serve(BareApp(_settings), _settings.port)
