"""Owns `make run`: a local Lakebase, the server in front of it, and provisioning by the server's own mutations."""

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

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_HOST = "127.0.0.1"
_POLL_SECONDS = 0.05
_START_SECONDS = 30
_STOP_SECONDS = 30
_MAX_SCALE = 1000
_WRONG_SETTINGS = 2
_NAMES = {
    "LAKEBASE_INSTANCE_NAME": "orders-pg",
    "LAKEBASE_DATABASE_NAME": "orders",
    "LAKEBASE_CATALOG_NAME": "orders_catalog",
    "SYNCED_TABLE_STORAGE_CATALOG": "main",
    "SYNCED_TABLE_STORAGE_SCHEMA": "lakebase_meta",
}
# What a shell may have set for another database, or another way to be.
_ELSEWHERE = (
    "APP_ENV",
    "AUTH_MODE",
    "DATABASE_READ_URL",
    "DATABASE_URL",
    "DATABRICKS_APP_NAME",
    "DATABRICKS_APP_PORT",
    "DATABRICKS_CLIENT_ID",
    "DATABRICKS_CLIENT_SECRET",
    "LAKEBASE_ENDPOINT",
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
# A person waits for them; the platform's own take minutes.
_DELAYS = {"LOCAL_START_DELAY": "1", "LOCAL_SNAPSHOT_DELAY": "1"}
_console = Console(highlight=False, soft_wrap=True)


class LocalError(Exception):
    """It cannot be run; the message says what to do."""


def main() -> int:
    """Run until Ctrl-C or SIGTERM; the exit code."""
    try:
        directory = Path(os.environ.get("LOCAL_DIR", ".local")).absolute()
        scale = _scale(os.environ.get("SCALE", "0.1"))
        port = _port(os.environ.get("PORT", "8000"))
    except LocalError as error:
        sys.stderr.write(f"{error}\n")
        return _WRONG_SETTINGS
    # SIGINT too: a shell that starts it in the background has it ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        with _only_one(directory):
            _check_free(port)
            return _run(directory, scale, port)
    except KeyboardInterrupt:
        return 0
    except (LocalError, ProvisioningError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _run(directory: Path, scale: float, port: int) -> int:
    platform_settings = {
        **_DELAYS,
        **os.environ,
        "LOCAL_DIRECTORY": str(directory / "platform"),
        "LOCAL_SCALE": str(scale),
    }
    with (
        _process("server.local.platform", directory / "platform.pid", platform_settings, pipe=True) as platform,
        _said(platform) as said,
    ):
        settings = _server_settings(said, port)
        _write_environment(directory / "environment", settings)
        with _process("server", directory / "server.pid", settings) as server:
            url = f"http://{_HOST}:{port}"
            _wait_for(f"{url}/livez", server)
            provisioning = Provisioning(f"{url}/api/graphql", _console)
            made = provisioning.provision()
            _sync_at(scale, directory / "scale", provisioning, made=made)
            _wait_for(f"{url}/readyz", server)
            _console.print(f"Orders      {provisioning.orders():,} (TPC-H at scale {scale:g}; SCALE=1 syncs 1,500,000)")
            _console.print(f"Lakebase    {said['host']}, PostgreSQL {provisioning.address()}, data in {directory}")
            _console.print(f"GraphiQL    {url}/api/graphql")
            _console.print("Press Ctrl-C to stop.")
            _watch(server, platform)
        return 0


def _server_settings(said: Mapping[str, Any], port: int) -> dict[str, str]:
    settings = {
        "LOG_FORMAT": "console" if sys.stdout.isatty() else "json",
        **_NAMES,
        **os.environ,
        # As in the cloud: where the platform is, who we are, and the names; the rest is asked.
        "DATABRICKS_HOST": str(said["host"]),
        "DATABRICKS_TOKEN": str(said["token"]),
        "LAKEBASE_PORT": str(said["pg_port"]),
        "HOST": _HOST,
        "PORT": str(port),
    }
    for name in _ELSEWHERE:
        settings.pop(name, None)
    return settings


def _write_environment(path: Path, settings: Mapping[str, str]) -> None:
    """Leave the server's settings for its other commands, readable by nobody else: the token is among them."""
    path.touch(mode=0o600)
    path.write_text("".join(f"export {name}={shlex.quote(settings[name])}\n" for name in (*_NAMES, *_PLATFORM)))


def _sync_at(scale: float, noted: Path, provisioning: Provisioning, *, made: bool) -> None:
    """Sync again where the source is of another size than when it was synced last, or may be."""
    if not made and not (noted.exists() and noted.read_text() == str(scale)):
        noted.unlink(missing_ok=True)
        provisioning.refresh()
    noted.write_text(str(scale))


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
    """Hold the directory, and end what a killed run may have left behind in it.

    Raises:
        LocalError: another run holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LocalError(f"Another `make run` uses {directory}. Stop it, or set LOCAL_DIR.") from None
        _end_left_behind(directory / "server.pid")
        _end_left_behind(directory / "platform.pid")
        yield


def _end_left_behind(noted: Path) -> None:
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        identity, created = noted.read_text().split()
        process = psutil.Process(int(identity))
        # A process id comes round again; with the time of its birth it does not.
        if process.create_time() == float(created):
            process.terminate()
            process.wait(_STOP_SECONDS)
    noted.unlink(missing_ok=True)


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        # As the server binds it: a port that was in use a moment ago is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            raise LocalError(f"PORT: {port} is taken. Set PORT to another.") from None


@contextlib.contextmanager
def _process(
    module: str, noted: Path, settings: Mapping[str, str], *, pipe: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """A module of ours as a process, ended with the block. Its id is noted for a run after a killed one."""
    # In a session of its own, so that Ctrl-C in the terminal reaches us alone and things stop in their order.
    process = subprocess.Popen(  # noqa: S603 # our own modules
        [sys.executable, "-m", module],
        env=dict(settings),
        stdout=subprocess.PIPE if pipe else None,
        start_new_session=True,
    )
    try:
        noted.write_text(f"{process.pid} {psutil.Process(process.pid).create_time()}")
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        noted.unlink(missing_ok=True)


@contextlib.contextmanager
def _said(platform: subprocess.Popen[bytes]) -> Iterator[Mapping[str, Any]]:
    """What the platform says when it listens: where, and whose token."""
    output: IO[bytes] | None = platform.stdout
    line = output.readline() if output else b""
    if not line:
        raise LocalError("The local Lakebase stopped at once; what it said is above.")
    yield json.loads(line)


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise LocalError("The server stopped at once; what it said is above.")
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=2).close()  # noqa: S310 # our own address
            return
        time.sleep(_POLL_SECONDS)  # between two looks; the server has no way to tell us
    raise LocalError(f"The server did not answer {url} in time; its log is above.")


def _watch(server: subprocess.Popen[bytes], platform: subprocess.Popen[bytes]) -> None:
    """Wait for the end of either.

    Raises:
        LocalError: one has stopped by itself.
    """
    while server.poll() is None:
        if platform.poll() is not None:
            raise LocalError("The local Lakebase has stopped. `make run` starts it again with all that it had.")
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(1)
    raise LocalError(f"The server has stopped with exit code {server.returncode}; its log is above.")


if __name__ == "__main__":
    sys.exit(main())
