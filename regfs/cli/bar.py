"""Progress on a terminal: what is done, how fast, and the time left."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


class RichProgress:
    """A `regfs.progress.Progress` drawn on standard error, and erased at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> RichProgress:
        return self

    def __exit__(self, *error: object) -> None:
        self.finish()

    def start(self, task: str, total: int | None = None, unit: str = "items") -> None:
        """Begin a task and end the previous one."""
        self.finish()
        columns: tuple[ProgressColumn, ...] = (MofNCompleteColumn(),)
        if unit == "bytes":
            columns = (DownloadColumn(), TransferSpeedColumn())
        elif total is None:
            columns = (TextColumn("{task.completed:,}"),)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            *columns,
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            # Results go to standard output untouched, whatever is drawn meanwhile.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task(task, total=total)
        self._bar.start()

    def advance(self, amount: int) -> None:
        """Move the bar."""
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, amount)

    def finish(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._task = None
