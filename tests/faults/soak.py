"""The soak: half an hour of load with a random fault every half minute, and the nine counters at the end.

`python -m tests.faults.soak` reads SOAK_SECONDS, SOAK_SEED and SOAK_RATE from its environment. Tokens expire after 20 s
and connections after 2 s throughout. The exit code is 1 if any promise was broken.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg
import psutil

from tests.faults import scorecard
from tests.faults.lakebase import on_platform
from tests.faults.scenario import Scenario
from tests.faults.test_database import AWAY, END_OURS, on
from tests.faults.test_processes import workers
from tests.faults.traffic import LOST
from tests.servers.process import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tests.faults.proxy import Proxy
    from tests.faults.rig import Rig
    from tests.faults.traffic import Traffic
    from tests.servers.platform import LocalPlatform

SECONDS: Final = float(os.environ.get("SOAK_SECONDS", "1800"))
SEED: Final = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(1 << 16))
RATE: Final = float(os.environ.get("SOAK_RATE", "300"))
EVERY_SECONDS: Final = 30.0
SAMPLE_SECONDS: Final = 5.0
TOKEN_SECONDS: Final = 20
# For the worker that is never killed, after its warm-up.
SLOPE_MB: Final = 1.0
SLOPE_SECONDS: Final = 600.0
WARM_SECONDS: Final = 180.0


class Soak:
    """Injects faults into a server and its database, one after another."""

    def __init__(self, rig: Rig, proxy: Proxy, platform: LocalPlatform) -> None:
        self.rig = rig
        self._proxy = proxy
        self._platform = platform
        self._chance = random.Random(SEED)  # noqa: S311 # not for cryptography
        self._samples: list[tuple[float, float]] = []
        self._faults: dict[str, Callable[[], Awaitable[object]]] = {
            "F1": self._kill_postgresql,
            "F3": lambda: on(rig.database, END_OURS),
            "F5": self._end_token,
            "F15": lambda: asyncio.to_thread(proxy.reset),
            "F21": self._kill_worker,
        }

    async def inject(self, _: Traffic) -> None:
        """Inject a fault every half minute until the time is over."""
        sampling = asyncio.create_task(self._sample())
        until_ = time.monotonic() + SECONDS
        while time.monotonic() < until_:
            name = self._chance.choice(list(self._faults))
            _say(f"{until_ - time.monotonic():6.0f} s left: {name}")
            began = time.monotonic()
            await self._faults[name]()
            await asyncio.sleep(max(0.0, min(began + EVERY_SECONDS, until_) - time.monotonic()))  # until the next fault
        sampling.cancel()

    @property
    def slope_mb(self) -> float | None:
        """The growth of the oldest worker's RSS in MB per ten minutes; None if it was not observed long enough."""
        if not self._samples or self._samples[-1][0] - self._samples[0][0] < SLOPE_SECONDS:
            return None
        moments, sizes = zip(*self._samples, strict=True)
        return float(statistics.linear_regression(moments, sizes).slope) * SLOPE_SECONDS

    async def _sample(self) -> None:
        await asyncio.sleep(WARM_SECONDS)  # memory allocated in the warm-up is not growth
        while True:
            oldest = min(workers(self.rig), key=psutil.Process.create_time)
            self._samples.append((time.monotonic(), oldest.memory_info().rss / (1 << 20)))
            await asyncio.sleep(SAMPLE_SECONDS)  # between two samples

    async def _kill_postgresql(self) -> None:
        (instance,) = self._platform.inventory()["instances"]
        os.kill(instance["processes"][instance["read_write_dns"]], 9)
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(OSError, asyncpg.PostgresError, TimeoutError):
                    await on(self.rig.database, "SELECT 1")
                    return
                await asyncio.sleep(0.05)  # until the platform has restarted it

    async def _end_token(self) -> None:
        before = len(self._platform.counters()["mint_times"])
        await until(lambda: len(self._platform.counters()["mint_times"]) > before, seconds=2 * TOKEN_SECONDS)

    async def _kill_worker(self) -> None:
        serving = self.rig.server.log().count("worker serving")
        max(workers(self.rig), key=psutil.Process.create_time).kill()
        await until(lambda: self.rig.server.log().count("worker serving") > serving)


@contextlib.contextmanager
def _soaking() -> Iterator[Soak]:
    with on_platform(token_seconds=TOKEN_SECONDS, recycle_seconds=2, settings={"WORKERS": "2"}) as (
        rig,
        platform,
        proxy,
    ):
        yield Soak(rig, proxy, platform)


async def _soak(soak: Soak, directory: Path) -> int:
    title = f"{SECONDS:.0f} s of faults at random, seed {SEED}"
    allowed = AWAY | {LOST}
    report = await Scenario("soak 0", title, soak.inject, allowed, rate=RATE).run(soak.rig, directory)
    slope = soak.slope_mb
    if slope is not None and slope > SLOPE_MB:
        report.miss(f"RSS grows by {slope:.2f} MB in ten minutes")
    try:
        report.check()
    except AssertionError as missed:
        _say(str(missed))
    _say(scorecard.table([report]))
    _say(
        f"RSS slope: {'not observed for long enough' if slope is None else f'{slope:.2f} MB in ten minutes'}, seed {SEED}"
    )
    return 1 if report.misses else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Run the soak and return the exit code."""
    _say(f"SOAK_SEED={SEED} SOAK_SECONDS={SECONDS:.0f} SOAK_RATE={RATE:.0f}")
    with tempfile.TemporaryDirectory(prefix="soak-") as directory, _soaking() as soak:
        return asyncio.run(_soak(soak, Path(directory)))


if __name__ == "__main__":
    sys.exit(main())
