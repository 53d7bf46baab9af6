"""The load from wrk: requests in turn, each sent when the last one is answered, and wrk's counts."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.bench.measuring import BenchError, Load, Processors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HOW_TO_GET_IT: Final = "wrk is not on the PATH (Debian: apt-get install wrk)"
# The script holds the requests as bytes. wrk's counts are its last line of output, in JSON.
_SCRIPT: Final = """
local requests = {
%s
}
local turn = 0
function request()
  turn = turn %% #requests + 1
  return requests[turn]
end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\\n{"requests": %%d, "microseconds": %%d, "bytes": %%d, "failed": %%d, "broken": %%d, "p50": %%f, "p99": %%f}\\n',
    summary.requests, summary.duration, summary.bytes, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(50), latency:percentile(99)))
end
"""
# How much the mean response may differ in size from the checked ones. An error would differ by more.
_BYTES_APART: Final = 0.05
# A slower response counts as missing.
_ANSWER_SECONDS: Final = 10
_WAIT_SECONDS: Final = 30


def available() -> bool:
    """Whether wrk is installed."""
    return _program() is not None


def _program() -> str | None:
    return shutil.which("wrk")


@dataclass(frozen=True, slots=True)
class Volley:
    """Requests as bytes for a contender's process, to be sent in turn.

    `answer_bytes` is the mean size of a response, once some have been checked.
    """

    name: str
    url: str
    process_id: int
    requests: Sequence[bytes]
    answer_bytes: float = 0

    def write_script(self, path: Path) -> None:
        """Write wrk's script."""
        path.write_text(_SCRIPT % ",\n".join(_quoted(request) for request in self.requests))


def drive(volley: Volley, script: Path, *, connections: int, seconds: float, postmaster: int) -> Load:
    """Run one round.

    Raises:
        BenchError: a response was an error, or there was none.
    """
    processors = Processors.now(volley.process_id, postmaster)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        done = subprocess.run(
            [
                *(_program() or "wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"),
                *("--timeout", f"{_ANSWER_SECONDS}s", "-s", script, volley.url),
            ],
            capture_output=True,
            text=True,
            timeout=seconds + _WAIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchError(f"{volley.name} does not answer wrk in time") from error
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise BenchError(f"wrk failed with {volley.name}: {done.stderr or done.stdout}")
    counted: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    requests = counted["requests"]
    if not requests or counted["failed"] or counted["broken"]:
        raise BenchError(f"{volley.name} did not answer all requests correctly: {counted}")
    mean = counted["bytes"] / requests
    if abs(mean - volley.answer_bytes) > _BYTES_APART * volley.answer_bytes:
        raise BenchError(f"{volley.name}: an answer has {mean:.0f} bytes instead of {volley.answer_bytes:.0f}.")
    own, database = processors.since()
    took = counted["microseconds"] / 1e6
    generator = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Load(
        rate=requests / took,
        p50_ms=counted["p50"] / 1000,
        p99_ms=counted["p99"] / 1000,
        own_ms=own / requests,
        database_ms=database / requests,
        generator=generator / took,
    )


def _quoted(request: bytes) -> str:
    text = request.decode("ascii")
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\r", "\\r"), ("\n", "\\n")):
        text = text.replace(plain, escaped)
    return f'"{text}"'
