"""The progress of operations in the terminal: a bar for each step, or a line when a step has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console
    from rich.progress import TaskID

ENDED = {"SUCCEEDED", "FAILED", "CANCELLED"}
_NAME_COLUMNS = 20
_BAR_COLUMNS = 16


class Bars:
    """Steps in a terminal: one line each, with a bar and what the step says last."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn(f"{{task.description:<{_NAME_COLUMNS}}}"),
            BarColumn(bar_width=_BAR_COLUMNS),
            TaskProgressColumn(),
            TextColumn("{task.fields[message]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=console,
        )
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, steps: Sequence[dict[str, Any]]) -> None:
        """Show the states of the steps that have begun."""
        for step in steps:
            if step["state"] != "PENDING":
                self._show(step["name"], step["progress"], step["message"])

    def show_tables(self, steps: Sequence[dict[str, Any]]) -> None:
        """Show one bar for each table in place of its steps, with what the table's latest step says."""
        for resource in dict.fromkeys(step["resource"] for step in steps):
            own = [step for step in steps if step["resource"] == resource]
            messages = [step["message"] for step in own if step["state"] not in {"PENDING", "SKIPPED"}]
            progress = sum(step["progress"] for step in own) / len(own)
            self._show(resource.rpartition(".")[2], progress, messages[-1] if messages else None)

    def _show(self, name: str, progress: float, message: str | None) -> None:
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(name, total=1.0, message="")
        self._progress.update(self._bars[name], completed=progress, message=message or "")


class Lines:
    """Steps elsewhere: a line when one has ended."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: set[tuple[str, str]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, steps: Sequence[dict[str, Any]]) -> None:
        """Show the steps that have ended."""
        for step in steps:
            one = step["name"], step["resource"]
            if step["state"] in ENDED and one not in self._shown:
                self._shown.add(one)
                self._console.print(f"{step['name']:<{_NAME_COLUMNS}} {step['resource']}: {step['message']}")

    show_tables = show
