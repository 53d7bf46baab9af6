"""Owns `make run`: an embedded PostgreSQL, real orders in it, the server in front, all stopped together."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from server.local.cluster import Cluster, ClusterError
from server.local.tpch import ORDERS_AT_SCALE_1, TABLE, LoadError, load_orders

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOST = "127.0.0.1"
_POLL_SECONDS = 0.05
_START_SECONDS = 30
_STOP_SECONDS = 15
_MAX_SCALE = 1000
_WRONG_SETTINGS = 2
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
            with Cluster(directory / "postgres") as cluster:
                _load(cluster, scale)
                return _serve(cluster, directory, port)
    except KeyboardInterrupt:
        return 0
    except (LocalError, ClusterError, LoadError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


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
    """Hold the directory, and end the server that a killed run may have left behind in it.

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


def _load(cluster: Cluster, scale: float) -> None:
    progress = Progress(
        TextColumn("Loading TPC-H orders"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=_console,
        transient=True,
    )
    with progress:
        task = progress.add_task("orders", total=round(ORDERS_AT_SCALE_1 * scale), visible=False)
        orders = load_orders(cluster, scale, lambda rows: progress.update(task, completed=rows, visible=True))
    _console.print(f"Orders      {orders:,} (TPC-H at scale {scale:g}; SCALE=1 loads 1,500,000)")


def _serve(cluster: Cluster, directory: Path, port: int) -> int:
    environment = {
        "LOG_FORMAT": "console" if sys.stdout.isatty() else "json",
        **os.environ,
        "DATABASE_URL": cluster.url,
        "ORDERS_TABLE": TABLE,
        "HOST": _HOST,
        "PORT": str(port),
    }
    environment.pop("DATABRICKS_APP_PORT", None)
    # In a session of its own, so that Ctrl-C in the terminal reaches us alone and things stop in their order.
    server = subprocess.Popen([sys.executable, "-m", "server"], env=environment, start_new_session=True)
    try:
        (directory / "server.pid").write_text(f"{server.pid} {psutil.Process(server.pid).create_time()}")
        _wait_until_ready(server, port)
        _console.print(f"PostgreSQL  {cluster.version}, data in {cluster.home}")
        _console.print(f"GraphiQL    http://{_HOST}:{port}/api/graphql")
        _console.print("Press Ctrl-C to stop.")
        return _watch(server, cluster)
    finally:
        server.terminate()
        try:
            server.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        (directory / "server.pid").unlink(missing_ok=True)
        _console.print("Stopped.")


def _wait_until_ready(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise LocalError("The server stopped at once; what it said is above.")
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(f"http://{_HOST}:{port}/readyz", timeout=2).close()
            return
        time.sleep(_POLL_SECONDS)  # between two looks; the server has no way to tell us
    raise LocalError("The server did not become ready; its log is above.")


def _watch(server: subprocess.Popen[bytes], cluster: Cluster) -> int:
    """Wait for the server's end, or PostgreSQL's, which ends the server too."""
    postgres = psutil.Process(cluster.process_id())
    while server.poll() is None:
        if not postgres.is_running() or postgres.status() == psutil.STATUS_ZOMBIE:
            raise LocalError("PostgreSQL has stopped. `make run` starts it again and recovers its data.")
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(1)
    raise LocalError(f"The server has stopped with exit code {server.returncode}; its log is above.")


if __name__ == "__main__":
    sys.exit(main())
