"""The memory guard: when it lets caches go, when it has new work refused, and what the limit is."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from schema.errors import Reason, UnavailableError
from server.observability.exposition import exposition
from server.settings import Settings
from server.traffic import memory
from server.traffic.admission import Admission
from server.traffic.cgroups import container_bytes
from server.traffic.memory import MemoryGuard, limit_of, resident_bytes
from tests.servers.process import until
from tests.support.clock import Still
from tests.support.exposition import value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.server.conftest import LogLines

MEGABYTE = 1 << 20
LIMIT = 1_000 * MEGABYTE
# What a process that nothing limits has in its file, by the version.
NO_LIMIT = {"2": "max", "1": str((1 << 63) - 4096)}


class Clock(Still):
    """A clock that only the test moves, of the time and of the processor's time."""

    used = 1.0

    def process_time(self) -> float:
        """The processor time used so far."""
        return self.used


class Cycle:
    """An object that holds itself."""

    def __init__(self) -> None:
        self.itself = self


class Process:
    """A process that holds as much as the test says, and `cached` more until its cache is emptied."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, limit: int | None = LIMIT) -> None:
        self.held = self.cached = self.emptied = self.gave_up = 0
        # It stands still, so that letting go takes no time.
        self.clock = Clock()
        monkeypatch.setattr(memory, "time", self.clock)
        self.admission = Admission(1, wait_seconds=1)
        self.guard = MemoryGuard(
            limit,
            self.admission,
            caches=[self._empty],
            give_up=self._give_up,
            resident=lambda: self.held + self.cached,
        )

    def _empty(self) -> None:
        self.emptied += 1
        self.cached = 0

    def _give_up(self) -> None:
        self.gave_up += 1

    def holds(self, share: float, *, cached: float = 0) -> bool:
        """Let it hold this share of the limit, and check; return whether new work is refused."""
        self.held, self.cached = int(share * LIMIT), int(cached * LIMIT)
        self.guard.check()
        return self.admission.sheds


@pytest.fixture(autouse=True)
def _little_to_collect() -> Iterator[None]:
    """Look for cycles only among the objects of the test: pytest has very many."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Process:
    """A process with a limit."""
    return Process(monkeypatch)


def events(log_lines: LogLines) -> list[str]:
    """The events of the log."""
    return [line["event"] for line in log_lines()]


def test_caches_are_let_go_before_work_is_refused(process: Process, log_lines: LogLines) -> None:
    """From four fifths of the limit on. If that is enough, no request notices."""
    assert not process.holds(0.5, cached=0.25)
    assert process.emptied == 0
    assert not process.holds(0.6, cached=0.5)
    assert (process.emptied, process.cached) == (1, 0)
    assert events(log_lines) == ["memory high: the caches are let go", "memory normal again"]
    assert log_lines()[0]["held_mb"] == 1_100
    assert log_lines()[0]["limit_mb"] == 1_000


def test_new_work_is_refused_above_the_limit_until_there_is_room_again(process: Process, log_lines: LogLines) -> None:
    """Both states end some way below where they began. Each beginning and each end leaves a line."""
    refused = [process.holds(share) for share in (0.95, 1.01, 0.95, 0.91, 0.89, 0.95, 0.99, 0.75, 0.69, 0.75)]
    assert refused == [False, True, True, True, False, False, False, False, False, False]
    assert events(log_lines) == [
        "memory high: the caches are let go",
        "short of memory: new work is refused",
        "new work is taken again",
        "memory normal again",
    ]


def test_caches_are_let_go_again_only_after_memory_has_grown(process: Process) -> None:
    """A process that needs so much all the time would otherwise read each document anew."""
    for share, emptied in ((0.85, 1), (0.87, 1), (0.89, 1), (0.91, 2), (0.89, 2), (0.81, 2), (0.85, 2), (0.87, 3)):
        process.holds(share)
        assert process.emptied == emptied, share


