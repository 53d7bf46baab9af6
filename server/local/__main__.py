"""`make run`: starts a local Lakebase and the server in front of it, and provisions through the server's mutations."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import psutil
from rich.console import Console

from server.local.provisioning import Provisioning, ProvisioningError
from server.local.run_log import RunLog

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_HOST = "127.0.0.1"
# Between two checks whether the server answers.
_POLL_SECONDS = 0.05
# Between two looks at the log for new requests.
_FOLLOW_SECONDS = 0.1
# For the server to start answering.
_START_SECONDS = 30
# For a process to stop before it is killed. Stopping PostgreSQL takes longest.
_STOP_SECONDS = 30
_MAX_SCALE = 1000
_WRONG_SETTINGS = 2
# Either names the instance, and so chooses the API that provisions it.
_ENDPOINT, _INSTANCE = "LAKEBASE_ENDPOINT", "LAKEBASE_INSTANCE_NAME"
_PROJECT_ENDPOINT = "projects/orders-pg/branches/production/endpoints/primary"
_NAMES = {
    "LAKEBASE_DATABASE_NAME": "orders",
    "LAKEBASE_CATALOG_NAME": "orders_catalog",
    "SYNCED_TABLE_STORAGE_CATALOG": "main",
    "SYNCED_TABLE_STORAGE_SCHEMA": "lakebase_meta",
}
# Settings that the user's shell may hold for another database or deployment. The server does not get them.
_DROPPED = (
    "APP_ENV",
    "AUTH_MODE",
    "DATABASE_READ_URL",
    "DATABASE_URL",
    "DATABRICKS_APP_NAME",
    "DATABRICKS_APP_PORT",
    "DATABRICKS_CLIENT_ID",
    "DATABRICKS_CLIENT_SECRET",
    "LAKEBASE_HOST",
    "LAKEBASE_READ_HOST",
    "PGDATABASE",
    "PGHOST",
    "PGPASSWORD",
    "PGPORT",
    "PGSSLMODE",
    "PGUSER",
)
_PLATFORM = ("DATABRICKS_HOST", "DATABRICKS_TOKEN", "LAKEBASE_PORT")
# Shorter than the platform's defaults, because a person is waiting.
_DELAYS = {"LOCAL_START_DELAY": "1", "LOCAL_SNAPSHOT_DELAY": "1"}
# SIGINT too: a program that a shell starts in the background inherits it as ignored.
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_console = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)


class LocalError(Exception):
    """The run failed. The message says what to do."""


def main() -> int:
    """Run until Ctrl-C or SIGTERM, and return the exit code."""
    try:
        directory = Path(os.environ.get("LOCAL_DIR", ".local")).absolute()
        scale = _scale(os.environ.get("SCALE", "0.1"))
        port = _port(os.environ.get("PORT", "8000"))
    except LocalError as error:
        sys.stderr.write(f"{error}\n")
        return _WRONG_SETTINGS
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.default_int_handler)
    try:
        with _only_one(directory):
            _check_free(port)
            _run(directory, scale, port, RunLog(directory / "server.log"))
    except KeyboardInterrupt:
        # Below the terminal's own ^C.
        _console.print("\nStopped." if _console.is_terminal else "Stopped.")
        return 0
    except LocalError as error:
        sys.stderr.write(f"{error}\n")
    return 1


def _run(directory: Path, scale: float, port: int, log: RunLog) -> None:
    """Start everything, and show the requests until something stops.

    Raises:
        LocalError: something failed or stopped.
    """
    platform_settings = {
        **_DELAYS,
        **os.environ,
        "LOCAL_DIRECTORY": str(directory / "platform"),
        "LOCAL_SCALE": str(scale),
    }
    with _process("server.local.platform", directory / "platform.pid", platform_settings, log, pipe=True) as platform:
        addresses = _addresses(platform, log)
        settings = _server_settings(addresses, port)
        if os.environ.get(_ENDPOINT, "") not in ("", settings.get(_ENDPOINT)):
            _console.print(f"Ignored     {_ENDPOINT} of your shell: a local instance is served instead")
        _write_environment(directory / "environment", settings)
        with _process("server", directory / "server.pid", settings, log) as server:
            url = f"http://{_HOST}:{port}"
            _wait_for(f"{url}/livez", server, log)
            provisioning = Provisioning(f"{url}/api/graphql", _console)
            log.leave_out(provisioning.request_id)
            try:
                created = provisioning.provision()
                _sync_if_rescaled(scale, directory / "scale", provisioning, created=created)
                _wait_for(f"{url}/readyz", server, log)
                _console.print(
                    f"Orders      {provisioning.orders():,} (TPC-H at scale {scale:g}; SCALE=1 syncs 1,500,000)"
                )
                _console.print(f"Lakebase    {addresses['host']}, PostgreSQL {provisioning.address()}")
            except ProvisioningError as error:
                raise LocalError(f"{error}\n{log.tail()}") from None
            _console.print(f"GraphiQL    {url}/api/graphql")
            _console.print(f"Log         {log.path}")
            _console.print("Press Ctrl-C to stop.")
            _watch(server, platform, log)


def _server_settings(addresses: Mapping[str, Any], port: int) -> dict[str, str]:
    settings = {
        **_NAMES,
        **os.environ,
        # As in the cloud: the platform's address, our token and the names. The server asks the platform for the rest.
        "DATABRICKS_HOST": str(addresses["host"]),
        "DATABRICKS_TOKEN": str(addresses["token"]),
        "LAKEBASE_PORT": str(addresses["pg_port"]),
        "HOST": _HOST,
        "PORT": str(port),
        # `RunLog` reads it.
        "LOG_FORMAT": "json",
    }
    # An endpoint would take precedence over the name, and one of the user's is of another deployment.
    unset = (*_DROPPED, _ENDPOINT if settings.get(_INSTANCE) else _INSTANCE)
    settings = {name: value for name, value in settings.items() if name not in unset}
    return settings if _INSTANCE in settings else {**settings, _ENDPOINT: _PROJECT_ENDPOINT}


def _write_environment(path: Path, settings: Mapping[str, str]) -> None:
    """Write the server's settings for its other commands. Only the user can read the file: it holds the token.

    A shell that sources it loses the settings that lead to another database.
    """
    given = [name for name in (_ENDPOINT, _INSTANCE, *_NAMES, *_PLATFORM) if name in settings]
    unset = [name for name in (_ENDPOINT, _INSTANCE, *_DROPPED) if name not in settings]
    path.touch(mode=0o600)
    lines = [f"unset {' '.join(unset)}", *(f"export {name}={shlex.quote(settings[name])}" for name in given)]
    path.write_text("\n".join(lines) + "\n")


def _sync_if_rescaled(scale: float, last_scale: Path, provisioning: Provisioning, *, created: bool) -> None:
    """Sync again unless the last sync was at this scale. The file is missing while a sync runs, or was interrupted."""
    if not created and not (last_scale.exists() and last_scale.read_text() == str(scale)):
        last_scale.unlink(missing_ok=True)
        provisioning.refresh()
    last_scale.write_text(str(scale))


def _scale(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (scale := float(text)) <= _MAX_SCALE:
            return scale
    raise LocalError(f"SCALE: {text!r} is not a number above 0 and up to {_MAX_SCALE} (0.1 is 150,000 orders)")


def _port(text: str) -> int:
    if text.isdecimal() and 0 < int(text) < 1 << 16:
        return int(text)
    raise LocalError(f"PORT: {text!r} is not a port number")


@contextlib.contextmanager
def _only_one(directory: Path) -> Iterator[None]:
    """Lock the directory, and stop the processes that a killed run has left behind.

    Raises:
        LocalError: another run has locked it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LocalError(f"Another `make run` uses {directory}. Stop it, or set LOCAL_DIR.") from None
        _stop_left_behind(directory / "server.pid")
        _stop_left_behind(directory / "platform.pid")
        yield


