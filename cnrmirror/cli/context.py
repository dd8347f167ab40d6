"""What all commands share: the project, the clock, tables and progress."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import click
import msgspec

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
    from cnrmirror.model import progress
    from cnrmirror.publish import shared
else:
    rich_console = later("rich.console")
    rich_progress = later("rich.progress")
    rich_table = later("rich.table")
    rich_text = later("rich.text")
    config = later("cnrmirror.mirror.config")
    projects = later("cnrmirror.mirror.project")
    progress = later("cnrmirror.model.progress")
    shared = later("cnrmirror.publish.shared")


_WORTH_A_BAR = 20  # steps
_WORTH_BYTES = 16 << 20
# Of many small files the number tells how long they take, of large ones the bytes: to send a file
# takes about as long as to send so many bytes more.
_BYTES_A_STEP = 32 << 10
_DRAW_SECONDS, _EVENT_SECONDS = 0.1, 0.5
_BAR_AND_TIME, _LEAST_LABEL = 18, 16  # columns
_UTC = "%Y-%m-%dT%H:%M:%SZ"


class Context:
    """The options that every command has.

    ``quiet``: what was done is not told, nor how far it is; what is wrong is.
    """

    def __init__(self, folder: str = ".", allow_past: bool = False) -> None:
        self.folder = Path(folder)
        self.allow_past = allow_past
        self.as_json = self.quiet = False

    @property
    def terminal(self) -> bool:
        """Whether a person looks at the results."""
        return not self.as_json and sys.stdout.isatty()

    def project(self) -> projects.Project:
        """The mirror that -C names. Raises UsageError if there is none."""
        project = projects.Project(config.find_project(self.folder), progress=self.bar())
        return shared.opened(project, self.note) if project.partial else project

    def bar(self) -> Bar:
        """What tells how far long work is."""
        return Bar(self.as_json, self.quiet)

    def result(self, value: Any, lines: Iterable[str]) -> None:
        """Print an answer: as JSON if that was asked for, else these lines."""
        if self.as_json:
            click.echo(msgspec.json.encode(value).decode())
        else:
            for line in lines:
                click.echo("\t".join(plain(part) for part in line.split("\t")))

    def done(self, value: Any, lines: Iterable[str]) -> None:
        """Print what was done, as ``result`` does; nothing with -q, but for JSON."""
        if self.as_json or not self.quiet:
            self.result(value, lines)

    def note(self, text: str) -> None:
        """Say something beside the result on standard error; nothing with -q or --json."""
        if not (self.as_json or self.quiet):
            click.echo(plain(text), err=True)

    def table(
        self, value: Any, columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str = "",
        spare: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Print an answer of many: JSON, a table in a terminal, or tab-separated lines.

        Args:
            empty: what is said on standard error if there are no rows.
            spare: columns that are left out where a terminal is too narrow, the first one first.
        """
        if empty and not rows:
            self.note(empty)
        if not self.terminal:
            self.result(value, ("\t".join(plain(cell) for cell in row) for row in rows))
        elif rows:
            screen = console()
            shown = _fitting(columns, rows, spare, screen.width)
            table = rich_table.Table(box=None, header_style="bold")
            for name, _ in shown:
                table.add_column(name, overflow="fold")
            for row in zip(*(cells for _, cells in shown), strict=True):
                table.add_row(*map(rich_text.Text, row))
            screen.print(table)


def _fitting(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], spare: Sequence[str], width: int
) -> list[tuple[str, list[str]]]:
    """The columns of a table, each with its cells, without those that are empty or too many."""
    cells = [[plain(cell) for cell in column] for column in zip(*rows, strict=True)]
    shown = [(name, some) for name, some in zip(columns, cells, strict=True) if any(some)]
    for name in spare:
        if sum(max(map(len, [title, *some])) + 2 for title, some in shown) <= width:
            break
        shown = [column for column in shown if column[0] != name]
    return shown


