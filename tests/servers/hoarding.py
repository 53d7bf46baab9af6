"""A server that holds as much memory as a test says: run `python -m tests.servers.hoarding`.

It holds the number of megabytes in the file that the environment variable HOARD names, for as long as the file says so.
Constants can be changed as with tests/servers/altered.py. Everything else is as in the server.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Final

from server.__main__ import main
from server.process.shutdown import STOP_SIGNALS
from tests.servers.altered import alter

_LOOK_SECONDS: Final = 0.02
_MEGABYTE: Final = 1 << 20


def _hoard(wanted: Path) -> None:
    # They are for the thread that waits for them.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    held: list[bytes] = []
    while True:
        number = int(wanted.read_text() or len(held))
        # Not zeros: the system would give them no memory.
        held += [b"x" * _MEGABYTE for _ in range(number - len(held))]
        del held[number:]
        time.sleep(_LOOK_SECONDS)


# A worker loads its parent's main module under the second name. The parent itself hoards nothing.
if __name__ in {"__main__", "__mp_main__"}:
    alter()
    if __name__ == "__mp_main__" or os.environ.get("WORKERS", "1") == "1":
        threading.Thread(target=_hoard, args=(Path(os.environ["HOARD"]),), daemon=True).start()
if __name__ == "__main__":
    sys.exit(main())
