"""Owns the stop of a process: the signals that ask for it, and the watchdog that sees to it that it comes to an end."""

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

# The platform kills 15 s after SIGTERM, and 12 s are promised.
STOP_SECONDS: Final = 11.5
# Exit codes.
CUT_SHORT: Final = 1
NOT_STARTED: Final = 3
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_PARTING_SECONDS: Final = 0.2
# Who signals a process and its group sends one signal twice.
_ECHO_SECONDS: Final = 0.05
_FRAMES: Final = 3
_log = structlog.get_logger(__name__)


class Stop:
    """What a signal sets going: the server is told, and after `STOP_SECONDS` whatever it still does is cut off.

    Signals are blocked and waited for in a thread. So none is lost while the server is being loaded, also for the
    first process of a container, whose signals the kernel drops as long as nobody wants them; and one is heard
    although the event loop is stuck.
    """

    def __init__(self, *signals: signal.Signals, again_cuts_short: bool) -> None:
        """Begin to listen; before any other thread is started, for each inherits what is blocked.

        Args:
            signals: those that ask for a stop.
            again_cuts_short: a second one ends the process at once, with the exit code `CUT_SHORT`.
        """
        self._signals = signals
        self._again_cuts_short = again_cuts_short
        self._asked = False
        self._server: Server | None = None
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        threading.Thread(target=self._listen, name="signals", daemon=True).start()

    def tells(self, server: Server) -> None:
        """This is the server to be told, also of a signal that has come already."""
        self._server = server
        if self._asked:
            server.should_exit = True

    def _listen(self) -> None:
        number = self._next()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        self._asked = True
        if self._server is not None:
            self._server.should_exit = True
        aside(_log.info, "stopping", signal=number.name)
        first, asked_at = number, time.monotonic()
        while True:
            number = self._next()
            is_echo = number is first and time.monotonic() - asked_at < _ECHO_SECONDS
            if self._again_cuts_short and not is_echo:
                leave(CUT_SHORT, functools.partial(_log.warning, "stopped at once", signal=number.name))

    def _next(self) -> signal.Signals:
        return signal.Signals(signal.sigwait(self._signals))

    def _watch(self) -> None:
        time.sleep(STOP_SECONDS)  # what it waits for is the end of the process
        leave(0, self._tell_what_is_cut)

    def _tell_what_is_cut(self) -> None:
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


def aside(say: Callable[..., object], event: str, **values: object) -> None:
    """Log this in a thread of its own, and go on at once: whoever reads the log may have stopped reading."""
    threading.Thread(target=say, args=(event,), kwargs=values, name="log", daemon=True).start()


def leave(code: int, *parting: Callable[[], object]) -> NoReturn:
    """End the process now. No thread is waited for: one may be stuck in a login that has no deadline.

    Args:
        code: the exit code.
        parting: what is done before, beside writing out what is logged. All of it together gets a moment, for whoever
            reads the log may have stopped reading.
    """

    def part() -> None:
        for last in (multiprocess.remove, *parting, logging.shutdown, sys.stdout.flush, sys.stderr.flush):
            last()

    parted = threading.Thread(target=part, name="parting", daemon=True)
    parted.start()
    parted.join(_PARTING_SECONDS)
    os._exit(code)
