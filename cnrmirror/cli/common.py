"""What all commands share: the project, the clock, tables and progress."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

from cnrmirror import config
from cnrmirror.errors import UsageError
from cnrmirror.workflow.project import Project


class Context:
    """The options that stand before the command."""

    def __init__(self, folder: str, as_json: bool) -> None:
        self._folder = Path(folder)
        self.as_json = as_json

    def project(self) -> Project:
        """The mirror that -C names. Raises UsageError if there is none."""
        return Project(config.find_project(self._folder), progress=Bar())

    def result(self, value: Any, lines: Iterable[str]) -> None:
        """Print a result: as JSON if that was asked for, else these lines."""
        if self.as_json:
            click.echo(msgspec.json.encode(value).decode())
        else:
            for line in lines:
                click.echo(line)

    def table(self, value: Any, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Print a result of many: JSON, a table in a terminal, or tab-separated lines."""
        if self.as_json or not sys.stdout.isatty():
            self.result(value, ("\t".join(str(cell) for cell in row) for row in rows))
            return
        table = Table(*columns, box=None, header_style="bold")
        for row in rows:
            table.add_row(*(str(cell) for cell in row))
        Console().print(table)


class Bar:
    """Progress bars on a terminal's standard error; silent elsewhere."""

    def __init__(self) -> None:
        self._bars: Bars | None = None

    def start(self, label: str, total: int | None) -> None:
        if not sys.stderr.isatty() or (total is not None and total < 20):
            return
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._bars.start()
        self._bars.add_task(label, total=total)

    def advance(self, steps: int = 1) -> None:
        if self._bars:
            self._bars.advance(self._bars.task_ids[0], steps)

    def finish(self) -> None:
        if self._bars:
            self._bars.stop()
            self._bars = None


def now() -> str:
    """The time as the registry writes it: ISO 8601, UTC, no offset.

    SOURCE_DATE_EPOCH (reproducible-builds.org) takes the place of the clock where it is set.
    """
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        moment = datetime.fromtimestamp(int(fixed), UTC) if fixed else datetime.now(UTC)
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"SOURCE_DATE_EPOCH={fixed}: not seconds since 1970") from None
    return moment.replace(tzinfo=None).isoformat()


pass_context = click.pass_obj
