"""What monitors are told of the last syncs, in Prometheus' text format."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import get_args

import msgspec

from cnrmirror.mirror.metrics import project_families, seconds
from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import CnrMirrorError, InputError
from cnrmirror.model.exposition import Family, Sample, exposition
from cnrmirror.model.instant import Instant
from cnrmirror.sources.acknowledge import Acknowledgement
from cnrmirror.sync.acknowledged import FILE_NAME, acknowledgements, with_acknowledged
from cnrmirror.sync.memory import last_reports, remembered
from cnrmirror.sync.plan import Kind
from cnrmirror.sync.report import SourceReport

_HELP = {
    "timestamp_seconds": "When the source was last asked, in seconds since 1970; 0: never.",
    "success_timestamp_seconds": "When the source was last asked without an error, in seconds "
    "since 1970; holes are no error; 0: never.",
    "exit_code": "The exit code of the last run; 0: no error.",
    "complete": "Whether the source could be asked for everything that it has.",
    "releases": "Releases by what was done about them; offered and wanted count all of them.",
    "holes": "What could not be had.",
    "fetched_bytes": "Bytes of the archives that were fetched.",
    "requests": "HTTP requests that were sent.",
    "duration_seconds": "How long the last run took.",
}


def metrics(project: Project, now: str) -> str:
    """What a textfile collector reads: the mirror, and the last run of each of its sources.

    Raises:
        DamageError: the mirror's signed files are not what they must be.
        InvalidDocument: acknowledged.yaml is not what it must be.
    """
    syncs = sync_families(project.config.sources, last_reports(project, now))
    return exposition([*project_families(project), *syncs])


def sync_families(sources: Collection[str], reports: Iterable[SourceReport]) -> list[Family]:
    """The last run of each source as gauges.

    Args:
        sources: all that mirror.yaml names. One without a report was never asked, and that is said.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in _HELP}
    by_name = {report.source: report for report in reports}
    for source in sources:
        report = by_name.get(source)
        for name, label, value in _samples(report) if report else _NEVER:
            samples[name].append(Sample(value, {"source": source, **label}))
    return [Family(f"cnrmirror_sync_{name}", text, samples[name]) for name, text in _HELP.items()]


_NEVER: list[tuple[str, Mapping[str, str], int | float]] = [
    ("timestamp_seconds", {}, 0),
    ("success_timestamp_seconds", {}, 0),
]


def _samples(report: SourceReport) -> Iterator[tuple[str, Mapping[str, str], int | float]]:
    """Name, further label and value of each."""
    yield "timestamp_seconds", {}, _since_1970(report.time)
    yield "success_timestamp_seconds", {}, _since_1970(report.last_success)
    yield "exit_code", {}, report.exit_code
    yield "complete", {}, int(report.complete)
    counts = report.counts
    yield "releases", {"state": "offered"}, report.offered
    yield "releases", {"state": "wanted"}, report.wanted
    for kind in get_args(Kind):
        yield "releases", {"state": kind}, counts[kind]
    yield "holes", {"acknowledged": "false"}, len(report.holes)
    yield "holes", {"acknowledged": "true"}, len(report.acknowledged)
    yield "fetched_bytes", {}, report.bytes
    yield "requests", {}, report.requests
    yield "duration_seconds", {}, report.seconds


def _since_1970(time: str) -> int:
    try:
        return seconds(Instant.parse(time)) if time else 0
    except InputError:  # what is remembered was changed by hand
        return 0


class _Seen(msgspec.Struct, frozen=True):
    """What was made of the files as they were, on that day."""

    stamp: object
    families: list[Family]
    whole: bool


class Watched:
    """The last syncs of a mirror for whoever asks often: read anew when a file changed.

    Args:
        project: the mirror.
        now: tells the time: an acknowledgement may end with a day.
    """

    def __init__(self, project: Project, now: Callable[[], str]) -> None:
        self._project = project
        self._now = now
        self._seen: _Seen | None = None

    def __call__(self) -> tuple[list[Family], bool]:
        """The families, and whether everything could be read; what could not is left out."""
        now = self._now()
        stamp = now[:10], *map(_stamp, self._files())
        seen = self._seen
        if seen is None or seen.stamp != stamp:
            seen = self._seen = self._read(stamp, now)
        return seen.families, seen.whole

    def _files(self) -> list[Path]:
        memories = [
            self._project.layout.source_memory(name) for name in self._project.config.sources
        ]
        return [self._project.folder / FILE_NAME, *memories]

    def _read(self, stamp: object, now: str) -> _Seen:
        known, whole = self._known()
        reports, unread = [], set()
        for name in self._project.config.sources:
            try:
                if memory := remembered(self._project, name):
                    reports.append(with_acknowledged(memory.report, known, now))
            except (CnrMirrorError, OSError):  # the others can be told of nevertheless
                unread.add(name)
        sources = [name for name in self._project.config.sources if name not in unread]
        return _Seen(stamp, sync_families(sources, reports), whole and not unread)

    def _known(self) -> tuple[list[Acknowledgement], bool]:
        try:
            return acknowledgements(self._project), True
        except (CnrMirrorError, OSError):
            return list(self._project.config.acknowledge), False


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
