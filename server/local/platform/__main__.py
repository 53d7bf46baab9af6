"""Owns the process of the local platform: its options, its line of JSON, and its end."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from typing import TYPE_CHECKING

import uvicorn
from pydantic import ValidationError

from server.local.cluster import ClusterError
from server.local.platform.app import App
from server.local.platform.options import Options
from server.local.platform.rest.exchange import Protocol
from server.local.platform.service import Platform

if TYPE_CHECKING:
    import socket
    from types import FrameType

_HOST = "127.0.0.1"
# What is held or hangs does not hold the end up for longer.
_GRACE_SECONDS = 1
_WRONG_SETTINGS = 2


class _Server(uvicorn.Server):
    """Says where it listens, when it does."""

    def __init__(self, platform: Platform) -> None:
        config = uvicorn.Config(
            App(platform),
            host=_HOST,
            port=platform.store.state.http_port,
            http=Protocol,
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
            said = {
                "host": f"http://{_HOST}:{state.http_port}",
                "token": state.operator_token,
                "user": self._platform.options.user_name,
                "client_id": state.client_id,
                "client_secret": state.client_secret,
                "pg_port": state.pg_port,
            }
            sys.stdout.write(json.dumps(said) + "\n")
            sys.stdout.flush()


def main() -> int:
    """Run until SIGTERM or SIGINT; the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        options = Options()
    except ValidationError as error:
        for problem in error.errors():
            sys.stderr.write(f"LOCAL_{'_'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}\n")
        return _WRONG_SETTINGS
    try:
        return asyncio.run(_run(options))
    except (ClusterError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


async def _run(options: Options) -> int:
    platform = Platform(options)
    server = _Server(platform)

    def end(_: int, __: FrameType | None) -> None:
        server.should_exit = True

    # uvicorn hands a signal on to these when it has stopped: an ordered end is no failure.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    try:
        await platform.open()
        if not server.should_exit:
            await server.serve()
    finally:
        await platform.close()
    return 0 if server.started or server.should_exit else 1


if __name__ == "__main__":
    sys.exit(main())
