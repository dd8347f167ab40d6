"""What monitors are told of the last syncs: OpenMetrics 1.0 text, for a textfile collector."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import get_args

from cnrmirror.model.instant import Instant
from cnrmirror.sync.plan import Kind
from cnrmirror.sync.report import SourceReport

_HELP = {
    "timestamp_seconds": "When the source was last asked.",
    "exit_code": "The exit code that it came to; 0 is well.",
    "complete": "Whether there is nothing that could not be asked for.",
    "releases": "Releases by what was done about them; offered and wanted count all of them.",
    "holes": "What could not be had.",
    "fetched_bytes": "Bytes of the archives that came.",
}


def metrics(reports: Sequence[SourceReport]) -> str:
    """The last run of each source as gauges, a line each.

    A source's name needs no escapes: mirror.yaml takes letters, digits, "-" and "_".
    """
    lines: dict[str, list[str]] = {name: [] for name in _HELP}
    for report in reports:
        for name, label, value in _samples(report):
            labels = f'source="{report.source}"{label}'
            lines[name].append(f"cnrmirror_sync_{name}{{{labels}}} {value}\n")
    families = (
        f"# TYPE cnrmirror_sync_{name} gauge\n# HELP cnrmirror_sync_{name} {text}\n"
        + "".join(lines[name])
        for name, text in _HELP.items()
    )
    return "".join(families) + "# EOF\n"


def _samples(report: SourceReport) -> Iterator[tuple[str, str, int]]:
    """Name, further label and value of each."""
    yield "timestamp_seconds", "", int(Instant.parse(report.time).at.timestamp())
    yield "exit_code", "", report.exit_code
    yield "complete", "", int(report.complete)
    counts = Counter(action.kind for action in report.actions)
    yield "releases", ',state="offered"', report.offered
    yield "releases", ',state="wanted"', report.wanted
    for kind in get_args(Kind):
        yield "releases", f',state="{kind}"', counts[kind]
    yield "holes", ',acknowledged="false"', len(report.holes)
    yield "holes", ',acknowledged="true"', len(report.acknowledged)
    yield "fetched_bytes", "", report.bytes