def _stop_left_behind(pid_file: Path) -> None:
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        process_id, created = pid_file.read_text().split()
        process = psutil.Process(int(process_id))
        # Process ids are reused. The time of creation tells whether it is the same process.
        if process.create_time() == float(created):
            process.terminate()
            process.wait(_STOP_SECONDS)
    pid_file.unlink(missing_ok=True)


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        # The server binds the port in the same way, so a port that was in use a moment ago counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            raise LocalError(f"PORT: {port} is taken. Set PORT to another.") from None


@contextlib.contextmanager
def _process(
    module: str, pid_file: Path, settings: Mapping[str, str], log: RunLog, *, pipe: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a module in a process until the block ends. After a kill the next run finds the process by its pid file.

    What it writes goes to the log; with `pipe` its standard output comes to us.
    """
    with log.path.open("ab") as output:
        # In a session of its own: Ctrl-C in the terminal reaches only us, and we stop the processes in order.
        process = subprocess.Popen(  # noqa: S603 # our own modules
            [sys.executable, "-m", module],
            env=dict(settings),
            stdout=subprocess.PIPE if pipe else output,
            stderr=output,
            start_new_session=True,
        )
    try:
        pid_file.write_text(f"{process.pid} {psutil.Process(process.pid).create_time()}")
        yield process
    finally:
        # A second Ctrl-C would leave processes behind, and they do stop.
        for number in _STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        pid_file.unlink(missing_ok=True)


def _addresses(platform: subprocess.Popen[bytes], log: RunLog) -> Mapping[str, Any]:
    """The addresses and the token that the platform prints when it listens."""
    output: IO[bytes] | None = platform.stdout
    line = output.readline() if output else b""
    if not line:
        platform.wait(_STOP_SECONDS)
        raise LocalError(f"The local Lakebase stopped at once.\n{log.tail()}")
    addresses: Mapping[str, Any] = json.loads(line)
    return addresses


def _wait_for(url: str, server: subprocess.Popen[bytes], log: RunLog) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise LocalError(f"The server stopped at once.\n{log.tail()}")
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=2).close()  # noqa: S310 # our own address
            return
        time.sleep(_POLL_SECONDS)  # the server does not report to us
    raise LocalError(f"The server did not answer {url} within {_START_SECONDS} s.\n{log.tail()}")


def _watch(server: subprocess.Popen[bytes], platform: subprocess.Popen[bytes], log: RunLog) -> None:
    """Show a line for each request, until one of the processes stops.

    Raises:
        LocalError: always, since neither should.
    """
    while server.poll() is None:
        if platform.poll() is not None:
            raise LocalError(f"The local Lakebase has stopped. `make run` starts it again with its data.\n{log.tail()}")
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(_FOLLOW_SECONDS)
        for line in log.requests():
            _console.print(line)
    raise LocalError(f"The server has stopped with exit code {server.returncode}.\n{log.tail()}")


if __name__ == "__main__":
    sys.exit(main())
