"""Forks Python modules from a process with preloaded libraries: a server starts in 0.2 s instead of 1 s.

A fork runs the module from its first line, like `python -m`. Only third-party libraries and `schema` are preloaded.
tests/blackbox/process/test_start.py, tests/local/test_run.py and tests/test_container.py start servers as a shell does.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROOT: Final = Path(__file__).parents[2]
# Not prometheus_client: on import it looks for the directory that the server creates before.
_LIBRARIES: Final = (
    "aiodataloader",
    "alembic.command",
    "async_lru",
    "asyncpg",
    "databricks.sdk",
    "httptools",
    "isal",
    "jwt",
    "orjson",
    "pydantic_settings",
    "schema",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.ext.asyncio",
    "sse_starlette",
    "starlette.applications",
    "starlette.middleware.cors",
    "starlette.staticfiles",
    "strawberry.asgi",
    "structlog",
    "uvicorn",
    "uvloop",
    "websockets",
)
# Between two checks whether a process has ended.
_LOOK_SECONDS: Final = 0.01


class ForkServer:
    """The client of the forking process. Requests and replies are lines of JSON on its standard input and output."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.forkserver"], cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._lock = threading.Lock()
        atexit.register(self.close)

    def fork(
        self,
        module: str,
        *arguments: str,
        env: Mapping[str, str],
        stdout: str,
        stderr: str | None = None,
        stdin: str = os.devnull,
    ) -> Forked:
        """Run a module in a new process.

        Args:
            module: the module's name.
            arguments: the command-line arguments.
            env: the whole environment.
            stdout: the path of the file for standard output.
            stderr: the path of the file for standard error; by default that of standard output.
            stdin: the path of the file to read standard input from.
        """
        request = {
            "command": [module, *arguments],
            "env": dict(env),
            "stdin": stdin,
            "stdout": stdout,
            "stderr": stderr,
        }
        return Forked(self, int(self.ask(fork=request)))

    def run(
        self, module: str, *arguments: str, env: Mapping[str, str], given: str = "", seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a module to its end, with this text as its standard input.

        Raises:
            subprocess.TimeoutExpired: it has not ended after this many seconds.
        """
        with tempfile.TemporaryDirectory() as directory:
            stdin, stdout, stderr = (Path(directory) / name for name in ("stdin", "stdout", "stderr"))
            stdin.write_text(given, encoding="utf-8")
            stdout.touch()
            stderr.touch()
            process = self.fork(module, *arguments, env=env, stdin=str(stdin), stdout=str(stdout), stderr=str(stderr))
            code = process.wait(seconds)
            output, errors = stdout.read_text(encoding="utf-8"), stderr.read_text(encoding="utf-8")
        return subprocess.CompletedProcess([module, *arguments], code, output, errors)

    def ask(self, **request: object) -> Any:
        """Send a request and return the reply."""
        assert self._process.stdin
        assert self._process.stdout
        with self._lock:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """Stop the forking process."""
        with contextlib.suppress(OSError):
            self._process.communicate()


class Forked:
    """A forked process, with the part of `subprocess.Popen`'s interface that the tests use."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self._server = server
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while the process runs."""
        if self.returncode is None:
            self.returncode = self._server.ask(poll=self.pid)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the process to end, and return its exit code.

        Raises:
            subprocess.TimeoutExpired: it has not ended in time.
        """
        deadline = time.monotonic() + timeout if timeout is not None else float("inf")
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            time.sleep(_LOOK_SECONDS)  # between two checks
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


@functools.cache
def fork_server() -> ForkServer:
    """This process's fork server, started on the first call."""
    return ForkServer()


def _main() -> None:
    # Ctrl-C is for pytest, which closes this process's standard input when it ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in _LIBRARIES:
        importlib.import_module(name)
    # A garbage collection in a fork would copy all shared memory.
    gc.freeze()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            reply = os.waitstatus_to_exitcode(status) if pid else None
        elif not (reply := os.fork()):
            _become(**request["fork"])
        sys.stdout.buffer.write(json.dumps(reply).encode() + b"\n")
        sys.stdout.buffer.flush()


def _become(command: list[str], env: dict[str, str], stdin: str, stdout: str, stderr: str | None) -> NoReturn:
    code: Any = 0
    try:
        _redirect(stdin, os.O_RDONLY, 0)
        _redirect(stdout, os.O_WRONLY, 1)
        if stderr is None:
            os.dup2(1, 2)
        else:
            _redirect(stderr, os.O_WRONLY, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.clear()
        os.environ.update(env)
        # The inherited sys.stdin reads requests.
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 # it stays open, and needs no Path
        sys.argv = list(command)
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # noqa: BLE001 # like Python itself
        traceback.print_exc()
        code = 1
    for output in (sys.stdout, sys.stderr):
        # The module may have closed it.
        with contextlib.suppress(ValueError):
            output.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def _redirect(path: str, flags: int, number: int) -> None:
    opened = os.open(path, flags)
    os.dup2(opened, number)
    os.close(opened)


if __name__ == "__main__":
    _main()
