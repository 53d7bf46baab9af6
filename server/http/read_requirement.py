"""The read requirement: which database may answer the reads of an operation."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

# A position that no replica reaches: it sends reads to the primary.
UNREACHABLE: Final = (1 << 63) - 1


@dataclass(slots=True)
class ReadRequirement:
    """Decides which database may answer an operation. Positions in the write-ahead log are in bytes from its beginning.

    Attributes:
        position: a replica answers only if it has replayed the log up to here; 0 for any replica.
        primary_only: only the primary answers. A mutation or a subscription shows what has just been written.
        written: the position of the log after the operation's own change; 0 if it has changed nothing.
        loads: the tasks that read for the operation beside its own task.
    """

    position: int = 0
    primary_only: bool = False
    written: int = 0
    loads: set[asyncio.Task[Any]] = field(default_factory=set)

    def cancel_loads(self) -> None:
        """Cancel the tasks that still read, when no client waits for the operation any more."""
        for task in self.loads:
            task.cancel()


# The gateway sets it for an HTTP request, and a WebSocket connection for each operation. Tasks that an operation starts
# inherit it, such as batched lookups. Outside of an operation it is not set, and the primary answers.
current_reads: ContextVar[ReadRequirement] = ContextVar("current_reads")


def note_load() -> None:
    """Note that the current task reads for the operation, so that it is cancelled with it."""
    if (reads := current_reads.get(None)) and (task := asyncio.current_task()):
        reads.loads.add(task)
        task.add_done_callback(reads.loads.discard)
