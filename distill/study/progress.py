"""What a person sees while a study runs: done and to do, time left, the cells that run, a line for each that ends."""

from pathlib import Path

from rich.progress import Progress, TaskID

from distill.config import RunConfig
from distill.study.times import epochs_finished
from distill.terminal import say


class StudyProgress:
    """Rows of a progress display: the study, and below it every cell that runs, in epochs."""

    def __init__(self, display: Progress, name: str, *, total: int, finished: int) -> None:
        self.display = display
        self.total = total
        self.finished = finished
        self.all = display.add_task(name, total=total, completed=finished, note="cells")
        self.running: dict[Path, tuple[TaskID, int]] = {}

    def started(self, folder: Path, title: str, config: RunConfig, host: str) -> None:
        """A run has begun in `folder`."""
        epochs = config.training.epochs
        row = self.display.add_task(title, total=epochs, note=f"epochs on {host}" if host else "epochs")
        self.running[folder] = (row, epochs)
        self.follow()

    def ended(self, folder: Path, line: str, *, counts: bool = True) -> None:
        """The run in `folder` is over; `counts` if it is one of the study's cells."""
        if folder in self.running:
            self.display.remove_task(self.running.pop(folder)[0])
        if counts:
            self.finished += 1
            line = f"{self.finished}/{self.total}  {line}"
        say(line)
        self.follow()

    def follow(self) -> None:
        """Bring every row up to date with what the run folders say."""
        if self.display.disable:
            return
        for folder, (row, _) in self.running.items():
            self.display.update(row, completed=epochs_finished(folder))
        begun = sum(epochs_finished(folder) / epochs for folder, (_, epochs) in self.running.items())
        self.display.update(self.all, completed=self.finished + begun)
