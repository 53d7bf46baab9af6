"""The supervisor: starts the worker processes, which serve on the same sockets, and replaces one that dies.

uvicorn's own supervisor polls only twice a second, waits for a worker without a limit, and runs uvicorn's own server.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Final, cast

import structlog

from server.observability import multiprocess
from server.observability.log_setup import configure_logs
from server.observability.log_stream import STANDARD_OUTPUT, LogStream
from server.process.shutdown import CUT_SHORT, NOT_STARTED, STOP_SECONDS, STOP_SIGNALS, Stop, leave, log_in_thread
from server.settings import load_settings

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess
    from socket import socket

_log = structlog.get_logger(__name__)
# Each worker has STOP_SECONDS, and a moment to exit.
_KILL_SECONDS: Final = STOP_SECONDS + 0.25
_TRY_AGAIN_SECONDS: Final = 1.0


@dataclass(eq=False, slots=True)
class _Worker:
    """A worker process. It tells `receiver` when it serves. Then the supervisor stops the worker that it `replaces`."""

    process: SpawnProcess
    receiver: Connection
    replaces: _Worker | None = None
    serving: bool = False
    retiring: bool = False

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(cast("int", self.process.pid), number)


class Supervisor:
    """The parent process of the workers. It serves no requests."""

    def __init__(self, count: int, sockets: list[socket]) -> None:
        self._count = count
        self._sockets = sockets
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker] = []
        self._to_replace: list[_Worker] = []
        self._not_before = 0.0
        self._kill_at: float | None = None
        self._code = 0

    def run(self) -> int:
        """Run the workers until a signal stops them; return the exit code.

        SIGTERM and SIGINT stop the workers, a second one kills them. SIGHUP replaces the workers one after the other.
        """
        signals, wakeup = os.pipe()
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        for number in (*STOP_SIGNALS, signal.SIGHUP):
            # The pipe gets a signal's number only if the signal has a handler.
            signal.signal(number, lambda *_: None)
        while True:
            self._fill()
            if not self._workers:
                return self._code
            awaited: list[int | Connection] = [signals]
            awaited += [worker.process.sentinel for worker in self._workers]
            awaited += [worker.receiver for worker in self._workers if not worker.serving]
            found = wait(awaited, self._seconds_left())
            for worker in list(self._workers):
                if worker.receiver in found:
                    self._note_serving(worker)
                if worker.process.sentinel in found:
                    self._note_exit(worker)
            if signals in found:
                for byte in os.read(signals, 64):
                    self._handle(signal.Signals(byte))
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                self._kill()

    def _fill(self) -> None:
        if self._kill_at is None and time.monotonic() >= self._not_before:
            running = sum(not worker.retiring and worker.replaces is None for worker in self._workers)
            for _ in range(self._count - running):
                self._start()

    def _seconds_left(self) -> float | None:
        """Seconds until the next timed action; None if there is none."""
        until = self._kill_at or self._not_before
        left = until - time.monotonic()
        return max(left, 0.0) if self._kill_at is not None or left > 0 else None

    def _start(self, *, replaces: _Worker | None = None) -> None:
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(target=work, args=(self._sockets, sender), name="worker")
        process.start()
        sender.close()
        self._workers.append(_Worker(process, receiver, replaces))

    def _note_serving(self, worker: _Worker) -> None:
        with contextlib.suppress(EOFError):
            worker.receiver.recv_bytes()
            worker.serving = True
            log_in_thread(_log.info, "worker serving", worker=worker.process.pid)
            if replaced := worker.replaces:
                worker.replaces, replaced.retiring = None, True
                replaced.signal(signal.SIGTERM)
                self._replace_next()

    def _note_exit(self, worker: _Worker) -> None:
        worker.process.join()
        worker.receiver.close()
        self._workers.remove(worker)
        multiprocess.forget(cast("int", worker.process.pid))
        if self._kill_at is not None or worker.retiring:
            return
        code = worker.process.exitcode or 0
        for other in self._workers:
            if other.replaces is worker:
                other.replaces = None
        if worker.serving or code < 0:
            log_in_thread(_log.warning, "worker died", worker=worker.process.pid, code=code)
        elif any(other.serving for other in self._workers):
            log_in_thread(_log.error, "worker not started", worker=worker.process.pid, code=code)
            self._not_before = time.monotonic() + _TRY_AGAIN_SECONDS
        else:
            log_in_thread(_log.error, "no worker started", worker=worker.process.pid, code=code)
            self._stop(NOT_STARTED)
        if worker.replaces is not None:
            # The new worker failed, and so may others: keep the workers that serve.
            self._to_replace.clear()

    def _handle(self, number: signal.Signals) -> None:
        if number not in STOP_SIGNALS:
            log_in_thread(_log.info, "replacing workers", signal=number.name)
            if not any(worker.replaces for worker in self._workers):
                self._to_replace = list(self._workers)
                self._replace_next()
        elif self._kill_at is None:
            log_in_thread(_log.info, "stopping", signal=number.name)
            self._stop(0)
        else:
            self._kill()
            leave(CUT_SHORT, functools.partial(_log.warning, "stopped at once", signal=number.name))

    def _replace_next(self) -> None:
        waiting = [worker for worker in self._to_replace if worker in self._workers and self._kill_at is None]
        self._to_replace = waiting[1:]
        if waiting:
            self._start(replaces=waiting[0])

    def _stop(self, code: int) -> None:
        self._code, self._kill_at = code, time.monotonic() + _KILL_SECONDS
        # Otherwise the sockets would accept connections that no worker serves.
        for listening in self._sockets:
            listening.close()
        for worker in self._workers:
            worker.signal(signal.SIGTERM)

    def _kill(self) -> None:
        for worker in self._workers:
            log_in_thread(_log.error, "worker killed", worker=worker.process.pid)
            worker.process.kill()
        self._kill_at = time.monotonic() + _KILL_SECONDS


def work(sockets: list[socket], sender: Connection) -> None:
    """Run a worker process: serve until the parent sends SIGTERM or is gone."""
    # In a terminal Ctrl-C reaches the worker too, but the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = Stop(signal.SIGTERM, again_cuts_short=False)
    settings = load_settings()
    configure_logs(settings, stream=LogStream(STANDARD_OUTPUT))
    threading.Thread(target=_stop_without_parent, name="parent", daemon=True).start()
    try:
        from server.process.uvicorn_server import serve  # noqa: PLC0415 # importing takes a second, in which a signal must not be lost

        serve(settings, sockets, stop, started=lambda: sender.send_bytes(b"serving"))
    except Exception:  # noqa: BLE001 # the next worker would fail in the same way, so the parent has to know
        _log.exception("worker not started")
    leave(NOT_STARTED)


def _stop_without_parent() -> None:
    if parent := multiprocessing.parent_process():
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)
