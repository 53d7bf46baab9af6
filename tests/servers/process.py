"""Runs the real server process: started with settings, waited for, stopped at the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING

import httpx

from tests.servers.forkserver import Forked, fork_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

ROOT = Path(__file__).parents[2]
# No test speaks TLS. Without this, httpx would load all certificate authorities, which takes 50 ms for each request.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
# A test that waits for longer has failed. Far more than anything takes on a slow and busy machine.
PATIENCE_SECONDS = 120.0
# On a busy machine anything may take long, and a test should fail only for what it is about. So the server of a test has
# longer timeouts than the test, except for those that the test sets itself. These are settings ...
PATIENT = {
    "AGGREGATE_STATEMENT_TIMEOUT": "600",
    "LOCK_TIMEOUT": "600",
    "REQUEST_TIMEOUT": "600",
    "SLOW_STATEMENT": "600",
    "STATEMENT_TIMEOUT": "600",
    "WAKE_TIMEOUT": "600",
}
# ... and these are constants, in seconds.
PATIENT_CONSTANTS: Mapping[str, float] = MappingProxyType(
    {
        "server.db.engine.CONNECT_SECONDS": 600,
        "server.db.engine._AGGREGATE_WAIT_SECONDS": 600,
        "server.db.engine._PAGE_WAIT_SECONDS": 600,
        "server.db.engine._WRITE_WAIT_SECONDS": 600,
        "server.changes.feed._LISTEN_SECONDS": 600,
        "schema.turns._LONGEST_SECONDS": 600,
        # Several servers may create their tables at once.
        "server.db.migrate._PATIENCE_SECONDS": 600,
        "server.lakebase.plans.drafts.deletions._PLAN_SECONDS": 600,
        "server.lakebase.platform.sdk_client._ATTEMPT_SECONDS": 600,
        "server.lakebase.platform.sdk_client._RETRY_SECONDS": 60,
        "server.traffic.admission.WAIT_SECONDS": 600,
        # A caller pays for the operation's price alone, however long it takes.
        "server.traffic.rate_limit._FREE_SECONDS": 600,
        "server.wire.connections.INIT_SECONDS": 600,
        "server.wire.sending.SEND_SECONDS": 600,
        "server.wire.connections._BODY_SECONDS": 600,
        "server.wire.connections._HANDSHAKE_SECONDS": 600,
        "server.wire.connections._HEADERS_SECONDS": 600,
        "server.wire.websocket_frames._MESSAGE_SECONDS": 600,
        "server.wire.connections._RESPONSE_SECONDS": 600,
    }
)


# The interpreter reads these before it runs any code, so a fork is too late for them.
_FOR_PYTHON_ITSELF = frozenset({"LD_PRELOAD", "PYTHONPATH"})


@dataclass(frozen=True, slots=True)
class Server:
    """A running server. `log()` is what it has written so far."""

    url: str
    process: Forked | subprocess.Popen[bytes]
    log: Callable[[], str]

    @property
    def graphql(self) -> str:
        """Its GraphQL endpoint."""
        return f"{self.url}/api/graphql"

    def kill(self) -> None:
        """End it as `kill -9` does, and wait until it is gone. Its port is free then."""
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)


def environment(**settings: str) -> dict[str, str]:
    """The environment of a child process: the shell's variables, with these settings instead of any others."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", **settings}


@contextlib.contextmanager
def running_server(
    database_url: str | None,
    *,
    ready: bool = True,
    patient: bool = True,
    port: int | None = None,
    module: str = "server",
    altered: Mapping[str, float] = MappingProxyType({}),
    root: Path = ROOT,
    **settings: str,
) -> Iterator[Server]:
    """The real server on the port or a free one, ready inside the block.

    Args:
        database_url: the database to serve, if the settings do not name it.
        ready: False to wait only until it is alive.
        patient: False for the server as it is shipped: with its own default timeouts in place of those of `PATIENT` and
            `PATIENT_CONSTANTS`, and started as a shell starts it.
        port: to listen on; by default a free one.
        module: the module to run instead of the server: the server with something added.
        altered: new values of the server's constants, as in tests/servers/altered.py.
        root: the directory of the code to run. That of another release needs `patient=False`: it has other constants.
        settings: by the names of their environment variables.
    """
    port = port or free_port()
    given = {**(PATIENT if patient else {}), **({"DATABASE_URL": database_url} if database_url else {}), **settings}
    if constants := {**(PATIENT_CONSTANTS if patient else {}), **altered}:
        given["ALTERED"], module = json.dumps(constants), "tests.servers.altered" if module == "server" else module
    with tempfile.NamedTemporaryFile("wb", suffix=".log") as log:
        process = started(module, environment(PORT=str(port), **given), stdout=log, forked=patient, root=root)
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
            process.wait(PATIENCE_SECONDS)


def started(
    module: str,
    env: Mapping[str, str],
    *,
    stdout: IO[bytes],
    stderr: IO[bytes] | None = None,
    forked: bool = True,
    root: Path = ROOT,
) -> Forked | subprocess.Popen[bytes]:
    """A process that runs a module with this environment. Without `stderr`, standard error goes to `stdout`."""
    if forked and _FOR_PYTHON_ITSELF.isdisjoint(env):
        return fork_server().fork(module, env=env, stdout=stdout.name, stderr=stderr.name if stderr else None)
    command = [sys.executable, "-m", module]
    return subprocess.Popen(command, cwd=root, env=env, stdout=stdout, stderr=stderr or subprocess.STDOUT)


def answers(url: str) -> bool:
    """Whether a GET is answered with a 200."""
    try:
        return httpx.get(url, verify=NO_TLS).status_code == 200
    except httpx.TransportError:
        return False


def wait_for(
    condition: Callable[[], bool],
    *,
    what: Callable[[], str],
    given_up: Callable[[], bool] = lambda: False,
    seconds: float = PATIENCE_SECONDS,
) -> None:
    """Return as soon as the condition holds.

    Raises:
        TimeoutError: it timed out, or waiting has become pointless.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if given_up():
            raise TimeoutError(f"in vain: {what()}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"timed out after {seconds:g} s, waiting for {what()}")
        time.sleep(0.02)  # pause between two checks


async def until(condition: Callable[[], bool], *, seconds: float = PATIENCE_SECONDS) -> None:
    """Return as soon as the condition holds.

    Raises:
        TimeoutError: it timed out.
    """
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 # the condition may be in another process
            await asyncio.sleep(0.01)  # pause between two checks


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
