"""``acknowledged.yaml``: holes that were there when somebody said ``sync --acknowledge``.

It lies beside mirror.yaml, which no command ever writes; people may edit it. New lines are added at
its end, so that what people wrote stays as it is.
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from typing import Any

import msgspec
import yaml

from cnrmirror.mirror.config import StrictLoader
from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import InvalidDocument
from cnrmirror.objects.files import read_given, replace_durably, storage_errors
from cnrmirror.sources.acknowledge import Acknowledgement
from cnrmirror.sources.base import Hole
from cnrmirror.sync.report import KnownHole, SourceReport

FILE_NAME = "acknowledged.yaml"
_MAX_BYTES = 16 << 20
_HEAD = """\
# Holes that 'cnrmirror sync --acknowledge' found: they do not turn the exit code. Edit the reasons,
# add 'until: 2030-12-31', take lines out. Patterns belong in mirror.yaml, under 'acknowledge'.
"""


def acknowledgements(project: Project) -> list[Acknowledgement]:
    """Those of mirror.yaml, then those of acknowledged.yaml.

    Raises:
        InvalidDocument: the file is not what it must be.
    """
    path = project.folder / FILE_NAME
    if not path.exists():
        return list(project.config.acknowledge)
    data = read_given(path, _MAX_BYTES)
    try:
        value = yaml.load(data, Loader=StrictLoader)
        found = msgspec.convert(value or [], list[Acknowledgement])
    except (msgspec.ValidationError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidDocument(f"{path}: {error}; see docs/sync.md") from error
    return [*project.config.acknowledge, *found]


def with_acknowledged(
    report: SourceReport, known: Sequence[Acknowledgement], now: str
) -> SourceReport:
    """The report with its holes told apart: those that are known, and those that are not.

    Notes say which acknowledgement is over, and which one speaks of no hole any more.
    """
    new: list[Hole] = []
    old: list[KnownHole] = []
    over: set[str] = set()
    used: set[int] = set()
    for hole in sorted({*report.holes, *(k.hole for k in report.acknowledged)}):
        about = [n for n, k in enumerate(known) if k.speaks_of(report.source, hole)]
        used.update(about)
        holding = [known[n] for n in about if known[n].holds(now)]
        if holding:
            old.append(KnownHole(hole, holding[0].reason, holding[0].until))
            continue
        new.append(hole)
        over.update(f"{hole.what}: acknowledged until {known[n].until}" for n in about)
    idle = [
        f"acknowledged, and no hole any more: {k.package}@{k.release}".removesuffix("@")
        for n, k in enumerate(known)
        if k.source == report.source and n not in used and not report.error
    ]
    return msgspec.structs.replace(
        report, holes=new, acknowledged=old, notes=[*report.notes, *sorted(over), *idle]
    )


def acknowledge(project: Project, reports: Sequence[SourceReport], day: str) -> int:
    """Write the holes of the reports into acknowledged.yaml; how many they are.

    Raises:
        StorageError: the disk refuses.
    """
    entries = [_entry(report.source, hole, day) for report in reports for hole in report.holes]
    if entries:
        path = project.folder / FILE_NAME
        with storage_errors(str(path)):
            before = path.read_text(encoding="utf-8") if path.exists() else _HEAD
            text = before + ("" if before.endswith("\n") else "\n") + "".join(entries)
            replace_durably(path, text.encode(), project.folder)
    return len(entries)


def _entry(source: str, hole: Hole, day: str) -> Any:
    """An entry as text; what could be taken for a pattern is none."""
    fields = {
        "source": source,
        "package": glob.escape(hole.package or hole.what),
        "release": glob.escape(hole.release),
        "reason": f"{day}: {hole.reason[:300]}",
    }
    said = {key: value for key, value in fields.items() if value}
    return yaml.safe_dump([said], sort_keys=False, allow_unicode=True, width=1000)
