"""What a mirror remembers of a source between two runs (``.state/memory/sources``)."""

from __future__ import annotations

import hashlib

import msgspec

from cnrmirror.mirror.project import Project
from cnrmirror.model import typed
from cnrmirror.model.format import FIRST, KNOWN, Format, require_readable
from cnrmirror.sync.acknowledged import acknowledgements, with_acknowledged
from cnrmirror.sync.plan import Rules
from cnrmirror.sync.report import SourceReport
from cnrmirror.sync.settled import Settled


class SourceMemory(msgspec.Struct, frozen=True):
    """What the last run that asked a source has left.

    ``filter`` is the fingerprint of the filter that was used; ``channels`` names the channels of
    each package that are the source's own. ``settled`` says from where the next run may go on;
    then the report only counts what is the same.
    """

    report: SourceReport
    filter: str
    channels: dict[str, list[str]] = {}
    format: Format = KNOWN
    settled: Settled | None = None


class _Stamp(msgspec.Struct):
    """As much of a memory as every version of it has."""

    format: Format = FIRST


def fingerprint(rules: Rules) -> str:
    """What says whether two runs asked for the same."""
    data = msgspec.json.encode([rules.filter, sorted(rules.names.items())])
    return hashlib.sha256(data).hexdigest()


def remembered(project: Project, source: str) -> SourceMemory | None:
    """What the last run that asked a source has left; None if there is nothing, or it is damaged.

    Raises:
        NewerFormat: a newer program wrote it.
    """
    path = project.layout.source_memory(source)
    try:
        data = path.read_bytes()
        require_readable(typed.decode(data, _Stamp).format, str(path))
        return typed.decode(data, SourceMemory)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def remember(project: Project, memory: SourceMemory) -> None:
    """Keep what a run leaves of one source."""
    path = project.layout.source_memory(memory.report.source)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_bytes(msgspec.json.encode(memory))
    temporary.replace(path)


def last_reports(project: Project, now: str) -> list[SourceReport]:
    """What the last run that asked each source of mirror.yaml did, with what is known by now.

    Raises:
        InvalidDocument: acknowledged.yaml is not what it must be.
    """
    known = acknowledgements(project)
    found = [remembered(project, name) for name in project.config.sources]
    return [with_acknowledged(memory.report, known, now) for memory in found if memory]
