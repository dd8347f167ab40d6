"""What all commands share: the project, the clock, tables and progress."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.filesize import decimal

from cnrmirror.model.errors import UsageError
from cnrmirror.model.instant import Instant
from cnrmirror.model.later import later
from cnrmirror.objects.files import storage_errors

if TYPE_CHECKING:
    from rich import console as rich_console
    from rich import progress as rich_progress
    from rich import table as rich_table
    from rich import text as rich_text

    from cnrmirror.mirror import config
    from cnrmirror.mirror import project as projects
else:
    rich_console = later("rich.console")
    rich_progress = later("rich.progress")
    rich_table = later("rich.table")
    rich_text = later("rich.text")
    config = later("cnrmirror.mirror.config")
    projects = later("cnrmirror.mirror.project")


_WORTH_A_BAR = 20  # steps


class Context:
    """The options that stand before the command."""

    def __init__(self, folder: str, as_json: bool, allow_past: bool = False) -> None:
        self._folder = Path(folder)
        self.as_json = as_json
        self.allow_past = allow_past

    @property
    def terminal(self) -> bool:
        """Whether a person looks at the results."""
        return not self.as_json and sys.stdout.isatty()

    def project(self) -> projects.Project:
        """The mirror that -C names. Raises UsageError if there is none."""
        return projects.Project(config.find_project(self._folder), progress=Bar(self.as_json))

    def result(self, value: Any, lines: Iterable[str]) -> None:
        """Print a result: as JSON if that was asked for, else these lines."""
        if self.as_json:
            click.echo(msgspec.json.encode(value).decode())
        else:
            for line in lines:
                click.echo("\t".join(plain(part) for part in line.split("\t")))

    def table(self, value: Any, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Print a result of many: JSON, a table in a terminal, or tab-separated lines."""
        if not self.terminal:
            self.result(value, ("\t".join(plain(cell) for cell in row) for row in rows))
            return
        table = rich_table.Table(*columns, box=None, header_style="bold")
        for row in rows:
            table.add_row(*(rich_text.Text(plain(cell)) for cell in row))
        rich_console.Console().print(table)


def counted(number: int, noun: str) -> str:
    """``1 release``, ``2 releases``."""
    first, space, rest = noun.partition(" ")
    return f"{number} {first}{'' if number == 1 else 's'}{space}{rest}"


def duration(option: str, text: str) -> timedelta:
    """What ``90d``, ``26h`` or ``30m`` says. Raises UsageError, naming the option."""
    units = {"d": "days", "h": "hours", "m": "minutes"}
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdecimal()) or unit not in units or len(number) > 5:
        raise UsageError(f"{option} {text}: write a number and d, h or m: 90d")
    return timedelta(**{units[unit]: int(number)})


def write_whole(path: Path, text: str) -> None:
    """Write a file that others may read at any time: whole, or not at all. Raises StorageError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    with storage_errors(str(path)):
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)


def plain(cell: object) -> str:
    """One cell of a line: what could be taken for another cell or line is written as escapes."""
    text = str(cell)
    return text if text.isprintable() else ascii(text)[1:-1]


class Bar:
    """Progress on standard error: bars in a terminal, events with --json, else nothing.

    An event is one line of JSON: ``start`` (label, total), ``progress`` (done, total, bytes,
    seconds) twice a second at most, ``finish``. Short work says nothing.
    """

    def __init__(self, as_json: bool = False) -> None:
        self._as_json = as_json
        self._bars: rich_progress.Progress | None = None
        self._events = False
        self._label = ""
        self._total: int | None = None
        self._done = self._bytes = 0
        self._began = self._told = 0.0

    @property
    def shown(self) -> bool:
        """Whether anybody looks."""
        return self._as_json or sys.stderr.isatty()

    def start(self, label: str, total: int | None) -> None:
        if total is not None and total < _WORTH_A_BAR:
            return
        self._label, self._total = label, total
        self._done = self._bytes = 0
        self._began = self._told = time.monotonic()
        if self._as_json:
            self._events = True
            self._event("start")
        elif sys.stderr.isatty():
            self._bars = rich_progress.Progress(
                rich_progress.TextColumn("{task.description}"),
                rich_progress.BarColumn(),
                rich_progress.MofNCompleteColumn(),
                rich_progress.TextColumn("{task.fields[moved]}"),
                rich_progress.TimeRemainingColumn(),
                console=rich_console.Console(stderr=True),
                transient=True,
            )
            self._bars.start()
            self._bars.add_task(label, total=total, moved="")

    def advance(self, steps: int = 1, size: int = 0) -> None:
        self._done += steps
        self._bytes += size
        if self._bars:
            rate = self._bytes / max(0.001, time.monotonic() - self._began)
            moved = f"{decimal(self._bytes)}, {decimal(int(rate))}/s" if self._bytes else ""
            self._bars.update(self._bars.task_ids[0], completed=self._done, moved=moved)
        elif self._events and time.monotonic() - self._told > 0.5:
            self._told = time.monotonic()
            self._event("progress")

    def finish(self) -> None:
        if self._bars:
            self._bars.stop()
            self._bars = None
        if self._events:
            self._event("finish")
            self._events = False

    def _event(self, name: str) -> None:
        seconds = round(time.monotonic() - self._began, 3)
        text = {"event": name, "label": self._label, "done": self._done, "total": self._total,
                "bytes": self._bytes, "seconds": seconds}  # fmt: skip
        click.echo(msgspec.json.encode(text).decode(), err=True)


def now() -> str:
    """The time as the registry writes it: ISO 8601, UTC, no offset.

    SOURCE_DATE_EPOCH (reproducible-builds.org) takes the place of the clock where it is set.
    """
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        return str(Instant(datetime.fromtimestamp(int(fixed), UTC) if fixed else datetime.now(UTC)))
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"SOURCE_DATE_EPOCH={fixed}: not seconds since 1970") from None


def clock() -> Instant:
    """What this machine's clock says, whatever SOURCE_DATE_EPOCH does."""
    return Instant(datetime.now(UTC))


pass_context = click.pass_obj
