"""The entry point: `python -m server` serves, in one process or several. With a command, it runs the command."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from typing import TYPE_CHECKING, NoReturn

import structlog

from server.graphql.documents.manifest import check_manifest
from server.observability import multiprocess
from server.observability.log_setup import configure_logs
from server.observability.log_stream import STANDARD_OUTPUT, LogStream
from server.process.shutdown import NOT_STARTED, STOP_SIGNALS, Stop, leave
from server.process.sockets import listen
from server.process.supervisor import Supervisor
from server.settings import SettingsError, load_settings

if TYPE_CHECKING:
    from server.settings import Settings

_SETTINGS_WRONG = 2
_log = structlog.get_logger(__name__)


def main() -> int:
    """Serve until stopped, or run a command; return the exit code."""
    if len(sys.argv) > 1:
        return _command()
    try:
        settings = load_settings()
        check_manifest(settings)
    except SettingsError as error:
        return _refused(error)
    configure_logs(settings, stream=LogStream(STANDARD_OUTPUT))
    # Python's own hook would print the exception with its values.
    sys.excepthook = lambda kind, error, trace: _log.critical("process died", exc_info=(kind, error, trace))
    return _serve(settings)


def _serve(settings: Settings) -> NoReturn:
    # A single process handles signals itself, as a worker does. With several, the parent does.
    stop = Stop(*STOP_SIGNALS, again_cuts_short=True) if settings.workers == 1 else None
    multiprocess.make()
    try:
        sockets = listen(settings.host, settings.port)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        _log.error("cannot listen", host=settings.host, port=settings.port, reason=reason)
        leave(NOT_STARTED)
    if stop is None:
        if settings.shared_secret is None:
            # A client may reach any worker, so all of them sign consistency tokens with one secret.
            os.environ["CONSISTENCY_SECRET"] = secrets.token_hex(32)
        leave(Supervisor(settings.workers, sockets).run())
    from server.process.uvicorn_server import serve  # noqa: PLC0415 # importing takes a second, in which a signal must not be lost

    serve(settings, sockets, stop)


def _command() -> int:
    from server.process.commands import COMMANDS, run  # noqa: PLC0415 # serving needs none of these

    parser = argparse.ArgumentParser(
        "python -m server", description="Serve orders over GraphQL, or run a command and exit."
    )
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    for name, command in COMMANDS.items():
        command.add_arguments(commands.add_parser(name, help=command.meaning, description=command.meaning))
    given = parser.parse_args()
    try:
        settings = load_settings()
    except SettingsError as error:
        return _refused(error)
    # Standard output is for the command's result.
    configure_logs(settings, stream=sys.stderr)
    return run(given, settings)


def _refused(error: SettingsError) -> int:
    sys.stderr.write(f"{error}\n")
    return _SETTINGS_WRONG


if __name__ == "__main__":
    sys.exit(main())
