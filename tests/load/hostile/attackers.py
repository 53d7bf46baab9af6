"""The attackers' process: runs attacks for some seconds, and counts what came back."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final, cast

import uvloop

from tests.load.hostile import by_http, by_socket
from tests.load.hostile.target import LostError, RefusedError, Target
from tests.servers.process import ROOT, environment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.load.hostile.attack import Attack

ATTACKS: Final = {attack.name: attack for attack in (*by_http.ATTACKS, *by_socket.ATTACKS)}
OPEN: Final = "open at the end"
_NICE: Final = 5
# Each kind attacks from an address of its own, as if from a machine of its own. Only Linux has them all.
_SOURCES: Final = "127.0.1.{}"


def attack(target: Target, names: Sequence[str], seconds: float) -> subprocess.Popen[str]:
    """Start these attacks in another process. `results_of` waits for the results."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.load.hostile.attackers"],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    stdin = cast("Any", process.stdin)
    stdin.write(json.dumps({"target": asdict(target), "names": names, "seconds": seconds}))
    stdin.close()
    return process


def results_of(process: subprocess.Popen[str]) -> dict[str, dict[str, int]]:
    """Wait for the end, and return how often what came back, by the attack."""
    with process:
        text = cast("Any", process.stdout).read()
    results: dict[str, dict[str, int]] = json.loads(text)
    return results


async def _run(target: Target, names: Sequence[str], seconds: float) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    await asyncio.gather(
        *(
            _repeat(ATTACKS[name], _from(target, number), counts[name], seconds)
            for number, name in enumerate(names, start=1)
        )
    )
    return counts


def _from(target: Target, number: int) -> Target:
    return replace(target, source=_SOURCES.format(number)) if sys.platform == "linux" else target


async def _repeat(kind: Attack, target: Target, counts: Counter[str], seconds: float) -> None:
    until, number = asyncio.get_running_loop().time() + seconds, 0
    running: set[asyncio.Task[None]] = set()
    try:
        while asyncio.get_running_loop().time() < until:
            if len(running) < kind.at_once:
                number += 1
                task = asyncio.create_task(_act(kind, target, number, counts))
                running.add(task)
                task.add_done_callback(running.discard)
            await asyncio.sleep(kind.every)  # until the next attacker
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _act(kind: Attack, target: Target, number: int, counts: Counter[str]) -> None:
    def note(outcome: str) -> None:
        counts[outcome] += 1

    try:
        note(await kind.act(target, number, note))
    except asyncio.CancelledError:
        note(OPEN)
        raise
    except RefusedError as refused:
        note(str(refused))
    except TimeoutError:
        note("no answer")
    except (LostError, OSError):
        note("cut off")


def main() -> int:
    """Read the job from standard input as JSON, write the results to standard output, and return the exit code."""
    # The database and the ordinary callers have the same processors.
    os.nice(_NICE)
    # The usual limit is a thousand open files.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    job = json.load(sys.stdin)
    json.dump(uvloop.run(_run(Target(**job["target"]), job["names"], job["seconds"])), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
