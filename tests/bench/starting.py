"""The measurement of a start: from `python -m server` to the first response."""

from __future__ import annotations

import http.client
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from tests.bench.asks import Page
from tests.bench.dialects import Relay, our_cursor
from tests.bench.measuring import BenchError
from tests.servers.process import ROOT, environment, free_port

if TYPE_CHECKING:
    from tests.bench.contenders import Setup

_TIMES: Final = 5
_AGAIN_SECONDS: Final = 0.002
_MOST_SECONDS: Final = 30
_STOP_SECONDS: Final = 15


def measure_starts(setup: Setup) -> list[float]:
    """The seconds to the first page of ten orders, for several processes.

    Raises:
        BenchError: there was no response within half a minute.
    """
    return [_seconds_to_answer(setup) for _ in range(_TIMES)]


def _seconds_to_answer(setup: Setup) -> float:
    port = free_port()
    settings = {"APP_ENV": "production", "AUTH_MODE": "local", "ORDERS_TABLE": setup.orders_table}
    given = environment(DATABASE_URL=setup.database_url, PORT=str(port), APP_SCHEMA=setup.app_schema, **settings)
    # Python may write bytecode, as in an installed package.
    del given["PYTHONDONTWRITEBYTECODE"]
    begun = time.perf_counter()
    process: subprocess.Popen[Any] = subprocess.Popen(
        [sys.executable, "-m", "server"], cwd=ROOT, env=given, stdout=subprocess.DEVNULL
    )
    try:
        while not _answers(port):
            if process.poll() is not None or time.perf_counter() > begun + _MOST_SECONDS:
                raise BenchError("The server did not answer in time.")
            time.sleep(_AGAIN_SECONDS)  # between two attempts
        return time.perf_counter() - begun
    finally:
        process.terminate()
        process.wait(_STOP_SECONDS)


def _answers(port: int) -> bool:
    request = Relay("/api/graphql", our_cursor).request(Page(10, 1))
    if request is None:
        raise TypeError(request)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_MOST_SECONDS)
    try:
        connection.request(request.method, request.path, request.body, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status == http.HTTPStatus.OK and b'"errors":' not in answer.read()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
