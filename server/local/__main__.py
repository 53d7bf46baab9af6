"""`make run`: starts a local Lakebase and the server in front of it, and provisions through the server's mutations."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
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

from server.local.environment import ENDPOINT, HOST, server_settings, write_environment
from server.local.provisioning import Provisioning, ProvisioningError
from server.local.row_counts import row_counts
from server.local.run_log import RunLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

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
# Shorter than the platform's defaults, because a person is waiting.
_DELAYS = {"LOCAL_START_DELAY": "1", "LOCAL_SNAPSHOT_DELAY": "1"}
# SIGINT too: a program that a shell starts in the background inherits it as ignored.
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# When the run began.
_STARTED = time.monotonic()
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
        settings = server_settings(addresses, port)
        if os.environ.get(ENDPOINT, "") not in ("", settings.get(ENDPOINT)):
            _console.print(f"Ignored     {ENDPOINT} of your shell: a local instance is served instead")
        write_environment(directory / "environment", settings)
        with _process("server", directory / "server.pid", settings, log) as server:
            url = f"http://{HOST}:{port}"
            _wait_for(f"{url}/livez", server, log)
            provisioning = Provisioning(f"{url}/api/graphql", _console)
            log.leave_out(provisioning.request_id)
            shown = _Shown(url, scale, addresses, settings, provisioning)

            def served() -> None:
                _wait_for(f"{url}/readyz", server, log)
                shown.orders(log)

            try:
                _provision(provisioning, scale, directory / "scale", served)
                shown.others()
            except ProvisioningError as error:
                raise LocalError(f"{error}\n{log.tail()}") from None
            _console.print("Press Ctrl-C to stop.")
            _watch(server, platform, log)


def _provision(provisioning: Provisioning, scale: float, last_scale: Path, served: Callable[[], None]) -> None:
    """Create what is missing, and sync again unless all tables are new, or the last sync was at this scale.

    The file is missing while a sync runs, or was interrupted. `served` is called when orders of this scale can be read.
    """
    same = last_scale.exists() and last_scale.read_text() == str(scale)
    created = provisioning.provision(lambda created: served() if created or same else None)
    if not (created or same):
        last_scale.unlink(missing_ok=True)
        provisioning.refresh(served)
    last_scale.write_text(str(scale))


class _Shown:
    """What a person is told of a run: how many rows are served where, and since when."""

    def __init__(
        self,
        url: str,
        scale: float,
        addresses: Mapping[str, Any],
        settings: Mapping[str, str],
        provisioning: Provisioning,
    ) -> None:
        self._url = url
        self._scale = scale
        self._addresses = addresses
        self._settings = settings
        self._provisioning = provisioning
        self._host = ""
        self._served_after = 0.0

    def orders(self, log: RunLog) -> None:
        """Tell that orders are served."""
        self._served_after = time.monotonic() - _STARTED
        orders = f"{self._provisioning.orders():,} (TPC-H at scale {self._scale:g}; SCALE=1 syncs 1,500,000)"
        version, self._host = self._provisioning.instance()
        _console.print(f"Orders      {orders}")
        _console.print(f"Lakebase    {self._addresses['host']}, PostgreSQL {version} at {self._host}")
        _console.print(f"GraphiQL    {self._url}/api/graphql")
        _console.print(f"Log         {log.path}")

    def others(self) -> None:
        """Tell that the other tables are served, too."""
        after = time.monotonic() - _STARTED
        counts = row_counts(self._addresses, self._settings, self._host)
        for name, count in counts.items():
            _console.print(f"{name.replace('_', ' ').capitalize():<11} {count:,}")
        everything = f", all tables after {after:.0f} s" if counts else ""
        _console.print(f"Served      orders after {self._served_after:.0f} s{everything}")


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
            probe.bind((HOST, port))
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