def has_color(stream: IO[str]) -> bool:
    """Whether what is written there may have color: NO_COLOR and FORCE_COLOR say it, or a terminal.

    https://no-color.org, https://force-color.org; ``--color`` sets them.
    """
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or stream.isatty()


def console(width: int | None = None) -> rich_console.Console:
    """Standard output, for tables and set text."""
    system: Literal["standard"] | None = "standard" if has_color(sys.stdout) else None
    return rich_console.Console(width=width, color_system=system)


def fail(error: BaseException, verbose: bool) -> None:
    """Say on standard error what ended a command; if asked for, also what that came from."""
    for text in (getattr(error, "message", error), *getattr(error, "__notes__", [])):
        _say("cnrmirror", text)
    seen = [error]  # what was wrapped and raised again is its own cause
    while verbose and (cause := seen[-1].__cause__) is not None and cause not in seen:
        _say("because of", f"{type(cause).__name__}: {cause}")
        seen.append(cause)


def _say(kind: str, text: object) -> None:
    shown = click.style(kind, fg="red", bold=True) if has_color(sys.stderr) else kind
    click.echo(f"{shown}: {plain(text)}", err=True, color=True)


def sized(number: int) -> str:
    """``0 bytes``, ``1 byte``, ``12.3 KiB``, ``4.0 MiB``: bytes as people read them."""
    if number < 1024:
        return counted(number, "byte")
    amount = float(number)
    for unit in ("KiB", "MiB", "GiB"):
        amount /= 1024
        if round(amount, 1) < 1024:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1024:.1f} TiB"


def counted(number: int, noun: str) -> str:
    """``1 release``, ``2 releases``."""
    first, space, rest = noun.partition(" ")
    return f"{number} {first}{'' if number == 1 else 's'}{space}{rest}"


