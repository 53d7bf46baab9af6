"""Owns the running of the real server process: started with settings, waited for, stopped at the end."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parent.parent
# Nothing here speaks TLS, and a context of httpx's own, with all authorities in it, takes 50 ms of every request.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_START_SECONDS = 30
_STOP_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. `log()` is what it has written so far."""

    url: str
    process: subprocess.Popen[bytes]
    log: Callable[[], str]

    @property
    def graphql(self) -> str:
        """Its GraphQL endpoint."""
        return f"{self.url}/api/graphql"

    def kill(self) -> None:
        """End it as `kill -9` does, and wait until it is gone: its port is free then."""
        self.process.kill()
        self.process.wait(_STOP_SECONDS)


def environment(**settings: str) -> dict[str, str]:
    """The environment of a child process: what a shell has, and these settings in place of any others."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", **settings}


@contextlib.contextmanager
def running_server(
    database_url: str | None, *, ready: bool = True, port: int | None = None, module: str = "server", **settings: str
) -> Iterator[Server]:
    """The real server on the port or a free one, ready inside the block; with `ready=False` merely alive.

    `module` is what is run in its place: the same with something added.
    """
    port = port or free_port()
    with tempfile.NamedTemporaryFile("wb", suffix=".log") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            env=environment(PORT=str(port), **({"DATABASE_URL": database_url} if database_url else {}), **settings),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        server = Server(f"http://127.0.0.1:{port}", process, lambda: Path(log.name).read_text())
        try:
            wait_for(
                lambda: answers(f"{server.url}/{'readyz' if ready else 'livez'}"),
                what=lambda: f"the server to be {'ready' if ready else 'alive'}:\n{server.log()}",
                given_up=lambda: process.poll() is not None,
            )
            yield server
        finally:
            process.terminate()
            process.wait(_STOP_SECONDS)


def answers(url: str) -> bool:
    """Whether a GET is answered with a 200."""
    try:
        return httpx.get(url, timeout=2, verify=NO_TLS).status_code == 200
    except httpx.TransportError:
        return False


def wait_for(
    condition: Callable[[], bool],
    *,
    what: Callable[[], str],
    given_up: Callable[[], bool] = lambda: False,
    seconds: float = _START_SECONDS,
) -> None:
    """Return as soon as the condition holds.

    Raises:
        TimeoutError: it does not within the seconds, or waiting has become pointless.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline or given_up():
            raise TimeoutError(f"waited for {what()}")
        time.sleep(0.02)  # between two looks at the condition


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