def test_while_work_is_refused_memory_is_let_go_at_each_check(process: Process) -> None:
    """What has ended since may have left something. It takes at most a twentieth of the time."""
    process.holds(1.2)
    process.holds(1.2)
    assert process.emptied == 2
    clock = process.clock

    def slow() -> None:
        clock.seconds += 1

    guard = MemoryGuard(LIMIT, process.admission, caches=[slow], resident=lambda: int(1.2 * LIMIT))
    for second in range(100, 150):
        clock.seconds = max(clock.seconds, second)
        guard.check()
    # At 100, 121 and 142; each took a second.
    assert clock.seconds == 149
    assert process.admission.sheds


def test_work_is_refused_for_some_seconds_at_most_near_the_limit(process: Process, log_lines: LogLines) -> None:
    """Python keeps freed memory for itself, to use it again. New work is refused again as soon as memory grows."""

    def after(seconds: float, share: float) -> bool:
        process.clock.seconds += seconds
        return process.holds(share)

    assert after(0, 1.08)
    assert after(4, 1.02)
    assert not after(2, 1.01)
    assert not after(0, 1.05)
    assert after(0, 1.07)
    # It grows again and again: there is an end to it.
    assert not after(6, 1.08)
    assert after(0, 1.11)
    assert after(60, 1.11)
    assert not after(0, 0.89)
    assert after(0, 1.01)
    assert len(events(log_lines)) == 1 + 7


async def test_a_process_that_refuses_all_work_for_good_gives_up(process: Process) -> None:
    """After a minute, and not before what is running has ended: only a new process gets the memory back."""

    def gave_up(seconds: float, share: float) -> bool:
        process.clock.seconds += seconds
        process.gave_up = 0
        process.holds(share)
        assert bool(process.gave_up) is process.guard.stuck
        return bool(process.gave_up)

    assert not gave_up(0, 1.2)
    assert not gave_up(59, 1.2)
    slot = await process.admission.enter()
    assert not gave_up(2, 1.2)
    slot.leave()
    assert gave_up(0, 1.2)
    # It got some back after all.
    assert not gave_up(0, 0.5)
    assert not gave_up(61, 1.2)


def test_what_begins_on_an_open_socket_is_refused_too(process: Process) -> None:
    """No request announced it, so the connection could not refuse it."""
    process.admission.refuse_if_short()
    process.holds(1.1)
    with pytest.raises(UnavailableError) as refused:
        process.admission.refuse_if_short()
    assert refused.value.reason is Reason.OVERLOADED