def duration(option: str, text: str) -> timedelta:
    """What ``90d``, ``26h`` or ``30m`` says. Raises UsageError, naming the option."""
    units = {"d": "days", "h": "hours", "m": "minutes"}
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdecimal()) or unit not in units or len(number) > 5:
        raise UsageError(f"{option} {text}: write a number and a unit (d, h or m), such as 90d")
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

    An event is one line of JSON: ``start`` (label, total, total_bytes, about), ``progress`` (done,
    bytes, seconds) twice a second at most, ``finish``. Short work says nothing.
    """

    def __init__(self, as_json: bool = False, quiet: bool = False) -> None:
        self._as_json = as_json
        self._terminal = sys.stderr.isatty() and not quiet
        self._bars: rich_progress.Progress | None = None
        self._events = False
        self._label = ""
        self._total: int | None = None
        self._size: int | None = None
        self._about = False
        self._done = self._bytes = 0
        self._began = self._told = 0.0

    @property
    def shown(self) -> bool:
        """Whether anybody looks."""
        return self._as_json or self._terminal

    def start(self, label: str, total: int | progress.Total | None) -> None:
        steps, size, about = (
            (total.steps, total.size, total.about)
            if isinstance(total, progress.Total)
            else (total, None, False)
        )
        if steps is not None and steps < _WORTH_A_BAR and (size or 0) < _WORTH_BYTES:
            return
        self._label, self._total, self._size, self._about = label, steps, size, about
        self._done = self._bytes = 0
        self._began = self._told = time.monotonic()
        if self._as_json:
            self._events = True
            self._event("start")
        elif self._terminal:
            self._bars = rich_progress.Progress(
                rich_progress.TextColumn("{task.description}"),
                rich_progress.BarColumn(),
                rich_progress.TextColumn("{task.fields[counted]}"),
                rich_progress.TextColumn("{task.fields[moved]}"),
                rich_progress.TimeRemainingColumn(),
                console=rich_console.Console(stderr=True),
                transient=True,
            )
            whole = None if steps is None else self._weight(steps, size or 0)
            self._bars.add_task(label, total=whole, counted="", moved="")
            self._draw()
            self._bars.start()

    def advance(self, steps: int = 1, size: int = 0) -> None:
        self._done += steps
        self._bytes += size
        if not (self._bars or self._events):
            return
        present = time.monotonic()
        if present - self._told > (_DRAW_SECONDS if self._bars else _EVENT_SECONDS):
            self._told = present
            if self._bars:
                self._draw()
            else:
                self._event("progress")

    def finish(self) -> None:
        if self._bars:
            self._draw()
            self._bars.stop()
            self._bars = None
        if self._events:
            self._event("finish")
            self._events = False

    def _weight(self, steps: int, size: int) -> int:
        """How much of the time steps and bytes take: the bar, and the time left, go by it."""
        return steps if self._size is None else steps * _BYTES_A_STEP + size

    def _counted(self) -> str:
        """``12/345``, ``12 of about 345``, ``12/?``."""
        if self._about:
            return f"{self._done} of about {max(self._done, self._total or 0)}"
        return f"{self._done}/{'?' if self._total is None else self._total}"

    def _moved(self) -> tuple[str, str]:
        """``1.0 MiB of 12.3 MiB`` and ``, 4.5 MiB/s``, or as much of it as is known."""
        if not self._bytes:
            return "", ""
        rate = sized(int(self._bytes / max(0.001, time.monotonic() - self._began)))
        whole = "" if self._size is None else f" of {sized(max(self._size, self._bytes))}"
        return f"{sized(self._bytes)}{whole}", f", {rate}/s"

    def _draw(self) -> None:
        """Bring the bar up; what does not fit goes: the label's end, the rate, the bytes."""
        assert self._bars is not None
        counted, (size, rate) = self._counted(), self._moved()
        room = self._bars.console.width - len(counted) - _BAR_AND_TIME - _LEAST_LABEL
        moved = next((text for text in (size + rate, size) if len(text) <= room), "")
        most = room - len(moved) + _LEAST_LABEL
        label = self._label if len(self._label) <= most else f"{self._label[: most - 1]}…"
        self._bars.update(
            self._bars.task_ids[0], completed=self._weight(self._done, self._bytes),
            description=label, counted=counted, moved=moved,
        )  # fmt: skip

    def _event(self, name: str) -> None:
        seconds = round(time.monotonic() - self._began, 3)
        text = {"event": name, "label": self._label, "done": self._done, "total": self._total,
                "bytes": self._bytes, "total_bytes": self._size, "about": self._about,
                "seconds": seconds}  # fmt: skip
        click.echo(msgspec.json.encode(text).decode(), err=True)


def ago(time: str, context: Context) -> str:
    """A time of the catalog: for a terminal how long ago it is, else in UTC."""
    moment = Instant.parse(time)
    return _ago(clock().at - moment.at) if context.terminal else f"{moment.at:{_UTC}}"


def when(time: str, context: Context) -> str:
    """A time of the catalog: for a terminal in this machine's zone and relative, else in UTC.

    Example:
        ``2026-03-01 14:05 CET, 3 days ago``, or ``2026-03-01T13:05:09Z``
    """
    moment = Instant.parse(time)
    if not context.terminal:
        return f"{moment.at:{_UTC}}"
    return f"{moment.at.astimezone():%Y-%m-%d %H:%M %Z}, {_ago(clock().at - moment.at)}"


def _ago(age: timedelta) -> str:
    """``3 days ago``: how long, in the largest unit of which there are two or more."""
    seconds = int(age.total_seconds())
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}s ago"
    return "just now" if seconds >= 0 else "in the future"


def now() -> str:
    """The time as the registry writes it: ISO 8601, UTC, no offset.

    SOURCE_DATE_EPOCH (reproducible-builds.org) takes the place of the clock where it is set.
    """
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        return str(Instant(datetime.fromtimestamp(int(fixed), UTC) if fixed else datetime.now(UTC)))
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"SOURCE_DATE_EPOCH={fixed}: not a number of seconds since 1970") from None


def clock() -> Instant:
    """What this machine's clock says, whatever SOURCE_DATE_EPOCH does."""
    return Instant(datetime.now(UTC))


pass_context = click.pass_obj
