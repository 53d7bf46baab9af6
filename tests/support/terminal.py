"""A terminal: runs a program in one, and keeps its screen as a person sees it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

COLUMNS: Final = 80
_ROWS: Final = 60
# A control sequence, one of the characters that move the cursor, or text.
_PARTS: Final = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class Screen:
    """The lines that were ever on the screen, each as it was written last."""

    def __init__(self) -> None:
        self.lines: list[str] = [""]
        self._row = self._column = 0

    @property
    def text(self) -> str:
        """All lines."""
        return "\n".join(line.rstrip() for line in self.lines)

    def show(self, output: str) -> None:
        """Show output of the program: text, and the control sequences that progress bars are made of."""
        for numbers, command, move, text in _PARTS.findall(output):
            if move == "\r":
                self._column = 0
            elif move == "\n":
                self._go_to(self._row + 1)
            elif text:
                self._write(text)
            elif command == "A":
                self._go_to(max(0, self._row - int(numbers or 1)))
            elif command == "K":
                kept = 0 if numbers == "2" else self._column
                self.lines[self._row] = self.lines[self._row][:kept]

    def _write(self, text: str) -> None:
        for letter in text:
            if self._column == COLUMNS:
                self._go_to(self._row + 1)
                self._column = 0
            line = self.lines[self._row].ljust(self._column)
            self.lines[self._row] = line[: self._column] + letter + line[self._column + 1 :]
            self._column += 1

    def _go_to(self, row: int) -> None:
        self._row = row
        self.lines += [""] * (row + 1 - len(self.lines))


class Terminal:
    """A terminal with a program in it."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self.screen = Screen()
        self._master = master
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def press_ctrl_c(self) -> None:
        """Press Ctrl-C."""
        os.write(self._master, b"\x03")

    def ended(self, seconds: float) -> int:
        """Wait for the end of the program and of its output, and return its exit code."""
        code = self.process.wait(seconds)
        self._reading.join(seconds)
        return code

    def _read(self) -> None:
        output = b""
        # Reading fails when no process has the terminal any more.
        with contextlib.suppress(OSError):
            while part := os.read(self._master, 1 << 16):
                output += part
                # A character or a sequence may still be incomplete.
                end = max(output.rfind(b"\n"), output.rfind(b"\r"), output.rfind(b"m"), output.rfind(b"l")) + 1
                self.screen.show(output[:end].decode())
                output = output[end:]
        self.screen.show(output.decode(errors="replace"))


@contextlib.contextmanager
def in_terminal(
    command: Sequence[str], directory: Path, env: Mapping[str, str], *, seconds: float
) -> Iterator[Terminal]:
    """Run a program in a terminal of 80 columns. At the end it is terminated, and has this long to stop."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, COLUMNS, 0, 0))
    process = subprocess.Popen(
        command,
        cwd=directory,
        env={**env, "TERM": "xterm-256color"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0),  # noqa: PLW1509 # the program's own terminal, for Ctrl-C
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        process.terminate()
        process.wait(seconds)
        os.close(master)
