"""The platform's process: it reads the options, prints a line of JSON when it listens, and stops in order."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import uvicorn
from pydantic import ValidationError

from server.local.cluster import ClusterError
from server.local.platform.app import App
from server.local.platform.options import Options
from server.local.platform.service import Platform

if TYPE_CHECKING:
    import socket
    from types import FrameType

    from server.local.platform.hooks import Hooks

_HOST = "127.0.0.1"
# How long requests in flight delay the stop. Some may never be answered.
_GRACE_SECONDS = 1
_WRONG_SETTINGS = 2


class _JsonLines(logging.Formatter):
    """Writes a record as a line of JSON, with the keys of the server's own log."""

    def format(self, record: logging.LogRecord) -> str:
        values = {
            **getattr(record, "values", {}),
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
        }
        if record.exc_info:
            values["exception"] = self.formatException(record.exc_info)
        return json.dumps(values)


class _Server(uvicorn.Server):
    """Prints its addresses and tokens when it listens."""

    def __init__(self, platform: Platform, hooks: Hooks) -> None:
        config = uvicorn.Config(
            App(platform, hooks),
            host=_HOST,
            port=platform.store.state.http_port,
            http="h11",
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            server_header=False,
        )
        super().__init__(config)
        self._platform = platform

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            state = self._platform.store.state
            message = {
                "host": f"http://{_HOST}:{state.http_port}",
                "token": state.operator_token,
                "user": self._platform.options.user_name,
                "client_id": state.client_id,
                "client_secret": state.client_secret,
                "pg_port": state.pg_port,
            }
            sys.stdout.write(json.dumps(message) + "\n")
            sys.stdout.flush()


def main(hooks: Hooks) -> int:
    """Run the platform until SIGTERM or SIGINT, and return the exit code."""
    output = logging.StreamHandler()
    output.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[output])
    try:
        options = Options()
    except ValidationError as error:
        for problem in error.errors():
            sys.stderr.write(f"LOCAL_{'_'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}\n")
        return _WRONG_SETTINGS
    try:
        return asyncio.run(_run(options, hooks))
    except (ClusterError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


async def _run(options: Options, hooks: Hooks) -> int:
    platform = Platform(options, hooks.observe)
    server = _Server(platform, hooks)

    def stop(_: int, __: FrameType | None) -> None:
        server.should_exit = True

    # uvicorn raises the signal again when it has stopped; with these handlers that does not end the process.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        await platform.open()
        if not server.should_exit:
            await server.serve()
    finally:
        await platform.close()
    return 0 if server.started or server.should_exit else 1
