"""``acknowledged.yaml``: holes that were there when somebody said ``sync --acknowledge``.

It lies beside mirror.yaml, which no command ever writes; people may edit it. New lines are added at
its end, so that what people wrote stays as it is.
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

import msgspec
import yaml

from cnrmirror.mirror.config import StrictLoader
from cnrmirror.mirror.project import Project
from cnrmirror.model import typed
from cnrmirror.model.errors import InvalidDocument
from cnrmirror.objects.files import read_given, replace_durably, storage_errors
from cnrmirror.sources.acknowledge import Acknowledgement, names_of
from cnrmirror.sources.base import Hole
from cnrmirror.sync.report import MAX_NOTES, MORE, KnownHole, SourceReport

FILE_NAME = "acknowledged.yaml"
_MAX_BYTES = 16 << 20
_HEAD = """\
# Holes that 'cnrmirror sync --acknowledge' found: they do not change the exit code. Edit the
# reasons, add 'until: 2030-12-31', remove lines. Patterns belong in mirror.yaml, under
# 'acknowledge'.
"""


def acknowledgements(project: Project) -> list[Acknowledgement]:
    """Those of mirror.yaml, then those of acknowledged.yaml.

    Raises:
        InvalidDocument: the file is not what it must be.
    """
    path = project.folder / FILE_NAME
    if not path.exists():
        return list(project.config.acknowledge)
    return [*project.config.acknowledge, *_parsed(read_given(path, _MAX_BYTES), path)]


def _parsed(data: bytes, path: Path) -> list[Acknowledgement]:
    if len(data) > _MAX_BYTES:
        raise InvalidDocument(f"{path}: more than {_MAX_BYTES} bytes")
    try:
        value = yaml.load(data, Loader=StrictLoader)
        return typed.convert(value or [], list[Acknowledgement])
    except (msgspec.ValidationError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidDocument(f"{path}: {error}; see docs/sync.md") from error


class _Known:
    """Acknowledgements, found by the names in them; only patterns are tried one by one."""

    def __init__(self, known: Sequence[Acknowledgement]) -> None:
        self._patterns = [n for n, k in enumerate(known) if not k.is_plain]
        self._plain: dict[tuple[str, str], list[int]] = {}
        for number, one in enumerate(known):
            if one.is_plain:
                self._plain.setdefault((one.package, one.release), []).append(number)
        self._known = known

    def about(self, source: str, hole: Hole) -> list[int]:
        """The numbers of those that speak of a hole."""
        by_name = (self._plain.get((name, hole.release), []) for name in names_of(hole))
        may = [*(n for numbers in by_name for n in numbers), *self._patterns]
        return sorted(n for n in may if self._known[n].speaks_of(source, hole))


def with_acknowledged(
    report: SourceReport, known: Sequence[Acknowledgement], now: str
) -> SourceReport:
    """The report with its holes told apart: those that are known, and those that are not.

    Notes say which acknowledgement is over, and which one speaks of no hole any more.
    """
    finding = _Known(known)
    new: list[Hole] = []
    old: list[KnownHole] = []
    over: set[str] = set()
    used: set[int] = set()
    for hole in sorted({*report.holes, *(k.hole for k in report.acknowledged)}):
        about = [] if hole.what == MORE else finding.about(report.source, hole)
        used.update(about)
        holding = [known[n] for n in about if known[n].holds(now)]
        if holding:
            old.append(KnownHole(hole, holding[0].reason, holding[0].until))
            continue
        new.append(hole)
        over.update(f"{hole.what}: was acknowledged until {known[n].until}" for n in about)
    idle = [
        f"acknowledged, but no longer a hole: {k.package}@{k.release}".removesuffix("@")
        for n, k in enumerate(known)
        if k.source == report.source and n not in used and not report.error
    ]
    notes = dict.fromkeys((*report.notes, *sorted(over), *idle))
    return msgspec.structs.replace(report, holes=new, acknowledged=old, notes=[*notes][:MAX_NOTES])


def acknowledge(project: Project, reports: Sequence[SourceReport], day: str) -> int:
    """Write the holes of the reports into acknowledged.yaml; how many they are.

    Raises:
        StorageError: the disk refuses.
        InvalidDocument: nothing can be added to the file as it is; it was left so.
    """
    holes = [(r.source, hole) for r in reports for hole in r.holes if hole.what != MORE]
    if holes:
        path = project.folder / FILE_NAME
        entries = yaml.safe_dump(
            [_entry(source, hole, day) for source, hole in holes], sort_keys=False, width=1000
        )
        with storage_errors(str(path)):
            before = path.read_text(encoding="utf-8") if path.exists() else _HEAD
            data = (before + ("" if before.endswith("\n") else "\n") + entries).encode()
            try:
                _parsed(data, path)
            except InvalidDocument as error:
                reason = "nothing can be added at its end: make it a list with one entry a line"
                raise InvalidDocument(f"{path}: {reason} ({error.message[:300]})") from error
            replace_durably(path, data, project.folder)
    return len(holes)


def _entry(source: str, hole: Hole, day: str) -> dict[str, str]:
    """An entry; what could be taken for a pattern is none."""
    fields = {
        "source": source,
        "package": glob.escape(names_of(hole)[-1]),
        "release": glob.escape(hole.release),
        "reason": f"{day}: {hole.reason[:300]}",
    }
    return {key: value for key, value in fields.items() if value or key == "package"}
