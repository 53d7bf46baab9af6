"""The shutdown of a process: the signals that ask for it, and the watchdog that ends a shutdown that hangs."""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
import threading
import time
from traceback import extract_stack
from typing import TYPE_CHECKING, Final, NoReturn

import structlog

from server.observability import multiprocess

if TYPE_CHECKING:
    from collections.abc import Callable

    from uvicorn import Server

    from server.traffic.draining import Draining

# The platform kills the process 15 s after SIGTERM. We promise 12 s.
STOP_SECONDS: Final = 11.5
# Exit codes.
CUT_SHORT: Final = 1
NOT_STARTED: Final = 3
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
# How long the last acts of a process may take.
_PARTING_SECONDS: Final = 0.2
# A signal to a process and to its group arrives twice, this close together.
_ECHO_SECONDS: Final = 0.05
_FRAMES: Final = 3
_log = structlog.get_logger(__name__)


class Stop:
    """Waits for a signal, tells the server to stop, and after `STOP_SECONDS` ends the process.

    Signals are blocked and a thread waits for them. So none is lost while the server is loading (the kernel drops
    unhandled signals of a container's first process), and one is noticed even if the event loop is stuck.
    """

    def __init__(self, *signals: signal.Signals, again_cuts_short: bool) -> None:
        """Start waiting. Create this before any other thread: threads inherit the blocked signals.

        Args:
            signals: the signals that ask for a stop.
            again_cuts_short: a second signal ends the process at once, with the exit code `CUT_SHORT`.
        """
        self._signals = signals
        self._again_cuts_short = again_cuts_short
        self._signalled = False
        self._server: Server | None = None
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        threading.Thread(target=self._listen, name="signals", daemon=True).start()

    def stops(self, server: Server) -> None:
        """Name the server that a signal stops. If one has arrived already, stop the server at once."""
        self._server = server
        if self._signalled:
            server.should_exit = True

    def _listen(self) -> None:
        number = self._next()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        self._signalled = True
        if self._server is not None:
            self._server.should_exit = True
        log_in_thread(_log.info, "stopping", signal=number.name)
        first, asked_at = number, time.monotonic()
        while True:
            number = self._next()
            is_echo = number is first and time.monotonic() - asked_at < _ECHO_SECONDS
            if self._again_cuts_short and not is_echo:
                leave(CUT_SHORT, functools.partial(_log.warning, "stopped at once", signal=number.name))

    def _next(self) -> signal.Signals:
        return signal.Signals(signal.sigwait(self._signals))

    def _watch(self) -> None:
        time.sleep(STOP_SECONDS)  # a daemon thread: it dies with the process
        leave(0, self._log_what_hangs)

    def _log_what_hangs(self) -> None:
        state = self._server.server_state if self._server else None
        frames = sys._current_frames()  # noqa: SLF001 # the only way to see what another thread does
        main = extract_stack(frames.get(threading.main_thread().ident or 0))[-_FRAMES:]
        _log.error(
            "stop cut short",
            seconds=STOP_SECONDS,
            connections=len(state.connections) if state else 0,
            requests=len(state.tasks) if state else 0,
            threads=sorted(thread.name for thread in threading.enumerate() if not thread.daemon),
            at=[f"{frame.filename}:{frame.lineno} {frame.name}" for frame in main],
        )


def end_worker(draining: Draining) -> None:
    """Stop this worker as SIGTERM does, because it refuses all work for good. The supervisor starts another."""
    if not draining.begun:
        log_in_thread(_log.error, "worker ends: it is out of memory, and gets none back")
        os.kill(os.getpid(), signal.SIGTERM)


def log_in_thread(log: Callable[..., object], event: str, **values: object) -> None:
    """Log an event in a thread, without waiting: the log may block if its reader has stopped reading."""
    threading.Thread(target=log, args=(event,), kwargs=values, name="log", daemon=True).start()


def leave(code: int, *last_acts: Callable[[], object]) -> NoReturn:
    """End the process now, without waiting for threads: one may hang in a login that has no deadline.

    Args:
        code: the exit code.
        last_acts: called first, before the log is flushed. All of it together gets `_PARTING_SECONDS`, because the
            log may block if its reader has stopped reading.
    """

    def finish() -> None:
        for act in (multiprocess.remove, *last_acts, logging.shutdown, sys.stdout.flush, sys.stderr.flush):
            act()

    finishing = threading.Thread(target=finish, name="parting", daemon=True)
    finishing.start()
    finishing.join(_PARTING_SECONDS)
    os._exit(code)
