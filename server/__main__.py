"""Owns the start of the process: settings, logs, and uvicorn with what differs from its defaults."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
from typing import TYPE_CHECKING

import uvicorn

from server.app import create_app
from server.commands import COMMANDS, run
from server.logs import configure_logs
from server.settings import SettingsError, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

_SETTINGS_WRONG = 2
# The platform kills 15 s after SIGTERM.
_GRACEFUL_SECONDS = 10
# A thousand changes with notes of a thousand characters are half of this.
_MESSAGE_BYTES = 2 << 20
# Every hop has to hear something within 15 s.
_PING_SECONDS = 12


class _Server(uvicorn.Server):
    """uvicorn, but a signal that asked for a stop is not raised again after it: a clean stop exits with 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.handle_exit)
        yield


def main() -> int:
    """Serve until told to stop, or run a command; the exit code."""
    command = _command()
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return _SETTINGS_WRONG
    if command is not None:
        # Standard output is for what the command gives.
        configure_logs(settings, stream=sys.stderr)
        return run(command, settings)
    configure_logs(settings)
    server = _Server(
        uvicorn.Config(
            create_app(settings),
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http="httptools",
            ws="websockets-sansio",
            ws_max_size=_MESSAGE_BYTES,
            ws_ping_interval=_PING_SECONDS,
            lifespan="on",
            interface="asgi3",
            # The request's own line is the middleware's.
            log_config=None,
            access_log=False,
            # Off until an authentication mode says whom to believe.
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=_GRACEFUL_SECONDS,
        )
    )
    server.run()
    return 0 if server.started else 1


def _command() -> str | None:
    parser = argparse.ArgumentParser(
        "python -m server", description="Serve orders over GraphQL; or, with a command, do that and end."
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    for name, (meaning, _) in COMMANDS.items():
        commands.add_parser(name, help=meaning, description=meaning)
    command: str | None = parser.parse_args().command
    return command


if __name__ == "__main__":
    sys.exit(main())