def test_an_idle_process_that_has_grown_looks_for_cycles(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cycle holds what it holds until the collector looks, and by itself it looks only while there is work."""
    process = Process(monkeypatch, limit=None)
    gone: list[bool] = []
    # It holds little and is idle; it has grown and works; it is idle; it stays as it is; it has grown again.
    for share, used in ((0.1, 0.0), (0.2, 0.1), (0.2, 0.0), (0.2, 0.0), (0.3, 0.0)):
        cycle = weakref.ref(Cycle())
        process.clock.used += used
        process.holds(share)
        gone.append(cycle() is None)
        gc.collect()
    assert gone == [False, False, True, False, True]


def test_without_a_limit_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much the process holds, and no cache is let go."""
    process = Process(monkeypatch, limit=None)
    assert not process.holds(100)
    assert process.emptied == 0


async def test_the_guard_checks_until_its_block_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """From its beginning on, by a timer of its own."""
    monkeypatch.setattr(memory, "_CHECK_SECONDS", 0.001)
    process = Process(monkeypatch)
    process.held = LIMIT + 1
    with process.guard:
        await until(lambda: process.admission.sheds)
    process.held = 0
    await asyncio.sleep(0.02)  # twenty checks, if there were any
    assert process.admission.sheds


def test_a_limit_below_what_the_process_holds_at_its_start_is_warned_of(process: Process, log_lines: LogLines) -> None:
    """It would refuse work for ever."""
    process.held = int(0.9 * LIMIT)
    with pytest.raises(RuntimeError, match="no running event loop"):
        process.guard.__enter__()
    assert events(log_lines) == ["MEMORY_LIMIT is too low: the process holds nearly as much without any load"]


def test_a_shortage_is_counted_once(process: Process) -> None:
    """At its beginning."""
    before = _shortages()
    for share in (1.1, 1.2, 0.95, 1.1, 0.5):
        process.holds(share)
    assert _shortages() == before + 1


def _shortages() -> float:
    return value(exposition("")[0].decode(), "orders_api_memory_shortages_total")


def test_a_process_knows_what_it_holds() -> None:
    """A Python process with the server's modules holds some dozen megabytes at least."""
    before = resident_bytes()
    assert before > 20 * MEGABYTE
    block = b"x" * (64 * MEGABYTE)
    assert resident_bytes() - before > 32 * MEGABYTE
    assert len(block) == 64 * MEGABYTE


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/", {"memory.max": "536870912\n"}, 536_870_912),
        ("0::/", {"memory.max": "max\n"}, None),
        ("0::/", {"memory.max": "536870912", "memory.high": "268435456"}, 268_435_456),
        ("0::/pod/app", {"pod/app/memory.max": "max", "pod/memory.max": "536870912"}, 536_870_912),
        ("0::/pod/app", {"pod/app/memory.max": "268435456", "pod/memory.max": "536870912"}, 268_435_456),
        # The path of the host, in a container that sees only its own group.
        ("0::/host/pod/app", {"memory.max": "536870912"}, 536_870_912),
        ("9:cpu,memory:/docker/x\n0::/", {"memory/memory.limit_in_bytes": "536870912"}, 536_870_912),
        ("4:memory:/app\n3:cpuset:/", {"memory/app/memory.limit_in_bytes": "536870912"}, 536_870_912),
        ("4:memory:/", {"memory/memory.limit_in_bytes": NO_LIMIT["1"]}, None),
        ("4:cpu:/", {"memory/memory.limit_in_bytes": "536870912"}, None),
        ("0::/../..", {"memory.max": "536870912"}, 536_870_912),
        ("", {}, None),
        (None, {}, None),
    ],
)
def test_the_container_says_how_much_there_is(
    tmp_path: Path, groups: str | None, files: dict[str, str], limit: int | None
) -> None:
    """The lowest limit of the process's control groups counts, of either version. Without one there is no limit."""
    mount = tmp_path / "mount"
    for name, text in files.items():
        (mount / name).parent.mkdir(parents=True, exist_ok=True)
        (mount / name).write_text(text)
    named = tmp_path / "cgroup"
    if groups is not None:
        named.write_text(groups)
    assert container_bytes(groups=named, mount=mount) == limit


@pytest.mark.parametrize(
    ("setting", "container", "workers", "limit"),
    [
        (None, None, 1, None),
        (None, 1024, 1, 819),
        (None, 4096, 4, 819),
        # 160 MB hold the process itself, and little more.
        (None, 256, 1, None),
        (None, 2048, 8, None),
        ("off", 1024, 1, None),
        (300, None, 1, 300),
        (300, 1024, 4, 300),
    ],
)
def test_the_limit_is_a_share_of_the_container_unless_it_is_set(
    monkeypatch: pytest.MonkeyPatch,
    log_lines: LogLines,
    setting: int | str | None,
    container: int | None,
    workers: int,
    limit: int | None,
) -> None:
    """Each worker has its part of four fifths. If that is too little for one, there is no limit, but a warning."""
    monkeypatch.setattr(memory, "container_bytes", lambda: None if container is None else container * MEGABYTE)
    settings = Settings.model_validate(
        {"database_url": SecretStr("postgresql://127.0.0.1/x"), "workers": workers, "memory_limit": setting}
    )
    found = limit_of(settings)
    assert (None if found is None else found // MEGABYTE) == limit
    assert bool(log_lines()) is (limit is None and setting is None and container is not None)
