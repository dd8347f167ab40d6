"""The sources of mirror.yaml, made into objects that can be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cnrmirror.mirror.project import Project
from cnrmirror.model.errors import UsageError
from cnrmirror.model.near import did_you_mean
from cnrmirror.objects.base import Reader
from cnrmirror.sources.base import Source
from cnrmirror.sources.kind import SourceRules
from cnrmirror.sources.kinds import kind_of
from cnrmirror.sync.meter import Meter
from cnrmirror.sync.plan import Rules
from cnrmirror.sync.room import OwnRoom


def open_sources(
    project: Project,
    names: Sequence[str],
    environment: Mapping[str, str] | None,
    reader_for: Callable[[str], Reader],
    meter: Meter | None = None,
) -> list[tuple[Source, Rules]]:
    """The named sources of a mirror, or all, in the order of mirror.yaml.

    Args:
        project: the mirror.
        names: which sources; all if there are none.
        environment: where ``authorization_env`` is looked up; None: secrets are not looked for.
        reader_for: reads another mirror's location.
        meter: counts what they ask.

    Raises:
        UsageError: no such source, or none at all.
        InputError: a file or variable that it needs is not there.
    """
    known = project.config.sources
    if not known:
        raise UsageError(f"{project.folder}: mirror.yaml names no sources; see docs/sync.md")
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise UsageError(f"there is no source {name!r}{hint}; there are: {', '.join(known)}")
    wanted = {name: known[name] for name in known if not names or name in names}
    rooms = {name: OwnRoom(project, name, environment, reader_for, meter) for name in wanted}
    return [
        (_opened(rooms[name], name, settings), rules_of(settings))
        for name, settings in wanted.items()
    ]


def _opened(room: OwnRoom, name: str, settings: SourceRules) -> Source:
    return kind_of(settings).open(name, settings, room)


def rules_of(settings: SourceRules) -> Rules:
    """How a source is treated, whatever its kind."""
    return Rules(
        settings.deletes, settings.changes, settings.max_shrink, settings.filter, settings.names,
        settings.parallel,
    )  # fmt: skip
